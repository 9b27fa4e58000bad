"""Attempts of one job against the scripted API server, made as an engine makes them, and judged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import anyio

from lifecycle import Scope
from lifecycle.scheduler._store.records import Claimed, JobStatus
from lifecycle.scheduler._work.beyond import Aftermath, Beyond
from lifecycle.scheduler._work.context import JobContext
from lifecycle.scheduler._work.shared import Shared
from lifecycle.scheduler.kubernetes import Cluster, Kubernetes, KubernetesJob, job_manifest
from lifecycle.scheduler.kubernetes._faults import ApiError
from lifecycle.scheduler.remote import RemoteEnd, RemoteFailed, RemoteLost, Ticket
from lifecycle.scheduler.remote._running import Errand
from lifecycle.testing import Bubble

from .scripted import Api

STORE = "a" * 10
TICKET = Ticket("work-1", STORE, None, 1, 1, 1, "work")
WORK = KubernetesJob(manifest=job_manifest("image"))


async def _highest_job() -> int:
    return 1


async def _ended_jobs(_jobs: Collection[int]) -> set[int]:
    return set()


async def _all_over(jobs: Collection[int]) -> dict[int, bool]:
    return dict.fromkeys(jobs, True)


STORED = SimpleNamespace(identity=STORE, durable=True, highest_job=_highest_job, ended_jobs=_ended_jobs)


def nothing(_line: str) -> None:
    """Take a line and do nothing with it."""


def struck(task: asyncio.Task[Any]) -> bool:
    """Return whether a task is one of an attempt; the engine's own, which judges, and the server's are not."""
    return task.get_name().startswith(("attempt", "start of ", "log of "))


class Attempt:
    """One attempt: what it was told, and how it ended."""

    def __init__(self, number: int, *, interrupted: bool) -> None:
        self.interrupted = interrupted
        self.end: RemoteEnd | None = None
        self.error: BaseException | None = None
        self.lines: list[str] = []
        self.waiting: list[Any] = []
        claimed = Claimed(1, None, "work", "call", number, 0, 0, (1.0, 1.0), None, None)
        aftermath = Aftermath(claimed, lambda _claimed, function, _context: self.waiting.append(function))
        self.aftermath = aftermath
        self.job = JobContext("work", number, {}, lambda *_: None)

        async def stored(_job: int) -> Any:  # it is the one that the store knows: what is fenced here is the cluster
            return SimpleNamespace(attempts=number, status=JobStatus.RUNNING)

        store: Any = SimpleNamespace(**vars(STORED), job=stored)
        self.job.beyond = Beyond(claimed, store, lambda: self.interrupted, aftermath)

    async def run(self, engine: Engine, stop_timeout: float = 60.0, work: KubernetesJob = WORK) -> None:
        """Make it; keep how it ended."""
        self.job.shared = engine.shared
        errand = Errand(engine.host, work, self.job, key="work", path="work", leave=True)
        try:
            async with Scope("attempt") as scope:
                self.end = await errand.run(scope, stop_timeout)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.lines = list(self.job.lines)

    def lost(self) -> bool:
        """Return whether the error says that it may still run."""
        return self.error is not None and any(isinstance(one, RemoteLost) for one in leaves(self.error))

    async def record(self) -> None:
        """Do what follows once its end is recorded."""
        self.aftermath.note_recorded()
        for function in self.waiting:
            await function()


class Engine:
    """What jobs share: a host, and their scheduler's registry; an async context manager."""

    def __init__(self, **how: Any) -> None:
        self.host = Kubernetes({"default": Cluster()}, **how)
        self.scope = Scope("engine")

    async def __aenter__(self) -> Engine:
        await self.scope.__aenter__()
        await self.scope.enter_async_context(self.host)
        self.shared = Shared(self.scope, "test", 60.0)
        return self

    async def __aexit__(self, *details: Any) -> Any:
        return await self.scope.__aexit__(*details)


async def engine_run(
    bubble: Bubble, api: Api, *, interrupted: bool, cancel_after: float | None = None, late: bool = False
) -> Attempt:
    """Make an attempt in a task of its own, and another one if it was interrupted; judge what is left.

    Args:
        bubble: the world.
        api: the server.
        interrupted: whether the attempt goes on later if it is ended.
        cancel_after: seconds after which it is cancelled.
        late: whether the server may create a Job when all has ended; then the sweep has to find it.
    """
    await api.serve(bubble)
    async with Engine() as engine:
        attempt = Attempt(1, interrupted=interrupted)
        task = asyncio.get_running_loop().create_task(attempt.run(engine), name="attempt")
        if cancel_after is not None:
            attempt.interrupted = False
            await anyio.sleep(cancel_after)
            attempt.interrupted = interrupted and not task.done()
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        await judge(engine, api, attempt, late=late)
    assert all(session.closed for session in api.sessions)
    return attempt


async def judge(engine: Engine, api: Api, attempt: Attempt, *, late: bool = False) -> None:
    """Check that what is left in the cluster is somebody's."""
    if attempt.interrupted and attempt.error is not None and not attempt.lost():
        following = Attempt(2, interrupted=False)
        with contextlib.suppress(RemoteFailed):  # which the script can have for it as well
            await following.run(engine)
            assert following.end is not None
            assert following.end.succeeded, following.end
        attempt = following
    await settle(engine, api, attempt, late=late)


async def settle(engine: Engine, api: Api, attempt: Attempt, *, late: bool, anew: int = 0) -> None:
    """Record the end of the last attempt, and check that nothing is left, unless the error says so.

    Args:
        engine: what the attempts shared.
        api: the server.
        attempt: the last one.
        late: whether the server may create a Job when all has ended; then the sweep has to find it.
        anew: how many attempts have stopped their Job although they go on later: the next one begins anew.
    """
    try:
        await attempt.record()
    except (ApiError, OSError):  # it is told of, and the sweep's to do
        late = True
    await anyio.sleep(15)
    assert api.together <= 1, "two Jobs at once"
    assert max(api.created.values(), default=0) <= 1 + late + anew, "a second Job of one ticket"
    if late:
        api.script = lambda _: None
        assert await engine.host.sweep(STORE, _all_over) <= 1
        await anyio.sleep(5)
    if not attempt.lost():
        assert not api.of("jobs"), f"a Job that nobody owns, after {attempt.error!r}"
        assert not api.of("pods"), f"a pod that nobody owns, after {attempt.error!r}"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group, and what they came of."""
    yield error
    inner: Iterable[BaseException] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for one in (*inner, *(found for found in (error.__cause__, error.__context__) if found is not None)):
        yield from leaves(one)
