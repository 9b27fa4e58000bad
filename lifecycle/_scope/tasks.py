"""The tasks of a scope: how they are started, and what their ends mean for it."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, TypeVar

from typing_extensions import TypeVarTuple, Unpack

from .._ground import kernel, trace
from .._ground.calls import checked_coroutine, coroutine_of, name_of
from .._ground.foreign import is_fatal
from .._ground.kernel import NativeTask
from .._ground.lifeline import lifeline
from .._task.handle import FAILED, TaskHandle
from .._task.startup import Startup
from .ending import OPEN, EndingScope
from .entries import OwnTask, report_late

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskScope(EndingScope):
    """A scope as far as it has tasks; what else it owns comes with `Scope`."""

    # What a scope has from its first task on.
    _plain_loop: AbstractEventLoop | None = None  # whose tasks can be made without asking it
    _alive: dict[Any, Any]  # see `lifeline`

    def start_soon(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: Unpack[Ts],
        name: str | None = None,
    ) -> TaskHandle[T]:
        """Start ``fn(*args)`` as a task of this scope and return its handle.

        The task is stopped at its place in the ledger: cancelled, and waited for. If it fails, the scope's body is
        interrupted and the error raised at the end of the block. ``functools.partial`` gives *fn* keyword arguments.

        Raises:
            OwnerClosed: the scope is closing or closed; *fn* was not called.
            TypeError: *fn* is no async function. A built-in function or a class is not called to see that.
        """
        if self._state is not OPEN:
            self._check_open(f"task {name or name_of(fn)!r}")
        coro = coroutine_of(fn, args)
        return self._launch(coro, name or (coro.__qualname__ if type(coro) is CoroutineType else name_of(coro)), None)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> TaskHandle[T]:
        """Start *coro* as a task of this scope and return its handle; see `start_soon`.

        Raises:
            OwnerClosed: the scope is closing or closed; *coro* has been closed.
            TypeError: *coro* is not a coroutine.
        """
        coro = checked_coroutine(coro)
        if self._state is not OPEN:
            coro.close()
            self._check_open(f"task {name or name_of(coro)!r}")
        return self._launch(coro, name or name_of(coro), context)

    async def start(self, fn: Callable[..., Coroutine[Any, Any, Any]], *args: object, name: str | None = None) -> Any:
        """Start ``fn(*args, task_status=...)`` and return what it hands to ``task_status.started(value)``.

        An error before that call is raised here and does not interrupt the scope.

        Cancellation: the half-started task is cancelled; the scope waits for its end, as for every task.

        Raises:
            OwnerClosed: the scope is closing or closed; *fn* was not called.
            RuntimeError: the task ended without calling ``started``.
        """
        startup = Startup(fn, args)
        return await startup.wait(self.start_soon(startup.run, name=name or startup.name))

    def _launch(self, coro: Coroutine[Any, Any, T], name: str, context: Context | None) -> TaskHandle[T]:
        handle = OwnTask(self, coro, name)
        self._books.own(handle)
        if trace.sink is not None:
            self._report(handle)
        if self._plain_loop is None:
            self._launch_first(handle, context)
            return handle
        self._alive[handle] = None
        wrapper = handle._run()
        try:
            handle._task = NativeTask(wrapper, loop=self._plain_loop, name=handle.name, context=context)
        except BaseException:  # the loop that the scope belongs to is closed
            wrapper.close()
            self._refuse_launch(handle)
            raise
        return handle

    def _launch_first(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start the first task, and every task where a task factory may refuse it."""
        try:
            loop = kernel.running_loop()
            if kernel.is_plain(loop):
                self._plain_loop = loop
            self._alive = lifeline(loop)
            self._alive[handle] = None
            handle._start(context)
        except BaseException:
            self._refuse_launch(handle)
            raise

    def _refuse_launch(self, handle: TaskHandle[Any]) -> None:
        self._books.forget(handle)
        if hasattr(self, "_alive"):  # which it gets from the loop, if there is one
            self._alive.pop(handle, None)
        handle._coro.close()

    def _clock(self) -> float:
        """Return the loop's time; binds the scope to the loop's clock the first time."""
        self._clock = kernel.clock()  # type: ignore[method-assign]
        return self._clock()

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        self._alive.pop(handle, None)
        self._books.forget(handle)

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        self._alive.pop(handle, None)
        early = self._books.get(handle)
        owned = self._books.forget(handle)
        if handle._status is FAILED:
            error = handle._outcome
            assert isinstance(error, BaseException)
            if is_fatal(error):
                self._fatal = error
            if early is not None:
                early.take_error(error)
            elif owned or self._state is not OPEN:
                self._fail(error, f"task {handle.name!r} failed")
            else:
                report_late(self.name, handle, error)

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        """Let it begin, and be cancelled then: it is being started, and the loop's task factory has ended the scope."""
