"""The handshake of ``start``: a task says when it is ready, and what with."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from anyio.abc import TaskStatus

from .._ground import kernel
from .._ground.calls import coroutine_of, name_of
from .._ground.checks import checked_async
from .handle import TaskHandle


class Startup(TaskStatus[Any]):
    """One ``start(fn, *args)``: runs ``fn(*args, task_status=self)`` and waits for its ``started(value)``."""

    def __init__(self, fn: Callable[..., Coroutine[Any, Any, Any]], args: tuple[object, ...]) -> None:
        checked_async(fn, "expected an async function", args_follow=True)
        self.name: str = name_of(fn)
        self._fn = fn
        self._args = args
        self._ready = kernel.new_future()
        self._value: object = None
        self._error: BaseException | None = None

    def started(self, value: object = None) -> None:
        """Say that the task is ready, and hand *value* to the caller of ``start``.

        Raises:
            RuntimeError: it had been called before.
        """
        if self._ready.cancelled():
            return  # the caller has left
        if self._ready.done():
            raise RuntimeError(f"task {self.name!r} called task_status.started() twice")
        self._value = value
        self._ready.set_result(None)

    async def run(self) -> Any:
        """Run the task; an error before ``started`` goes to the caller in `wait`, and nowhere else.

        If that caller has left it is raised.

        Cancellation: passed on to the task.
        """
        try:
            result = await coroutine_of(partial(self._fn, task_status=self), self._args)
        except CancelledError:
            self._fail(self._never_started_error())
            raise
        except BaseException as error:
            if self._fail(error) and isinstance(error, Exception):
                return None
            raise
        self._fail(RuntimeError(f"task {self.name!r} returned without calling task_status.started()"))
        return result

    async def wait(self, handle: TaskHandle[Any]) -> Any:
        """Return the value of ``started(value)``; *handle* is the task that runs `run`.

        Cancellation: the task is cancelled, started or not; its owner waits for its end.
        """
        if not handle.done():
            ended = kernel.new_future()
            ended.add_done_callback(lambda _: self._fail(self._never_started_error()))
            handle._add_waiter(ended)
        try:
            await kernel.wait(self._ready)
        except CancelledError as held:
            self._ready.cancel()  # from now on an error is the owner's to report
            handle.cancel(f"the start of {self.name!r} was cancelled")
            self._raise_error(held)  # one that came in the same step, of which nobody else knows
            raise
        self._raise_error(None)
        return self._value

    def _raise_error(self, held: CancelledError | None) -> None:
        error, self._error = self._error, None
        try:
            if error is not None:
                kernel.conclude(error, held)
        finally:
            del error, held  # which their tracebacks would keep alive: a cycle

    def _never_started_error(self) -> RuntimeError:
        return RuntimeError(f"task {self.name!r} was cancelled before it called task_status.started()")

    def _fail(self, error: BaseException) -> bool:
        if self._ready.done():
            return False
        self._error = error
        self._ready.set_result(None)
        return True
