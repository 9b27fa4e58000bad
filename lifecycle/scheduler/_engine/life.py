"""The life of a scheduler: it opens its store and starts its engine once, and ends both once, however it is left."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import anyio

from lifecycle import DrainReport, OwnerClosed, Scope, TaskHandle, TaskManager, WrongLoop

from .._ground.bridge import being_cancelled, cancel_again, running_loop
from .._ground.errors import StoreBusy
from .._ground.events import Event
from .._ground.opening import enter_and_open
from .._store.protocol import Store
from .._work.beyond import which_ended
from .._work.handlers import registered_handlers
from .._work.shared import host_key
from ..remote._sweeping import sweeper_of
from .carry import Carry
from .engine import Engine
from .feed import Feed
from .stalls import StallWatch
from .troubles import StoreWatch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

logger = logging.getLogger("lifecycle.scheduler")

SLOW_OPENING: Final = 2.0
"""Seconds after which it is told that opening takes long, and again after twice and four times as many."""


class State(enum.Enum):
    """Where a scheduler is in its life; the value says it in an error."""

    NEW = "has not been entered"
    OPENING = "is being opened"
    OPEN = "has been entered already"
    CLOSING = "is closing"
    CLOSED = "is closed"


class Life:
    """Owns the store, the engine and its tasks.

    Args:
        name: the scheduler's name.
        store: opened and closed here.
        feed: is closed here.
        workers: how many attempts run at once.
        threads: how many sync handlers do.
        drain_timeout: seconds that running attempts have to end; None for no bound.
        cancel_timeout: seconds that stopped attempts have; None for no bound.
        close_timeout: seconds that each release may take; None for no bound.
        adopt: whether jobs of processes that have ended are taken over.
        stall_threshold: seconds for which the loop may stand still; None does not watch for that.
        carry: the context variables that go with each job.
        hosts: where work of jobs runs elsewhere, by name; entered here.

    Attributes:
        engine: runs the jobs; None before it is opened.
        state: where it is.
        store_watch: knows whether the store can be written.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        feed: Feed,
        *,
        workers: int,
        threads: int,
        drain_timeout: float | None,
        cancel_timeout: float | None,
        close_timeout: float | None,
        adopt: bool,
        stall_threshold: float | None,
        carry: Carry,
        hosts: Mapping[str, AbstractAsyncContextManager[Any]],
    ) -> None:
        self.name = name
        self.engine: Engine | None = None
        self.state = State.NEW
        self.store_watch = StoreWatch(feed, name)
        self._store = store
        self._feed = feed
        self._workers = workers
        self._threads = threads
        self._close_timeout = close_timeout
        self._adopt = adopt
        self._stall_threshold = stall_threshold
        self._carry = carry
        self._hosts = dict(hosts)
        self._scope = Scope(name, close_timeout=close_timeout)
        self._tasks = TaskManager(f"jobs of {name}", drain_timeout=drain_timeout, cancel_timeout=cancel_timeout)
        self._dispatcher: TaskHandle[None] | None = None
        self._loop: AbstractEventLoop | None = None  # in which it was opened
        self._over: anyio.Event | None = None  # made by the first `aclose`
        self._report = DrainReport()

    @property
    def closed(self) -> bool:
        """Whether everything is released."""
        return self.state is State.CLOSED and (self.engine is None or self._scope.closed)

    async def wait(self) -> None:
        """Wait until everything is released.

        Cancellation: ends the waiting, and changes nothing.
        """
        if not self.closed:
            await self._scope.wait()

    def accepting(self) -> Engine:
        """Return the engine while it takes new work.

        Raises:
            OwnerClosed: it does not.
            WrongLoop: it was opened in another event loop, or thread.
        """
        if self.state is State.OPEN and self.engine is not None and self._dispatcher and not self._dispatcher.done():
            self._check_loop()
            return self.engine
        self.entered()
        # Also where it is open without its dispatcher: the store cannot be used any more.
        raise self._refusal(State.CLOSING if self.state is State.OPEN else self.state)

    def entered(self) -> Engine:
        """Return the engine, also while it is closing.

        Raises:
            OwnerClosed: it has not been entered, or is closed.
            WrongLoop: it was opened in another event loop, or thread.
        """
        if self.engine is None or self.state is State.CLOSED:
            raise self._refusal(self.state)
        self._check_loop()
        return self.engine

    def _check_loop(self) -> None:
        """Refuse what comes from elsewhere: nothing here is locked, and nobody there would be woken."""
        if running_loop() is not self._loop and self._loop is not None:
            raise WrongLoop(
                f"scheduler {self.name!r} was opened in another event loop; from another thread use "
                "asyncio.run_coroutine_threadsafe(coroutine, loop) with the loop in which it is open"
            )

    def _refusal(self, state: State) -> OwnerClosed:
        return OwnerClosed(f"scheduler {self.name!r} {state.value}; use it inside of its async with block")

    async def open(self) -> None:
        """Open the store and start working.

        Cancellation: what had been opened is closed again.

        Raises:
            OwnerClosed: it has been entered before, or is closed.
            StoreError: the store cannot be opened.
        """
        if self.state is not State.NEW:
            raise OwnerClosed(f"scheduler {self.name!r} {self.state.value}; make another one")
        self.state, self._loop = State.OPENING, running_loop()
        try:
            await enter_and_open(self._scope, self._open)
        except BaseException:
            self.state = State.CLOSED
            raise
        if self.state is State.OPENING:
            self.state = State.OPEN
        elif self.engine is not None:  # closed meanwhile
            self.engine.stop_taking()

    async def _open(self) -> None:
        store = self._store
        slow = self._scope.start_soon(self._tell_of_slow_opening, name=f"opening of {self.name}")
        # Registered before it is opened: a half-opened store is closed as well.
        self._scope.push_async_callback(self._close_store)
        store.watch(self.store_watch.tell)
        store.attend(self._note_others, self._stop)
        await store.open()
        engine = self.engine = Engine(
            store,
            self._scope,
            self._tasks,
            self._feed,
            workers=self._workers,
            limiter=anyio.CapacityLimiter(self._threads),
            close_timeout=self._close_timeout,
            carry=self._carry,
            name=self.name,
        )
        self._scope.callback(self._feed.close)
        if self._stall_threshold is not None:
            make = partial(
                StallWatch, self._stall_threshold, lambda: bool(engine.running), self._publish_stall, self.name
            )
            await self._scope.acquire(make, release=StallWatch.close, name="stall watch")
        self._scope.callback(engine.close_jobs)
        # Below the tasks in the ledger: jobs can be cancelled from outside until the last one is out.
        self._scope.start_soon(engine.reconciler.run, name=f"reconciler of {self.name}")
        if store.durable:
            if self._adopt:
                await store.adopt_jobs(frozenset(registered_handlers()))
                self._scope.start_soon(engine.leftovers.watch, name=f"leftovers of {self.name}")
            self._scope.start_soon(engine.return_unstarted, name=f"returner of {self.name}")
        self._scope.start_soon(engine.reports.run, name=f"reporter of {self.name}")
        self._scope.start_soon(engine.failure.watch, name=f"watcher of {self.name}")
        await self._open_hosts(engine)
        await self._scope.enter_async_context(engine.afterwards.tasks)
        await self._scope.enter_async_context(self._tasks)
        self._dispatcher = self._scope.start_soon(engine.dispatch, name=f"dispatcher of {self.name}")
        slow.cancel("it is open")

    async def _open_hosts(self, engine: Engine) -> None:
        """Enter the hosts, and sweep them from now on: what a process has left that was killed waits for no new job."""
        for name, host in self._hosts.items():
            entered = await engine.shared.get(host_key(name), partial(_itself, host))
            if hasattr(entered, "sweep"):
                sweeper = await sweeper_of(engine.shared, self._store.identity, partial(which_ended, self._store))
                sweeper.add(entered)

    def _note_others(self) -> None:
        if self.engine is not None:
            self.engine.reconciler.notice()

    def _stop(self, job_id: int, attempt: int, reason: str) -> None:
        if self.engine is not None:
            self.engine.stop(job_id, attempt, reason)

    async def _tell_of_slow_opening(self) -> None:
        """Log that opening takes long, and how long: a large file is brought up to date, or much is taken over."""
        began, pause = anyio.current_time(), SLOW_OPENING
        while True:
            await anyio.sleep(pause)
            seconds = round(anyio.current_time() - began, 1)
            logger.info("scheduler is still being opened", extra={"owner": self.name, "seconds": seconds})
            pause *= 2

    def _publish_stall(self, data: Mapping[str, Any]) -> None:
        self._feed.publish(Event("loop_blocked", data=data))

    async def _close_store(self) -> None:
        try:
            await self._store.aclose()
        except StoreBusy as busy:
            # What has ended is recorded, and the next who opens it sees that this one is gone.
            logger.warning("store left as it is", extra={"owner": self.name, "reason": str(busy)})
        except OSError:
            if self.engine is None or self.engine.failure.error is None:
                raise  # else the engine has said why the store cannot be used

    def close(self) -> None:
        """Take no more work. Idempotent."""
        if self.state is State.NEW:
            self.state = State.CLOSED
        elif self.state in (State.OPENING, State.OPEN):
            self.state = State.CLOSING
            if self.engine is not None:
                self.engine.stop_taking()

    async def leave(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End with the block, whose body raised *error*: nothing of it is lost, nor of the closing.

        Cancellation: ends the draining; everything is released before it goes on.
        """
        held = await self._wind_down()
        own = held if error is None else None
        if own is not None:
            exc_type, error, traceback = type(own), own, own.__traceback__
            held = None
        suppressed = await self._scope.__aexit__(exc_type, error, traceback)
        if own is not None and not suppressed:
            raise own  # the body came to its end without an error: nothing else raises this one
        # Not what the scope itself has held the waiting up with, because the store failed meanwhile.
        if isinstance(held, anyio.get_cancelled_exc_class()) and being_cancelled():
            cancel_again()
        return suppressed

    async def aclose(self) -> DrainReport:
        """End, and return what became of the jobs that ran. Idempotent; a second caller waits for the first.

        Cancellation: ends the draining; everything is released before it is raised.

        Raises:
            WrongLoop: it was opened in another event loop, or thread.
        """
        if not self.closed:
            self._check_loop()
        if self._over is not None:  # not through a second draining: a cancellation of one must not end the other's
            await self._over.wait()
            return self._report
        self._over = anyio.Event()
        held = await self._wind_down()
        try:
            await self._scope.aclose()
        except Exception:
            if isinstance(held, anyio.get_cancelled_exc_class()) and being_cancelled():
                cancel_again()
            raise
        finally:
            self._over.set()
        if held is not None:
            raise held
        return self._report

    async def _wind_down(self) -> BaseException | None:
        """Take no more work and let what runs end, then stop it; return what ended the waiting early."""
        self.close()
        try:
            if self.engine is not None and self._dispatcher is not None:
                await self._let_end(self.engine, self._dispatcher)
        except BaseException as held:
            self._tasks.drain_timeout = 0.0  # their draining may not have begun
            if self.engine is not None:
                self.engine.afterwards.hurry()
            return held
        finally:
            self.state = State.CLOSED
        return None

    async def _let_end(self, engine: Engine, dispatcher: TaskHandle[None]) -> None:
        dispatcher.cancel("the scheduler drains")
        await dispatcher.wait()
        if self._store.failure is not None:
            engine.fail(self._store.failure)  # maybe nobody else has met it yet
        await engine.drain()
        if engine.failure.error is not None:
            self._tasks.drain_timeout = 0.0  # how they end could not be recorded any more
        self._report = await self._tasks.aclose()
        await engine.afterwards.drain()


def _itself(host: AbstractAsyncContextManager[Any]) -> AbstractAsyncContextManager[Any]:
    """Return a host as what makes it: there is one of it."""
    return host
