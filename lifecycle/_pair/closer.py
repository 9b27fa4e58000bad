"""Closer: closes what linked loops share, once, and waits for it no longer than it may take."""

from __future__ import annotations

import inspect
from asyncio import CancelledError, Task
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from .._ground import kernel
from .._ground.errors import ReleaseTimeout, failure_of
from .._ground.foreign import is_fatal, without_our_frame
from .._ground.ladder import Ladder
from .._ground.logs import OwnerLog
from .._ground.starts import spawn_eagerly
from .._ground.watchers import tell_failure
from .._task.work import work_of

logger = OwnerLog("lifecycle.pair")

Close = Callable[[], object]
Abort = Callable[[], object]


class Closer:
    """Calls *close*, and awaits what it returns in a task of its own, which has *timeout* seconds.

    After these *abort* is called and it is cancelled, cancelled again as long after, and abandoned a grace later.

    What ends the process does so here as well: it is noted, and raised out of the loop after the step that met it.

    Attributes:
        task: what is waited for; None before it has begun, and when it has ended or was abandoned.
        error: what the closing raised, or that it took too long.
    """

    def __init__(
        self, close: Close | None, owner: str, owner_name: str, timeout: float, abort: Abort | None = None
    ) -> None:
        self.task: Task[None] | None = None
        self.error: BaseException | None = None
        self._close = close
        self._abort = abort
        self._owner = owner
        self._owner_name = owner_name
        self._timeout = timeout
        self._ended: Callable[[], object] | None = None
        self._ladder: Ladder | None = None
        self._cancellation: kernel.Cancellation | None = None

    def begin(self, owner: object, ended: Callable[[], object]) -> None:
        """Close for *owner*, unless that was begun before; *ended* is called when what did not end at once is over."""
        close, self._close = self._close, None
        if close is None:
            return
        try:
            closing = close()
        except BaseException as error:
            self._take(without_our_frame(error))
            return
        if inspect.isawaitable(closing):
            # Eagerly, so that what the loops are blocked in is freed before they are cancelled, where it can be.
            task = spawn_eagerly(self._await(closing, owner), f"closer of {self._owner}")
            if not task.done():
                self.task = task
                self._ended = ended
                task.add_done_callback(partial(self._task_done, closing))
                self._ladder = Ladder(self._interrupt, self._abandon, self._timeout)
                self._ladder.expect(self._timeout)

    @work_of("owner")
    async def _await(self, closing: Awaitable[Any], owner: object) -> None:
        try:
            await closing
        except BaseException as error:
            self._take(without_our_frame(error))
        else:
            if self._cancellation is not None and not self._was_abandoned:  # which it has swallowed
                self.error = ReleaseTimeout(self._label, self._timeout, abandoned=False)
        finally:
            del self, owner  # which keep the error whose frames lead back to this one: a cycle

    def _take(self, error: BaseException) -> None:
        """Note what the closing raised; what it raises after it was abandoned is only told."""
        if is_fatal(error):
            self.error = error
            kernel.end_process(error)
        elif self._was_abandoned:
            if not isinstance(error, CancelledError):
                logger.error("abandoned closing failed", exc_info=error, extra={"owner": self._owner_name})
        elif self._cancellation is not None and isinstance(error, (CancelledError, TimeoutError)):
            self.error = ReleaseTimeout(self._label, self._timeout, abandoned=False)
        else:
            self.error = failure_of(f"closing {self._label}", error)

    @property
    def _label(self) -> str:
        return f"the resource of {self._owner}"

    @property
    def _was_abandoned(self) -> bool:
        return isinstance(self.error, ReleaseTimeout) and self.error.abandoned

    def _task_done(self, closing: Awaitable[Any], task: Task[None]) -> None:
        if task.cancelled() and self.error is None:  # from outside, before its first step
            if inspect.iscoroutine(closing):
                closing.close()
            self._take(CancelledError())
        self._end()

    def _interrupt(self) -> None:
        assert self.task is not None
        abort, self._abort = self._abort, None
        if abort is not None:
            try:
                abort()
            except BaseException as error:
                tell_failure(logger, "abort failed", error, owner=self._owner_name)
        if self._cancellation is not None:
            self._cancellation.withdraw()
        self._cancellation = kernel.cancel(self.task, f"it took longer than {self._timeout:g} s")

    def _abandon(self) -> None:
        assert self.task is not None
        stack = kernel.suspended_at(self.task)
        self.error = ReleaseTimeout(self._label, self._timeout, abandoned=True, stack=stack)
        self._end()

    def _end(self) -> None:
        """Wait no longer, and let go of what refers back to this: cycles."""
        self.task = None
        self._abort = None
        ladder, self._ladder = self._ladder, None
        if ladder is not None:
            ladder.end()
        if self._cancellation is not None:
            self._cancellation.withdraw()
            self._cancellation = None
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
