"""Following a job on virtual time: bounds that no event tells of, and how often a server is asked meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest
from lifecycle.scheduler.kubernetes._client import Client
from lifecycle.scheduler.kubernetes._follow import Following
from lifecycle.scheduler.kubernetes._view import open_view
from lifecycle.scheduler.remote import RemoteEnd, RemoteFailed, RemoteLost, Ticket
from lifecycle.testing import Bubble, run_virtual

from ...kubernetes.jobs.scripted import JOBS, PODS, Api, Request, Wrong, status

HOUR = 3600.0
STORE = "a" * 10
TICKET = Ticket("work-1", STORE, None, 1, 1, 1, "work")
NEVER = 1e9


class Followed:
    """What following a job has come to, after how many seconds, and what it has said."""

    def __init__(self) -> None:
        self.end: RemoteEnd | None = None
        self.seconds = 0.0
        self.lines: list[str] = []


async def follow(
    bubble: Bubble,
    api: Api,
    *,
    seconds: float = HOUR,
    unreachable: float = NEVER,
    during: Callable[[Api], Any] = lambda _: None,
    work: KubernetesJob | None = None,
    lines: list[str] | None = None,
) -> Followed:
    """Follow a job that has just been made, for so many seconds at most; something happens after one."""
    random.seed(7)
    await api.serve(bubble)
    work = work or KubernetesJob(manifest=job_manifest("image"), start_timeout=NEVER, pull_timeout=NEVER)
    api.create(work.named(TICKET, "n"))
    followed, began = Followed(), anyio.current_time()
    followed.lines = lines if lines is not None else []

    @asynccontextmanager
    async def lease() -> AsyncIterator[Client]:
        client = api.client()
        try:
            yield client
        finally:
            await client.aclose()

    view = await open_view(lease(), "n", STORE)
    try:
        changes = asyncio.get_running_loop().call_later(1, during, api)
        with anyio.move_on_after(seconds):
            following = Following(view, TICKET.name, "n", work, unreachable, followed.lines.append)
            followed.end = await following.end()
        changes.cancel()
    finally:
        followed.seconds = anyio.current_time() - began
        await view.aclose()
    return followed


def answered(kind: str, code: int, reason: str, after: float = 0.5) -> Callable[[Request], Wrong | None]:
    """Let all requests of a kind be refused, from some time on."""
    wrong = Wrong(act=False, answer=(code, status(code, reason)))
    return lambda request: wrong if request.kind == kind and request.time >= after else None


def take_labels_off(api: Api) -> None:
    """Let no watch of ours show the Job any more."""
    path, job = next((path, one) for path, one in api.objects.items() if path.startswith(JOBS))
    api.put(path, job, "DELETED")  # what a watch by label is told
    api.objects[path] = {**job, "metadata": {**job["metadata"], "labels": {}}}


def pass_the_deadline(api: Api) -> None:
    """End the Job by its deadline: its pod is deleted, and the watch of Jobs is behind."""
    job_path, job = next((path, one) for path, one in api.objects.items() if path.startswith(JOBS))
    pod_path, pod = next((path, one) for path, one in api.objects.items() if path.startswith(PODS))
    api.put(pod_path, pod, "DELETED")
    condition = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    api.objects[job_path] = {**job, "status": {"conditions": [condition]}}


# How often


@pytest.mark.parametrize(("code", "reason"), [(200, ""), (403, "Forbidden"), (500, "InternalError")])
def test_a_job_that_no_watch_shows_is_asked_for_with_pauses(code: int, reason: str) -> None:
    """Its labels were taken off; whether the server shows it, refuses, or has no time."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(lasts=None, **({"script": answered("get", code, reason)} if code != 200 else {}))
        followed = await follow(bubble, api, during=take_labels_off, seconds=HOUR / 3)
        assert followed.end is None
        asked = [one.time for one in api.requests if one.kind == "get"]
        assert 30 <= len(asked) <= (47 if code != 500 else 400)

    run_virtual(scenario)


def test_the_end_of_a_job_that_no_watch_shows_is_found() -> None:
    """By asking for it."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(lasts=100.0)

        def during(api: Api) -> None:
            path = next(path for path in api.objects if path.startswith(PODS))
            api.objects[path] = {**api.objects[path], "status": {"phase": "Running"}}
            take_labels_off(api)

        followed = await follow(bubble, api, during=during)
        assert followed.end is not None
        assert followed.end.succeeded
        assert 100 <= followed.seconds <= 131

    run_virtual(scenario)


def test_a_pod_that_was_deleted_because_its_job_has_ended_was_deleted_by_nobody_else() -> None:
    """The watch of the pods is ahead: the Job is asked why."""

    async def scenario(bubble: Bubble) -> None:
        followed = await follow(bubble, Api(lasts=None), during=pass_the_deadline)
        assert followed.end is not None
        assert (followed.end.reason, followed.end.over) == ("deadline", True)
        assert followed.seconds < 5

    run_virtual(scenario)


def test_a_job_that_runs_for_an_hour_costs_nothing_of_its_own() -> None:
    """But for the watches that all share."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(lasts=None)
        assert (await follow(bubble, api)).end is None
        assert {one.kind for one in api.requests} == {"list jobs", "list pods", "watch jobs", "watch pods"}
        assert len(api.requests) <= 32

    run_virtual(scenario)


@pytest.mark.parametrize("code", [200, 403, 500])
def test_events_are_looked_at_now_and_then_while_there_is_no_pod(code: int) -> None:
    """However long that takes, and whatever the server says to it."""

    async def scenario(bubble: Bubble) -> None:
        said = {"metadata": {}, "items": []} if code == 200 else status(code, "x")
        events = Wrong(act=False, answer=(code, said))
        api = Api(script=lambda request: events if request.path.endswith("/events") else None, pod_after=NEVER)
        followed = await follow(bubble, api, seconds=HOUR / 3)
        assert followed.end is None
        asked = [one.time for one in api.requests if one.path.endswith("/events")]
        assert 38 <= len(asked) <= (45 if code != 500 else 500)
        assert asked[0] >= 3.0
        assert len(followed.lines) <= 2

    run_virtual(scenario)


# Bounds


def test_a_job_without_a_pod_ends_when_its_time_is_up() -> None:
    """With the newest reason that an event gives."""

    async def scenario(bubble: Bubble) -> None:
        events = [
            {"reason": "FailedCreate", "message": "old", "lastTimestamp": "2026-12-01T00:00:00Z"},
            {"reason": "FailedCreate", "message": "exceeded quota: q", "lastTimestamp": "2026-12-01T00:01:00Z"},
            {"reason": "Other", "message": "newest", "lastTimestamp": "2026-12-01T00:02:00Z"},
        ]
        listed = [{**event, "metadata": {"name": str(number)}} for number, event in enumerate(events)]
        answer = Wrong(act=False, answer=(200, {"metadata": {}, "items": listed}))
        api = Api(script=lambda request: answer if request.path.endswith("/events") else None, pod_after=NEVER)
        work = KubernetesJob(manifest=job_manifest("image"), start_timeout=120.0)
        followed = await follow(bubble, api, work=work)
        assert followed.end is not None
        assert (followed.end.reason, followed.end.over) == ("refused", False)
        assert followed.end.message == "no container ran within 120 s: exceeded quota: q"
        assert 120 <= followed.seconds <= 122
        assert followed.lines.count("no pod yet: exceeded quota: q") == 1

    run_virtual(scenario)


def waiting(reason: str, message: str) -> Callable[[Api], None]:
    """Let the container of each pod wait for something."""

    def change(api: Api) -> None:
        for pod in api.of("pods"):
            state = {"waiting": {"reason": reason, "message": message}}
            told = {"phase": "Pending", "containerStatuses": [{"name": "main", "state": state}]}
            api.put(f"{PODS}/{pod['metadata']['name']}", {**pod, "status": told})

    return change


@pytest.mark.parametrize(
    ("reason", "seconds", "end"),
    [
        ("ImagePullBackOff", 60.0, "no image"),
        ("InvalidImageName", 0.0, "no image"),
        ("CreateContainerConfigError", 60.0, "not started"),
    ],
)
def test_an_image_has_its_own_time(reason: str, seconds: float, end: str) -> None:
    """And a name that no image can have has none."""

    async def scenario(bubble: Bubble) -> None:
        work = KubernetesJob(manifest=job_manifest("image"), pull_timeout=60.0, start_timeout=NEVER)
        followed = await follow(bubble, Api(lasts=None), during=waiting(reason, "no such thing"), work=work)
        assert followed.end is not None
        assert followed.end.reason == end
        assert "no such thing" in followed.end.message
        assert seconds <= followed.seconds - 1 <= seconds + 2

    run_virtual(scenario)


def test_a_node_that_does_not_say_what_became_of_a_pod_is_lost_in_the_end() -> None:
    """After the pod's grace, and five minutes."""

    def dying(api: Api) -> None:
        for pod in api.of("pods"):
            meta = {**pod["metadata"], "deletionTimestamp": "x", "deletionGracePeriodSeconds": 40}
            api.put(f"{PODS}/{meta['name']}", {**pod, "metadata": meta})

    async def scenario(bubble: Bubble) -> None:
        followed = await follow(bubble, Api(lasts=None), during=dying)
        assert followed.end is not None
        assert followed.end.reason == "node lost"
        assert 340 <= followed.seconds - 1 <= 342

    run_virtual(scenario)


@pytest.mark.parametrize("kind", ["list jobs", "list pods"])
def test_a_cluster_that_is_out_of_reach_is_told_of_once_and_given_up_in_the_end(kind: str) -> None:
    """After the time that was given; a job is not failed for it before."""

    async def scenario(bubble: Bubble) -> None:
        wrong = Wrong(act=False, answer=(503, b"no"))
        kinds = {kind, kind.replace("list", "watch")}
        lines: list[str] = []

        def script(request: Request) -> Wrong | None:
            return wrong if request.kind in kinds and request.time >= 2 else None

        with pytest.raises(RemoteLost, match=r"cluster 'default' was out of reach for 9\d\d s: .*503"):
            await follow(bubble, Api(script=script, lasts=None), unreachable=900.0, lines=lines)
        assert 1100 <= anyio.current_time() <= 1300  # a watch holds for five minutes at most
        assert [line.partition(":")[0] for line in lines] == ["cluster 'default' is out of reach"]

    run_virtual(scenario)


def test_a_right_that_is_missing_is_told_soon() -> None:
    """Where there never was one: within a minute, as a failure of the job; and nothing is asked on and on."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=answered("list pods", 403, "Forbidden", after=0.0), lasts=None)
        with pytest.raises(RemoteFailed, match=r"jobs cannot be followed: .*Forbidden"):
            await follow(bubble, api)
        assert 25 <= anyio.current_time() <= 60

    run_virtual(scenario)


def test_a_right_that_is_taken_away_is_waited_for() -> None:
    """It may be given back; the job is followed to its end when it is."""

    async def scenario(bubble: Bubble) -> None:
        wrong = Wrong(act=False, answer=(403, status(403, "Forbidden")))

        def script(request: Request) -> Wrong | None:
            return wrong if "s" in request.kind and 2 <= request.time < 1000 else None

        followed = await follow(bubble, Api(script=script, lasts=500.0))
        assert followed.end is not None
        assert followed.end.succeeded

    run_virtual(scenario)
