"""Process: one run: what was asked of it, by signals or by time, and how it ended."""

from __future__ import annotations

import signal
import threading
from asyncio import AbstractEventLoop, Future, Task, TimerHandle
from collections import deque
from collections.abc import Coroutine
from threading import Thread
from typing import Any, Generic, NoReturn, TypeVar

from .._ground import kernel
from .._ground.foreign import combine, in_words
from .._ground.ladder import patience
from .._ground.logs import OwnerLog, print_line
from .._manager.manager import TaskManager
from .._manager.records import AbandonedTask
from .background import background_of
from .interruption import interruption
from .threads import Workers, described, leave_behind, wait_until_ended

logger = OwnerLog("lifecycle.run")

T = TypeVar("T")


class Process(Generic[T]):
    """One `run`: what was asked of it, and how it ended."""

    def __init__(self, drain_timeout: float, cancel_timeout: float) -> None:
        self._drain_timeout = drain_timeout
        self._cancel_timeout = cancel_timeout
        self._threads_before = set(threading.enumerate())
        self._received: deque[signal.Signals] = deque()  # and not yet taken by the loop
        self._signals: list[signal.Signals] = []
        self._fatal: BaseException | None = None
        self._loop: AbstractEventLoop | None = None  # as long as it takes signals
        self._workers: Workers | None = None
        self._threads: list[Thread] = []  # that have to end before the process can
        self._main: Task[T] | None = None
        self._forced: Future[None] | None = None
        self._force_timer: TimerHandle | None = None
        self._stuck: list[AbandonedTask] = []
        self._given_up: set[Task[Any] | None] = set()  # the tasks that these are about

    async def supervise(self, coro: Coroutine[Any, Any, T]) -> None:
        """Run *coro* to its end, then end everything else that is in the loop.

        Cancellation: no other task can reach it.
        """
        loop = kernel.running_loop()
        self._forced = kernel.new_future()
        self._workers = Workers(loop)
        background = TaskManager("background", drain_timeout=None, cancel_timeout=self._cancel_timeout)
        background_of(loop).of_run = background
        self._main = kernel.spawn(coro, "main")
        self._loop = loop
        loop.call_soon(self._take_signals)  # those that came before there was a loop; main has made its first step
        await self._join(self._main)
        self._force_later()
        await self._close(background)
        await self._cancel_strangers()
        await self._close_generators()

    async def wait_for_threads(self) -> None:
        """Wait for the threads without which the process cannot end, for a bounded time; called after `supervise`.

        In the loop, which they may still need to end. A second signal ends the waiting.

        Cancellation: no other task can reach it.
        """
        assert self._workers is not None
        self._threads = self._workers.dismiss()
        if self._signals:
            others = set(threading.enumerate()) - self._threads_before - set(self._threads)
            self._threads += [thread for thread in others if not thread.daemon]
        if any(thread.is_alive() for thread in self._threads):
            self._forced = kernel.new_future()
            self._force_within(self._cancel_timeout)
            await wait_until_ended(self._threads, self._forced)
        self._loop = None

    def outcome(self) -> T:
        """Return what main returned; raise what it raised, or what the signal that ended it stands for."""
        assert self._main is not None
        self._signals.extend(self._received)  # those that came too late for the loop
        alive = [thread for thread in self._threads if thread.is_alive()]
        for left in (*self._stuck, *map(described, alive)):
            print_line(f"still running, abandoned: {left}")
        leave_behind(alive)
        if self._fatal is not None:
            self._raise_fatal(self._fatal)
        if self._signals and (not self._main.done() or self._main.cancelled()):
            if self._signals[0] is signal.SIGINT:
                raise interruption() from None
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

    async def _close_generators(self) -> None:
        """Close the asynchronous generators that nobody has closed, for a bounded time."""
        closing = kernel.spawn(kernel.running_loop().shutdown_asyncgens(), "closing of asynchronous generators")
        if not await kernel.wait(closing, self._cancel_timeout):
            await self._cancel_strangers()  # this one is among them, and what runs in the generators

    def on_signal(self, received: signal.Signals) -> None:
        """Take a signal; called between any two steps of the main thread, so that the loop has to do the rest."""
        self._received.append(received)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._take_signals)

    def _take_signals(self) -> None:
        while self._received:
            self._take_signal(self._received.popleft())

    def _take_signal(self, received: signal.Signals) -> None:
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
        """Force the end when everything has had its time since the first call."""
        if self._force_timer is None:
            self._force_within(self._drain_timeout)

    def _force_within(self, seconds: float) -> None:
        if self._force_timer is not None:
            self._force_timer.cancel()
        if seconds != kernel.FOREVER:
            self._force_timer = kernel.running_loop().call_later(seconds, self._force)

    def _force(self) -> None:
        if self._forced is not None and not self._forced.done():
            self._forced.set_result(None)
