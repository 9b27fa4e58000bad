"""run: the process around everything else: signals, grace, and the manager of background tasks."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import threading
import time
from asyncio import Future, Task
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from typing import Any, Generic, NoReturn, TypeVar

from typing_extensions import ParamSpec, TypeVarTuple, Unpack

from ._ground import kernel
from ._ground.calls import checked_coroutine, coroutine_of, name_of
from ._ground.checks import checked_callable, checked_timeout
from ._ground.errors import NoSurroundingRun
from ._ground.foreign import combine, in_words
from ._ground.ladder import patience
from ._ground.logs import OwnerLog, print_line, shown_on_stderr
from ._ground.loop import run_in_new_loop
from ._manager.manager import TaskManager
from ._manager.records import AbandonedTask
from ._task.handle import TaskHandle

logger = OwnerLog("lifecycle.run")

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

#: The signals that ask a process to end.
SIGNALS = (signal.SIGINT, signal.SIGTERM)

_background: ContextVar[TaskManager] = ContextVar("lifecycle_background")


def run(
    main: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
    *args: Unpack[Ts],
    drain_timeout: float | None = 10.0,
    cancel_timeout: float | None = 5.0,
    use_uvloop: bool = False,
) -> T:
    """Run ``main(*args)`` in a new event loop, end everything that it left, and return its value.

    The first SIGINT or SIGTERM cancels *main*, whose owners close as their blocks are left, and drains the background
    tasks; all of that within ``drain_timeout``. Then, or at a second signal, everything that still runs is cancelled
    and given ``cancel_timeout``, then cancelled once more. What is stuck a grace later is named on stderr with the
    place where it is suspended, and abandoned. A third signal ends the process at once.

    Warnings and errors of this package are shown on stderr unless the program has set up its logging.

    Args:
        main: the async function to run.
        args: what it is called with.
        drain_timeout: seconds for everything to end by itself, after a signal or after *main*; None for ever.
        cancel_timeout: seconds for what had to be cancelled; None for ever. Background tasks that have not ended by
            then are cancelled again, and get ``min(1, cancel_timeout)`` seconds more.
        use_uvloop: run in uvloop's event loop, which must be installed.

    Raises:
        KeyboardInterrupt: a SIGINT ended *main*. The interpreter turns it into exit code 130.
        SystemExit: a SIGTERM ended *main*; the exit code is 143.
        BaseException: what *main* raised. (If it *returned* in spite of a signal, its value is returned.) A
            ``SystemExit`` or ``KeyboardInterrupt`` that a background task raised, which ends *main* as a signal does.
        TypeError: *main* is not a function. Nothing has been started.
        RuntimeError: a loop is running in this thread already.
        ImportError: ``use_uvloop`` without uvloop.
    """
    checked_callable(main, "main")
    limits = (
        checked_timeout(drain_timeout, "drain_timeout"),
        checked_timeout(cancel_timeout, "cancel_timeout"),
    )
    process: _Process[T] = _Process(*limits)
    with shown_on_stderr():
        run_in_new_loop(
            lambda: process.supervise(coroutine_of(main, args)),
            process.on_fatal,
            use_uvloop=use_uvloop,
            thread_timeout=limits[1],
        )
    return process.outcome()


def create_background_task(
    coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
) -> TaskHandle[T]:
    """Start *coro* in the background of the surrounding `run`: referenced, named, drained at the end.

    An error is logged with the task's name.

    Raises:
        RuntimeError: the caller does not run under `run`; *coro* has been closed.
        OwnerClosed: the process is ending; *coro* has been closed.
    """
    coro = checked_coroutine(coro)
    manager = _background.get(None)
    if manager is None:
        coro.close()
        raise NoSurroundingRun(
            "create_background_task() needs a surrounding lifecycle.run(main); elsewhere use a TaskManager of your own"
        )
    return manager.create_task(coro, name=name, context=context)


def background(fn: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, TaskHandle[T]]:
    """Make an async function start in the background when it is called, and return its handle.

    The task belongs to the surrounding ``lifecycle.run``: referenced, named after the function, its errors logged,
    drained at the end.

    Example::

        @background
        async def send_welcome(user): ...

        send_welcome(user)  # no await: it runs in the background

    The call raises ``RuntimeError`` outside of ``lifecycle.run`` and ``OwnerClosed`` when the process is ending.

    Args:
        fn: an async function.

    Raises:
        TypeError: *fn* is something else.
    """
    if not inspect.iscoroutinefunction(fn):
        raise TypeError(f"@background takes an async function, got {fn!r}")

    @functools.wraps(fn)
    def start(*args: P.args, **kwargs: P.kwargs) -> TaskHandle[T]:
        return create_background_task(fn(*args, **kwargs), name=name_of(fn))

    return start


@contextmanager
def handled_signals(callback: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Have *callback* called in the loop for the first two signals; the third ends the process, loop or no loop.

    Handlers of the interpreter rather than of the loop, because they also run while the loop is blocked. Does nothing
    outside of the main thread, where no handler can be set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = kernel.running_loop()
    received = 0

    def handler(number: int, _: object) -> None:
        nonlocal received
        received += 1
        if received > 2:
            os._exit(128 + number)
        loop.call_soon_threadsafe(callback, signal.Signals(number))

    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class _Process(Generic[T]):
    """One `run`: what was asked of it, and how it ended."""

    def __init__(self, drain_timeout: float, cancel_timeout: float) -> None:
        self._drain_timeout = drain_timeout
        self._cancel_timeout = cancel_timeout
        self._threads_before = set(threading.enumerate())
        self._signals: list[signal.Signals] = []
        self._fatal: BaseException | None = None
        self._main: Task[T] | None = None
        self._forced: Future[None] | None = None
        self._stuck: list[AbandonedTask] = []
        self._given_up: set[Task[Any] | None] = set()  # the tasks that these are about

    async def supervise(self, coro: Coroutine[Any, Any, T]) -> None:
        """Run *coro* to its end, then end everything else that is in the loop.

        Cancellation: no other task can reach it.
        """
        self._forced = kernel.new_future()
        background = TaskManager("background", drain_timeout=None, cancel_timeout=self._cancel_timeout)
        _background.set(background)
        self._main = kernel.spawn(coro, "main")
        with handled_signals(self._on_signal):
            await self._join(self._main)
            self._force_later()
            await self._close(background)
            await self._cancel_strangers()

    def outcome(self) -> T:
        """Return what main returned; raise what it raised, or what the signal that ended it stands for."""
        assert self._main is not None
        for left in self._stuck:
            print_line(f"still running, abandoned: {left}")
        if self._signals:
            self._leave_threads(128 + self._signals[0])
        if self._fatal is not None:
            self._raise_fatal(self._fatal)
        if self._signals and (not self._main.done() or self._main.cancelled()):
            if self._signals[0] is signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + self._signals[0])
        return self._main.result()

    def on_fatal(self, error: BaseException) -> None:
        """End the process for a task that wants it to end: as a signal does, and with *error* at the end."""
        assert self._main is not None
        if self._fatal is None:
            self._fatal = error
            kernel.cancel(self._main, f"the process is ending: {in_words(error)}")
            self._force_later()

    def _raise_fatal(self, error: BaseException) -> NoReturn:
        """Raise *error*, with what main raised meanwhile as its context."""
        main = self._main
        assert main is not None
        other = main.exception() if main.done() and not main.cancelled() else None
        raise combine("errors of a run", [error] if other is None else [error, other])

    async def _join(self, task: Task[Any]) -> None:
        """Wait for *task*, until the end is forced; end it then."""
        assert self._forced is not None
        await kernel.wait_any(task, self._forced)
        if not task.done():
            await self._end([task], "the process is forced to end")

    async def _close(self, background: TaskManager) -> None:
        """Drain the background tasks until the end is forced; from then on the manager's own bound holds."""
        assert self._forced is not None
        closing = kernel.spawn(background.aclose(), "drain of the background tasks")
        await kernel.wait_any(closing, self._forced)
        if not closing.done():
            kernel.cancel(closing, "the process is forced to end")
            await kernel.wait(closing)
        report = await background.aclose()
        for name in report.cancelled + report.discarded:
            print_line(f"did not end in time, cancelled: {name}")
        self._stuck.extend(report.abandoned)
        self._given_up.update(handle._task for handle in background._abandoned)

    async def _end(self, tasks: list[Task[Any]], reason: str) -> None:
        """Cancel *tasks*, once more those that are left at the bound, and note what still runs a grace after that."""
        now = kernel.clock()
        for rung in (1, 2):
            left = [task for task in tasks if not task.done()]
            cancellations = [kernel.cancel(task, reason) for task in left]
            deadline = now() + patience(rung, self._cancel_timeout)
            for task in left:
                await kernel.wait(task, max(0.0, deadline - now()))
            for cancellation in cancellations:
                cancellation.withdraw()
        for task in [task for task in tasks if not task.done()]:
            self._stuck.append(AbandonedTask(task.get_name(), self._cancel_timeout, kernel.suspended_at(task)))
            self._given_up.add(task)

    async def _cancel_strangers(self) -> None:
        """Cancel the tasks without an owner, and name those that do not end."""
        await self._end(list(kernel.other_tasks() - self._given_up), "the process is ending")

    def _on_signal(self, received: signal.Signals) -> None:
        assert self._main is not None
        self._signals.append(received)
        if len(self._signals) == 1:
            logger.info("signal received, draining", extra={"owner": "run", "signal": received.name})
            kernel.cancel(self._main, f"received {received.name}")
            self._force_later()
        else:
            facts = {"owner": "run", "signal": received.name}
            logger.warning("signal received again, cancelling everything", extra=facts)
            self._force()

    def _force_later(self) -> None:
        if self._drain_timeout != kernel.FOREVER:
            kernel.running_loop().call_later(self._drain_timeout, self._force)

    def _force(self) -> None:
        if self._forced is not None and not self._forced.done():
            self._forced.set_result(None)

    def _leave_threads(self, code: int) -> None:
        """End the process over worker threads that would keep the interpreter from ending."""
        deadline = time.monotonic() + self._cancel_timeout
        for thread in set(threading.enumerate()) - self._threads_before:
            if thread.daemon:
                continue
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                print_line(f"still running, abandoned: thread {thread.name!r}")
                with suppress(AttributeError, OSError, ValueError):  # it may be closed, full or gone
                    sys.stdout.flush()
                os._exit(code)
