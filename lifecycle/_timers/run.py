"""One run of a timer: the record of it, and what happens in its task: hooks, the body, its timeout."""

from __future__ import annotations

from asyncio import CancelledError, Task
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from .._ground import kernel
from .._ground.calls import call, coroutine_of
from .._ground.errors import TaskCancelled, TimeoutExpired
from .._ground.foreign import in_words
from .._ground.ladder import Ladder
from .._ground.logs import OwnerLog
from .._ground.watchers import tell_failure
from .._task.handle import CANCELLED, FAILED, FINISHED, TaskHandle, TaskStatus
from .records import TimerRun, TimerSettings

logger = OwnerLog("lifecycle.timers")


class Run:
    """One run, from the step in which it is started to the one in which its timer settles the account.

    Args:
        info: the record of it that hooks get.
        fn: the body.
        settings: the timer's options.
        cancel_timeout: seconds that a body whose time is up has to end before it is cancelled once more.

    Attributes:
        handle: the task that executes it.
        error: what it raised; a run that was cancelled has none.
    """

    __slots__ = (
        "_began",
        "_cancel_timeout",
        "_cancellation",
        "_clock",
        "_ended",
        "_expired",
        "_fn",
        "_settings",
        "error",
        "handle",
        "info",
    )

    def __init__(
        self,
        info: TimerRun,
        fn: Callable[[], Awaitable[object]],
        settings: TimerSettings,
        cancel_timeout: float,
    ) -> None:
        self.info = info
        self.handle: TaskHandle[None] | None = None
        self.error: BaseException | None = None
        self._fn = fn
        self._settings = settings
        self._cancel_timeout = cancel_timeout
        self._clock = kernel.clock()
        self._began = self._ended = self._clock()
        self._expired = False
        self._cancellation: kernel.Cancellation | None = None

    @property
    def duration(self) -> float:
        """Seconds from its begin to its end."""
        return self._ended - self._began

    @property
    def timed_out(self) -> bool:
        """Whether it failed because its time was up."""
        return self._expired and isinstance(self.error, TimeoutError)

    def end(self) -> tuple[TaskStatus, BaseException | None]:
        """Return how it ended; also if it was cancelled before its first step."""
        assert self.handle is not None
        if self.error is not None:
            return FAILED, self.error
        status = self.handle.status
        return status, (self.handle.exception() if status is FAILED else None)

    def __str__(self) -> str:
        return f"run {self.info.number} of timer {self.info.timer!r}"

    async def execute(self) -> None:
        """Run the hooks and the body; an error ends up in ``error``.

        Cancellation: passed on to the body, and raised after the hooks.
        """
        hooks = self._settings.hooks
        try:
            for hook in hooks:
                await call(getattr(hook, "before", nothing), self.info)
            if self._settings.run_timeout is None:
                await coroutine_of(self._fn, ())
            else:
                await self._call_within(self._settings.run_timeout)
        except CancelledError as error:
            if kernel.current_task().cancelling() > 0:
                raise
            self.error = TaskCancelled(f"{self} was cancelled from inside")
            self.error.__cause__ = error
        except Exception as error:
            self.error = error
        finally:
            self._ended = self._clock()
            if hooks:
                await self._report_end(hooks)

    async def _call_within(self, timeout: float) -> None:
        task = kernel.current_task()
        coro = coroutine_of(self._fn, ())
        ladder = Ladder(lambda: self._expire(task), lambda: self._log_ignored_timeout(task), self._cancel_timeout)
        ladder.expect(timeout)
        try:
            await coro
        except CancelledError as error:
            reason = None if self._cancellation is None else self._cancellation.reason
            if not await self._was_only_late(task):
                kernel.conclude(kernel.as_requested(error, task, reason), None, error)
                raise
            raise TimeoutExpired(str(self), timeout) from None
        finally:
            ladder.end()
            if self._cancellation is not None:
                await self._was_only_late(task)
        if self._expired:  # it has swallowed its cancellation, or was in a shield
            raise TimeoutExpired(str(self), timeout)

    def _expire(self, task: Task[Any]) -> None:
        """Cancel the body, a second time where it has swallowed the first; a shield holds the first back."""
        self._expired = True
        if self._cancellation is not None:
            if not self._cancellation.delivered:
                return
            self._cancellation.withdraw()
            task.uncancel()
        self._cancellation = kernel.interrupt(task, "its run_timeout has passed")

    def _log_ignored_timeout(self, task: Task[Any]) -> None:
        """Say that the body ignores both; it is not abandoned, because another run would begin beside it."""
        facts = {"owner": self.info.timer, "run": self.info.number, "stack": kernel.suspended_at(task)}
        logger.error("run ignores its run_timeout", extra=facts)

    async def _was_only_late(self, task: Task[Any]) -> bool:
        """Take the cancellation by the timeout back; return whether there was no other."""
        cancellation, self._cancellation = self._cancellation, None
        if cancellation is None or not cancellation.withdraw():
            return False
        still_asked = task.uncancel()
        await kernel.absorb_cancellation(task, still_asked)
        return still_asked == 0

    async def _report_end(self, hooks: Sequence[object]) -> None:
        cancelled = self.error is None and kernel.current_task().cancelling() > 0
        status = CANCELLED if cancelled else FINISHED if self.error is None else FAILED
        ended = replace(self.info, status=status, error=self.error, duration=self.duration)
        held = None
        for hook in hooks:
            met = kernel.requests_met(kernel.current_task())
            try:
                await call(getattr(hook, "after", nothing), ended)
            except BaseException as error:
                if isinstance(error, CancelledError) and kernel.requests_met(kernel.current_task()) > met:
                    held = kernel.foremost(held, error)
                else:  # its own, also a cancellation that nobody has asked for
                    about = {"owner": self.info.timer, "hook": f"{in_words(hook)}.after"}
                    tell_failure(logger, "hook failed", error, **about)
        kernel.conclude(held)


def nothing(*_: object) -> None:
    """Stand in for a method that a hook does not have."""
