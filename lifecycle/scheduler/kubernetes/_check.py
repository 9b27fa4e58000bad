"""A first run on a cluster: does it do what this package was tested to need of one?

The tests run against one old release of the real API server and a double that plays today's. What a newer cluster, its
admission rules and our rights there make of it is found out here, in a minute, with four small Jobs.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio

from .._ground.errors import RemoteFailed
from .._ground.text import one_line, shorten
from .._work.error_text import kind_of, text_of
from ..remote import RemoteEnd, Ticket
from . import _ends
from ._client import Client
from ._faults import GONE, NOT_FOUND, ApiError
from ._host import Kubernetes
from ._job import KubernetesJob, job_manifest
from ._lines import lines_of
from ._ownership import job_path
from ._view import PATHS

IMAGE: Final = "busybox:stable"
"""What the Jobs run unless another image is named: any that has a shell."""

TIMEOUT: Final = 180.0
"""Seconds for each check: an image may have to be pulled."""

RIGHTS: Final = (
    *(("batch", "jobs", "", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
    *(("", "pods", "", verb) for verb in ("list", "watch", "delete")),
    ("", "pods", "log", "get"),
    ("", "events", "", "list"),
)
"""What we have to be allowed, by group, resource, subresource and verb. Deleting pods is for the sweep alone."""

_PROGRAM: Final = "echo one; echo two; printf '{\"answer\": 42}' > /dev/termination-log"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes:
        check: what was checked.
        passed: whether it is as it should be.
        found: what there was, in one line.
    """

    check: str
    passed: bool
    found: str


class Check:
    """Checks one cluster.

    Args:
        host: one that has been entered.
        cluster: the cluster's name.
        namespace: where the Jobs go; None for the cluster's own.
        image: what they run.
    """

    def __init__(self, host: Kubernetes, cluster: str, namespace: str | None = None, image: str = IMAGE) -> None:
        self._host = host
        self._cluster = cluster
        self._namespace = namespace
        self._image = image
        self._store = secrets.token_hex(5)
        self._lines: list[str] = []

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what each check finds, in order; they go on after one that has not passed, but for the first two.

        Cancellation: ends it; the Job that runs is deleted by the cluster a day after its end.
        """
        for what, check in (("the API server answers", self._version), ("the namespace is there", self._there)):
            needed = await self._finding(what, check)
            yield needed
            if not needed.passed:
                return
        for what, check in (
            ("rights", self._rights),
            ("a manifest is taken as it is", self._dry_run),
            ("a watch goes on from a version", self._watch),
            ("a Job runs: exit code, output, log", self._success),
            ("a Job that is there is taken over", self._adopt),
            ("a failure has its exit code", self._failure),
            ("a Job that runs is gone when it was stopped", self._stop),
        ):
            yield await self._finding(what, check)

    async def _finding(self, what: str, check: Callable[[], Awaitable[str]]) -> Finding:
        try:
            with anyio.fail_after(TIMEOUT):
                return Finding(what, passed=True, found=await check())
        except Exception as error:
            said = text_of(error) if isinstance(error, _Wrong) else f"{kind_of(error)}: {text_of(error)}"
            return Finding(what, passed=False, found=one_line(shorten(said, 300)))

    async def _version(self) -> str:
        async with self._host.client(self._cluster) as client:
            self._namespace = self._namespace or client.namespace
            version = await client.request("GET", "/version")
            return f"{version.get('gitVersion')}, namespace {self._namespace}"

    async def _there(self) -> str:
        """Ask as for any Job, and not for the namespace: that would be one more right."""
        sent = self._job("true").named(self._ticket(1), self._namespace or "default")
        async with self._host.client(self._cluster) as client:
            try:
                await client.request("POST", job_path(self._namespace or ""), query={"dryRun": "All"}, body=sent)
            except ApiError as error:
                if error.status == NOT_FOUND:
                    advice = "create it, or name another one in the file of clusters or by --namespace"
                    raise _Wrong(f"there is no namespace {self._namespace}: {advice}") from error
                return f"not known: {error}"  # what is wrong is a later check's to say
        return str(self._namespace)

    async def _rights(self) -> str:
        missing = []
        async with self._host.client(self._cluster) as client:
            for group, resource, part, verb in RIGHTS:
                wanted = {"namespace": self._namespace, "group": group, "resource": resource, "verb": verb}
                spec = {"resourceAttributes": {**wanted, **({"subresource": part} if part else {})}}
                review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
                path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
                answer = await client.request("POST", path, body=review)
                if not (answer.get("status") or {}).get("allowed"):
                    missing.append(f"{verb} {resource}{f'/{part}' if part else ''}")
        if missing:
            raise _Wrong(f"missing: {', '.join(missing)}")
        return f"all {len(RIGHTS)}"

    async def _dry_run(self) -> str:
        ticket, work = self._ticket(1), self._job("true")
        sent = work.named(ticket, self._namespace or "default")
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        async with self._host.client(self._cluster) as client:
            got = await client.request("POST", job_path(sent["metadata"]["namespace"]), query=query, body=sent)
        dropped = [key for key in ("ttlSecondsAfterFinished", "backoffLimit") if key not in got["spec"]]
        if dropped:
            raise _Wrong(f"this server drops {', '.join(dropped)}: it does not delete ended Jobs by itself")
        return "nothing was dropped"

    async def _watch(self) -> str:
        path = PATHS["Job"].format(self._namespace)
        async with self._host.client(self._cluster) as client:
            meta = (await client.request("GET", path, query={"limit": 1}))["metadata"]
            seconds: dict[str, str | int] = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": 1}
            async with client.stream(path, {**seconds, "resourceVersion": meta["resourceVersion"]}, silence=30.0) as it:
                events = [json.loads(line) async for line in lines_of(it) if line.strip()]
            code = await self._old_version(client, path, seconds)
        if code not in (0, GONE):
            raise _Wrong(f"version 1 was answered with {code} and not with 410 or events")
        return f"{len(events)} events in a second; version 1 is {'forgotten: 410' if code else 'remembered'}"

    async def _old_version(self, client: Client, path: str, seconds: dict[str, str | int]) -> int:
        """Return what a watch from the very first version is answered with, 0 for anything but a refusal."""
        try:
            async with client.stream(path, {**seconds, "resourceVersion": "1"}, silence=30.0) as pieces:
                async for line in lines_of(pieces):
                    event = json.loads(line)
                    if event.get("type") == "ERROR":
                        return int(event["object"].get("code") or 0)
        except ApiError as error:
            return error.status
        return 0

    async def _success(self) -> str:
        end = await self._run(2, _PROGRAM)
        if not end.succeeded or end.exit_code != 0 or end.output != {"answer": 42} or self._lines != ["one", "two"]:
            raise _Wrong(f"{end.reason}: {end.message}, output {end.output!r}, log {self._lines!r}")
        await self._host.stop(self._ticket(2), self._job(_PROGRAM))
        return f"succeeded on node {end.details.get('node', '?')}, output and two lines of log"

    async def _adopt(self) -> str:
        ticket, work = self._ticket(3), self._job("true")
        await self._host.start(ticket, work, self._lines.append)
        await self._host.start(ticket, work, self._lines.append)
        if not await self._host.adopt(self._ticket(3, attempt=2), work):
            raise _Wrong("it was not found by its name")
        end = await self._host.follow(ticket, work, self._lines.append)
        await self._host.stop(ticket, work)
        async with self._host.client(self._cluster) as client:
            await client.request("GET", job_path(self._namespace or "default", ticket.name))  # it is another's now
        await self._host.stop(self._ticket(3, attempt=2), work)
        return f"one Job for two creations, {end.reason}, and out of reach for the attempt before"

    async def _failure(self) -> str:
        end = await self._run(4, "echo bad >&2; exit 3")
        await self._host.stop(self._ticket(4), self._job("echo bad >&2; exit 3"))
        if end.reason != _ends.FAILED or end.exit_code != 3:
            raise _Wrong(f"{end.reason}: {end.message}")
        return end.message

    async def _stop(self) -> str:
        ticket, work = self._ticket(5), self._job("sleep 600")
        await self._host.start(ticket, work, self._lines.append)
        await anyio.sleep(2.0)
        began = anyio.current_time()
        await self._host.stop(ticket, work)
        return f"after {anyio.current_time() - began:.1f} s"

    async def _run(self, number: int, program: str) -> RemoteEnd:
        ticket, work = self._ticket(number), self._job(program)
        self._lines.clear()
        await self._host.start(ticket, work, self._lines.append)
        end = await self._host.follow(ticket, work, self._lines.append)
        self._lines.clear()
        with anyio.move_on_after(10.0):
            await self._host.log(ticket, work, self._lines.append)
        return end

    def _job(self, program: str) -> KubernetesJob:
        manifest = job_manifest(self._image, command=["sh", "-c", program], grace=2, ttl=3600)
        return KubernetesJob(manifest=manifest, cluster=self._cluster, namespace=self._namespace)

    def _ticket(self, number: int, attempt: int = 1) -> Ticket:
        name = f"lifecycle-check-{number}-{self._store}"
        return Ticket(name, self._store, None, number, 1, attempt, "lifecycle kubernetes check")


class _Wrong(RemoteFailed):
    """Something is not as it should be."""
