"""Handles: a submitted job, and a submitted flow, as their sender sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import anyio

from lifecycle import Scope

from .._blocks.flow import Flow
from .._store.records import OpenedRun
from .lending import WAIT_OF_A_JOB
from .outcome import JobOutcome, RunOutcome

T = TypeVar("T", JobOutcome, RunOutcome)

Canceller = Callable[[int, str], Awaitable[bool]]


class _Awaited(Generic[T]):
    """Something that ends once, with an outcome that any number of tasks can wait for."""

    __slots__ = ("__weakref__", "_outcome", "_over")

    def __init__(self) -> None:
        self._over: anyio.Event | None = None  # made by the first that waits: nothing waits for most jobs
        self._outcome: T | None = None

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._outcome is not None

    @property
    def outcome(self) -> T | None:
        """The outcome, None before it is known."""
        return self._outcome

    async def wait(self) -> T:
        """Return the outcome as soon as there is one.

        Several tasks may wait. When the scheduler is closed first, the outcome is ``interrupted``. A job that waits
        holds no worker meanwhile, and has one again before this returns: parents cannot keep their children waiting.

        Cancellation: ends the waiting, not the work; a job that waited goes on at once.
        """
        if self._outcome is None:
            if self._over is None:
                self._over = anyio.Event()
            wait = WAIT_OF_A_JOB.get()
            await (self._over.wait() if wait is None else wait(self, self._over.wait))
            assert self._outcome is not None
        return self._outcome

    def _end(self, outcome: T) -> None:
        if self._outcome is None:
            self._outcome = outcome
            if self._over is not None:
                self._over.set()


class RunEnd(_Awaited[RunOutcome]):
    """The end of a run of any process, for those who wait for it here."""

    __slots__ = ("flow", "id")

    def __init__(self, run_id: int, flow: str) -> None:
        super().__init__()
        self.id: int = run_id
        self.flow: str = flow


class Job(_Awaited[JobOutcome]):
    """A job that was submitted.

    The scheduler does not keep it alive: drop it when you need not know how the job ends.

    Attributes:
        id: its number in the store.
        name: its name.
    """

    __slots__ = ("_cancel", "id", "name")

    def __init__(self, job_id: int, name: str, cancel: Canceller) -> None:
        super().__init__()
        self.id: int = job_id
        self.name: str = name
        self._cancel = cancel

    async def cancel(self, reason: str | None = None) -> bool:
        """Ask the job to end, queued or running; return False when it had ended already.

        It has ended, and has released what it owned, when `wait` returns.

        Cancellation: the request may have been noted.
        """
        if self.done:
            return False
        return await self._cancel(self.id, reason or "cancelled")

    def __repr__(self) -> str:
        state = self._outcome.status.value if self._outcome else "unfinished"
        return f"<Job {self.id} {self.name!r} {state}>"


class FlowRun(_Awaited[RunOutcome]):
    """A run of a flow that was submitted.

    Attributes:
        id: the run's number in the store.
        flow: the flow.
        params: the parameters' values.
        resumed: whether the run had begun before.
        jobs: the number of its jobs.
        unfinished: how many of them had not ended when it was opened.
        cancelled: whether the whole run was cancelled.
        waits: whether it waits until other runs of its flow have ended; false once a job of it has been taken.
    """

    __slots__ = ("_cancel", "_scope", "cancelled", "flow", "id", "jobs", "params", "resumed", "unfinished", "waits")

    def __init__(
        self, flow: Flow, params: Mapping[str, Any], opened: OpenedRun, scope: Scope, cancel: Canceller
    ) -> None:
        super().__init__()
        self.id: int = opened.run_id
        self.flow: Flow = flow
        self.params: Mapping[str, Any] = params
        self.resumed: bool = opened.resumed
        self.jobs: int = opened.jobs
        self.unfinished: int = opened.unfinished
        self.cancelled: bool = False
        self.waits: bool = opened.waits
        self._scope = scope
        self._cancel = cancel

    async def cancel(self, reason: str | None = None) -> bool:
        """Ask all jobs of the run to end, queued and running ones; return False when all had ended already.

        Cancellation: the request may have been noted.
        """
        if self.done:
            return False
        self.cancelled = True
        return await self._cancel(self.id, reason or "the run was cancelled")

    def __repr__(self) -> str:
        state = self._outcome.status.value if self._outcome else "unfinished"
        return f"<FlowRun {self.id} of {self.flow.name!r} {state}>"
