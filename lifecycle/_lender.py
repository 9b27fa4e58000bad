"""What a registry and a pool share: the block, and a bounded close that any task may ask for."""

from __future__ import annotations

import logging
from asyncio import CancelledError, Future, Task
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from ._ground import kernel, trace
from ._ground.checks import checked_timeout
from ._ground.closing import OwnerState, refuse
from ._ground.errors import StillLent, combine
from ._ground.roots import Portrait
from ._task.waiting import awaiting_tasks_of, closing_tasks

logger = logging.getLogger("lifecycle.registry")

OPEN, CLOSING, CLOSED = OwnerState


def borrower_in_words(task: Task[Any] | None) -> str:
    """Return who has borrowed something, and where that task is now."""
    if task is None:
        return "no task"
    if task.done():
        return f"task {task.get_name()!r} (which has ended)"
    stack = kernel.suspended_at(task)
    return f"task {task.get_name()!r}" + (f", suspended at {stack[-1]}" if stack else "")


class Lender:
    """Owns values that others borrow.

    A subclass ends everything in `_begin_closing`, answers `_is_quiet`, and calls `_progress` whenever the answer may
    have changed.
    """

    __slots__ = (
        "__weakref__",
        "_closed_future",
        "_closing_in",
        "_errors",
        "_state",
        "_token",
        "_watchers",
        "close_timeout",
        "name",
    )

    def __init__(self, name: str, close_timeout: float | None) -> None:
        self.name: str = name
        self.close_timeout: float = checked_timeout(close_timeout, "close_timeout")
        self._state = OPEN
        self._errors: list[BaseException] = []
        self._closing_in: Task[Any] | None = None
        self._closed_future: Future[None] | None = None
        self._watchers: list[tuple[Future[None], Callable[[], bool]]] = []
        self._token: trace.Token | None = None

    # What a subclass answers

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        """Begin to end everything but *exempt* tasks, which wait for it; called once."""
        raise NotImplementedError

    def _is_quiet(self, exempt: frozenset[Task[Any]], *, loans_too: bool) -> bool:
        """Whether everything has ended, except for what *exempt* tasks do, and for loans if those do not count."""
        raise NotImplementedError

    def _borrowed(self) -> list[str]:
        """Name what is still lent."""
        raise NotImplementedError

    def _employs(self, task: Task[Any]) -> bool:
        """Whether *task* is one of the owner's own, for which a close waits."""
        raise NotImplementedError

    def _portrait(self) -> Portrait:
        """Describe what is owned, for a snapshot."""
        raise NotImplementedError

    # The block

    async def __aenter__(self) -> Self:
        self._check_open("an async with block")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failure, held = await self._close()
        if isinstance(error, CancelledError):
            held = error
        elif error is not None:
            failure = error if failure is None else combine(f"errors in and while closing {self}", [error, failure])
        kernel.conclude(failure, held, error)

    async def aclose(self) -> None:
        """End everything that is owned; from any task, and final. Idempotent.

        What is lent is waited for, at most ``close_timeout`` seconds, and never ended under its borrower's hands: what
        is still out then is named in the error and ended when it comes back. A second caller waits for the first.

        Cancellation: held back until all is over, then raised, once. A second caller just stops waiting.

        Raises:
            BaseException: the single error met while closing, as it is.
            BaseExceptionGroup: several of them, all.
            StillLent: values were still lent after ``close_timeout``.
        """
        kernel.conclude(*await self._close())

    @property
    def closed(self) -> bool:
        """Whether it has closed, for good."""
        return self._state is CLOSED

    # The books

    def _check_open(self, offer: str) -> None:
        if self._state is not OPEN:
            refuse(self, offer, f"it is {self._state.value}")

    def _report_error(self, what: str, error: BaseException) -> None:
        """Keep the error of an ending for `aclose`, or log it where nobody waits for it."""
        if self._state is CLOSING and self._closed_future is not None:
            self._errors.append(error)
        else:
            logger.error("%s: %s failed", self, what, exc_info=error, extra={"owner": self.name})

    def _progress(self) -> None:
        """Wake whoever waits for something that has come true."""
        for future, ready in self._watchers:
            if not future.done() and ready():
                future.set_result(None)
        if self._token is not None and self._state is CLOSED and self._is_quiet(frozenset(), loans_too=True):
            token, self._token = self._token, None
            trace.closed(token)

    # Closing

    async def _close(self) -> tuple[BaseException | None, CancelledError | None]:
        if self._state is CLOSED:
            return None, None
        if self._closed_future is not None:
            # Not through a cancellation: the first closer may be waiting for this very task.
            if self._closing_in not in closing_tasks() and not self._employs(kernel.current_task()):
                await kernel.wait_shielded(self._closed_future)
            return None, None
        self._closed_future = kernel.new_future()
        self._closing_in = kernel.current_task()
        held = await self._shut_down()
        self._state = CLOSED
        self._closing_in = None
        self._closed_future.set_result(None)
        self._progress()
        errors, self._errors = self._errors, []
        return (combine(f"errors while closing {self}", errors) if errors else None), held

    async def _shut_down(self) -> CancelledError | None:
        exempt = closing_tasks()
        self._state = CLOSING
        with awaiting_tasks_of(self._employs, exempt):
            self._begin_closing(exempt)
            held = await self._wait_through(lambda: self._is_quiet(exempt, loans_too=True), self.close_timeout)
            lent = self._borrowed()
            if lent:
                self._errors.append(StillLent(str(self), self.close_timeout, lent))
            # Every chore and finalizer has a deadline of its own.
            again = await self._wait_through(lambda: self._is_quiet(exempt, loans_too=False), kernel.FOREVER)
        return held or again

    async def _wait_through(self, ready: Callable[[], bool], timeout: float) -> CancelledError | None:
        """Wait until *ready*, whatever happens to the calling task; return the cancellation held back."""
        if ready():
            return None
        watcher = (kernel.new_future(), ready)
        self._watchers.append(watcher)
        try:
            return await kernel.wait_through(watcher[0], timeout)
        finally:
            self._watchers.remove(watcher)

    async def _wait_until(self, ready: Callable[[], bool], timeout: float = kernel.FOREVER) -> bool:
        """Wait until *ready*, or the time is up; return whether it came true."""
        if ready():
            return True
        watcher = (kernel.new_future(), ready)
        self._watchers.append(watcher)
        try:
            return await kernel.wait(watcher[0], timeout)
        finally:
            self._watchers.remove(watcher)
