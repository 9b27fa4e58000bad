"""What becomes of Jobs, asked of the real API server and of its double; the pods are ended by whoever asks."""

from __future__ import annotations

from .comparing import MERGE, STRATEGIC, Ask
from .faithful import EVENTS, JOBS, PODS, TABLE, job, over, settled

SCENARIOS: dict[str, list[Ask]] = {
    "a job that completes": [
        Ask("POST", JOBS, job(parallelism=1)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
        Ask("PATCH", f"{PODS}/{{pod}}/status", {"status": {"phase": "Running"}}, STRATEGIC, ignore=("name",)),
        Ask("PATCH", f"{PODS}/{{pod}}/status", {"status": {"phase": "Succeeded"}}, STRATEGIC, ignore=("name",)),
        Ask("GET", f"{JOBS}/task", until=over),
        Ask("GET", EVENTS, until=lambda body: len(body["items"]) == 2, ignore=("name", "message")),
        Ask("GET", f"{JOBS}/task", accept=TABLE, ignore=("columnDefinitions", "cells")),
        Ask("DELETE", f"{PODS}/{{pod}}", ignore=("name",)),
        Ask("GET", f"{JOBS}/task"),
    ],
    "a job that fails": [
        Ask("POST", JOBS, job(parallelism=1, completions=1, backoffLimit=0)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
        Ask("PATCH", f"{PODS}/{{pod}}/status", {"status": {"phase": "Failed"}}, STRATEGIC, ignore=("name",)),
        Ask("GET", f"{JOBS}/task", until=over),
        Ask("GET", EVENTS, until=lambda body: len(body["items"]) == 2, ignore=("name", "message")),
    ],
    "a job that fails ends its other pods": [
        Ask("POST", JOBS, job(parallelism=2, completions=2, backoffLimit=0)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 2, ignore=("name",)),
        Ask("PATCH", f"{PODS}/{{pod}}/status", {"status": {"phase": "Failed"}}, STRATEGIC, ignore=("name",)),
        Ask("GET", f"{JOBS}/task", until=over, ignore=("failed",)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
    ],
    "a job with a deadline": [
        Ask("POST", JOBS, job(parallelism=1, completions=1, activeDeadlineSeconds=1)),
        Ask("GET", f"{JOBS}/task", until=over),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 0),
    ],
    "a job whose pod is deleted": [
        Ask("POST", JOBS, job(parallelism=1, completions=1)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
        Ask("DELETE", f"{PODS}/{{pod}}", ignore=("name",)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
        Ask("GET", f"{JOBS}/task", until=settled(1)),
    ],
    "a job with two completions": [
        Ask("POST", JOBS, job(parallelism=1, completions=2)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
        Ask("PATCH", f"{PODS}/{{pod}}/status", {"status": {"phase": "Succeeded"}}, STRATEGIC, ignore=("name",)),
        Ask(
            "GET",
            f"{PODS}?fieldSelector=status.phase%3DPending",
            until=lambda body: len(body["items"]) == 1,
            ignore=("name",),
        ),
        Ask("GET", f"{JOBS}/task", until=lambda body: body["status"].get("succeeded") and settled(1)(body)),
        Ask("PATCH", f"{JOBS}/task", {"spec": {"parallelism": 0}}, MERGE),
        Ask("GET", f"{JOBS}/task", until=settled(0)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
    ],
    "a job that is soon forgotten": [
        Ask("POST", JOBS, job(parallelism=1, completions=1, ttlSecondsAfterFinished=1)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
        Ask("PATCH", f"{PODS}/{{pod}}/status", {"status": {"phase": "Succeeded"}}, STRATEGIC, ignore=("name",)),
        Ask("GET", f"{JOBS}/task", until=over),
        Ask("GET", f"{JOBS}/task", until=lambda body: body.get("code") == 404),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 0),
    ],
    "finalizers of a job in the foreground": [
        Ask("POST", JOBS, job(parallelism=1)),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 1, ignore=("name",)),
        Ask("PATCH", f"{PODS}/{{pod}}", {"metadata": {"finalizers": ["example.com/wait"]}}, MERGE, ignore=("name",)),
        Ask("DELETE", f"{JOBS}/task?propagationPolicy=Foreground"),
        Ask("GET", f"{PODS}/{{pod}}", until=lambda body: body["metadata"].get("deletionTimestamp"), ignore=("name",)),
        Ask("GET", f"{JOBS}/task"),
        Ask("PATCH", f"{PODS}/{{pod}}", {"metadata": {"finalizers": None}}, MERGE, ignore=("name",)),
        Ask("GET", f"{JOBS}/task", until=lambda body: body.get("code") == 404),
        Ask("GET", f"{PODS}", until=lambda body: len(body["items"]) == 0),
    ],
}
