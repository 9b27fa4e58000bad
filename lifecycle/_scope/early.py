"""Early: the release of one thing before its turn, while everything else that the scope owns stays."""

from __future__ import annotations

from asyncio import CancelledError, Task
from collections.abc import Awaitable
from contextvars import Context
from typing import Any

from .._ground import kernel
from .._task.handle import TaskHandle
from .._task.waiting import Waiting, let_be_seen, waits_for
from .books import ScopeBooks
from .ending import EndingScope
from .entries import Entry
from .unwind import Unwinding


class EarlyRelease(Entry):
    """One release before its turn; a close that comes to the place of the thing meanwhile waits for it there.

    The thing stays in the ledger until it is gone, so that nothing below is released before. It is released as in a
    close, by an unwinding of its own over books in which it is alone.
    """

    __slots__ = ("_books", "_errors", "_label", "_over", "_releasing", "_scope", "close_timeout", "name")

    _context: Context | None = None
    leaves = True
    bounded = False  # it has its own bound

    def __init__(self, scope: EndingScope, entry: Any) -> None:
        self._scope = scope
        self.name = scope.name
        self.close_timeout = scope.close_timeout
        self._label = entry.label
        self._releasing = kernel.current_task()
        self._over = kernel.new_future()
        self._books = ScopeBooks()
        self._errors: list[BaseException] = []
        scope._books[entry] = self
        self._books[entry] = None

    def __repr__(self) -> str:
        return f"scope {self.name!r}"

    async def run(self, entry: Any) -> tuple[BaseException | None, CancelledError | None]:
        """Release the thing; return what went wrong, and a cancellation that was held back meanwhile."""
        unwinding = Unwinding(self, None)
        try:
            with Waiting(*filter(None, [entry.runner])):
                await unwinding.run()
        finally:
            if entry in self._books:  # it was spared, and still has to leave by itself
                self._scope._books[entry] = None
            else:
                self._scope._books.forget(entry)
            self._over.set_result(None)
        return unwinding.error(), unwinding.cancellation

    async def join(self) -> None:
        """Wait until it is over, unless what it runs waits for the calling task."""
        await let_be_seen()
        if not waits_for(self._releasing, kernel.current_task()):
            with Waiting(self._releasing, bound=False, until=self._over):
                await kernel.wait_shielded(self._over)

    def take_error(self, error: BaseException) -> None:
        """Take what the thing, a task, has raised on its way out: it is for who has asked for its end."""
        self._errors.append(error)

    # What a close asks

    @property
    def label(self) -> str:
        return str(self._label)

    @property
    def runner(self) -> Task[Any]:
        return self._releasing

    def release(self, error: BaseException | None) -> Awaitable[Any]:
        return self._wait_for_end()

    async def _wait_for_end(self) -> None:
        with Waiting(self._releasing, until=self._over):
            await kernel.wait(self._over)


def refuse_release(scope: object, value: object) -> None:
    """Say that *scope* does not own *value*; a task of its own that has ended is simply gone.

    Raises:
        LookupError: it is anything else.
    """
    what = f"this {type(value).__qualname__}"
    if isinstance(value, TaskHandle):
        if value._owner is scope and value.done():
            return
        what = f"task {value.name!r}"
    raise LookupError(f"{scope} does not own {what}, or no longer; give it the very object")
