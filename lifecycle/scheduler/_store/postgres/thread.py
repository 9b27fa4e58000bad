"""A thread with an event loop of its own: what is done there goes on, whatever blocks the loop of the jobs."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from typing_extensions import override

from lifecycle import Scope

from ..._ground.bridge import Bridge, Reply

T = TypeVar("T")

TICK = 1.0
"""Seconds between two looks at the loop that it works for."""


class _Asked(Reply[T]):
    """An answer that somebody waits for; it is among the open ones until it is given."""

    __slots__ = ("_open",)

    def __init__(self, among: set[_Asked[Any]]) -> None:
        super().__init__()
        self._open = among
        among.add(self)

    @override
    def give(self, value: T) -> None:
        self._open.discard(self)
        super().give(value)

    @override
    def fail(self, error: BaseException) -> None:
        self._open.discard(self)
        super().fail(error)


class LoopThread:
    """Runs coroutine functions in a loop of its own, for a task in the loop that made this.

    A heartbeat must not stand still because a job does not give way; and when all tasks of the other loop are
    cancelled, how the jobs ended has still to be recorded.

    Args:
        serve: awaited in the thread with the scope that owns what is done there; what it raises, `open` raises.
        failed: called in the thread when something in the scope fails that nobody expects to: then the thread ends.
        refusal: returns the error for what has no answer when the thread is over, or is asked after that.
        name: the thread's name.
    """

    def __init__(
        self,
        serve: Callable[[Scope], Awaitable[None]],
        failed: Callable[[BaseException], object],
        refusal: Callable[[], BaseException],
        name: str,
    ) -> None:
        self._serve = serve
        self._failed = failed
        self._refusal = refusal
        self._name = name
        self._outer = Bridge()
        self._opened: Reply[None] = Reply()
        self._ended: Reply[None] = Reply()
        self._inner: Bridge | None = None  # made in the thread, before `open` returns
        self._scope: Scope | None = None
        self._over: anyio.Event | None = None
        self._opening: anyio.CancelScope | None = None
        self._ending = False
        self._asked: set[_Asked[Any]] = set()
        self._gone = False  # whether nothing is answered any more
        # A daemon: a store that was not closed must not keep the process from ending.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    @property
    def running(self) -> bool:
        """Whether something can be done in it."""
        return self._scope is not None and self._thread.is_alive()

    async def open(self) -> None:
        """Start the thread, and wait until *serve* has returned; raise what it raised.

        Cancellation: `aclose` ends what was begun.
        """
        self._thread.start()
        await self._opened

    def call(self, function: Callable[[], object]) -> None:
        """Have *function* called in the loop of the thread soon."""
        if self._inner is not None:
            self._inner.call(function)

    def asked(self) -> Reply[Any]:
        """Return what gets an answer from the thread: the refusal, when that is over and has given none.

        Whoever asks may do so while somebody else closes the store, and would wait for ever.
        """
        reply: _Asked[Any] = _Asked(self._asked)
        if self._gone:
            reply.fail(self._refusal())
        return reply

    def run(self, function: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """Await *function* in the loop of the thread; await the answer to get what it returned or raised.

        Cancellation: ends the waiting; it is done nevertheless.
        """
        reply: Reply[T] = self.asked()
        self.call(lambda: self._begin(function, reply))
        return reply

    async def aclose(self) -> None:
        """End the thread, with all that was not done. Idempotent.

        Cancellation: ends the waiting; the thread ends nevertheless.
        """
        self._ending = True
        if self._thread.ident is None:
            self._let_go()
            return
        self.call(self._end)
        if self._thread.is_alive():
            await self._ended
            self._thread.join(1.0)  # it has nothing left to do

    def _end(self) -> None:
        if self._over is not None:
            self._over.set()
        if self._opening is not None:
            self._opening.cancel()

    def _begin(self, function: Callable[[], Awaitable[T]], reply: Reply[T]) -> None:
        assert self._scope is not None
        self._scope.start_soon(self._carry_out, function, reply, name=f"a question to {self._name}")

    async def _carry_out(self, function: Callable[[], Awaitable[T]], reply: Reply[T]) -> None:
        try:
            value = await function()
        except Exception as error:
            self._outer.call(reply.fail, error)
        else:
            self._outer.call(reply.give, value)

    def _main(self) -> None:
        try:
            anyio.run(self._live)
        except BaseException as error:
            self._failed(error)
            self._outer.call(self._opened.fail, error)
        finally:
            self._outer.call(self._opened.give, None)
            self._outer.call(self._let_go)

    def _let_go(self) -> None:
        """Refuse what has no answer yet, and all that is still asked: nobody is there any more."""
        self._gone = True
        for reply in tuple(self._asked):
            reply.fail(self._refusal())
        self._ended.give(None)

    async def _live(self) -> None:
        self._over = anyio.Event()
        self._opening = anyio.CancelScope()
        self._inner = Bridge()
        if self._ending:  # before it could be called here
            return
        async with Scope(self._name) as scope:
            with self._opening as opening:
                await self._serve(scope)
            self._opening = None
            if opening.cancelled_caught:
                return
            self._scope = scope
            self._outer.call(self._opened.give, None)
            while not self._outer.closed and not self._over.is_set():
                with anyio.move_on_after(TICK):
                    await self._over.wait()
            self._scope = None
