"""Limiter: how many at once, for each key, and in a time; alone, for code that starts no tasks."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .._ground import kernel
from .._ground.checks import checked_limit, checked_name, checked_seconds, checked_timeout
from .._ground.closing import OwnerState, refuse
from .._ground.errors import LimiterFull
from .._ground.roots import Portrait, enroll
from .bounds import LimitBy, Rate, checked_limit_by, checked_rate
from .share import Share
from .turns import Turns

OPEN, _, CLOSED = OwnerState


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """What a limiter has done, and what it holds at one moment.

    The account closes at every await: ``asked == begun + left + refused + waiting``, and ``held`` of those that have
    begun have not ended.

    Attributes:
        name: the limiter's name.
        state: ``"open"`` or ``"closed"``.
        limit: how many may be at work at once, None for no bound.
        held: how many are at work.
        waiting: how many stand in line.
        keys: how many keys are in use, or have a rate that is not whole again.
        asked: how many have ever come.
        begun: how many have got what they came for.
        left: how many gave up waiting: cancelled, timed out, or the limiter was closed.
        refused: how many were not let wait: the line was full, or they would not wait.
    """

    name: str
    state: str
    limit: int | None
    held: int
    waiting: int
    keys: int
    asked: int
    begun: int
    left: int
    refused: int


class Limiter:
    """Lets in who is within the bounds, in order of arrival: so many at once, so many of one key, so many in a time.

    Whoever comes gets all that it needs in one step, or waits and holds nothing meanwhile: who waits for a full key
    keeps no one of another key from going on. Nobody overtakes who could go on. Who gives up waiting has cost nothing,
    of a rate neither.

    It may be made before there is a loop, and is used in one loop at a time, in its thread.

    Do not use it around the start of tasks: a `TaskManager`, a `TaskGroup` and `amap` take the same bounds. Do not use
    it to lend things out: that is a `Pool`. Do not hold it while you wait for somebody who needs it too.

    Example::

        limiter = Limiter(100, limit_by=limit_by(host_of, limit=4, rate=Rate(10)))

        async with limiter.hold(url):
            page = await fetch(url)

    Args:
        limit: how many may be at work at once; None for no bound. 0 is a pause: all wait. May be changed at any time.
        limit_by: bounds for each key, see `limit_by`; the key is made of what `hold` is called with.
        rate: how many may begin in a time.
        pending_limit: how many may wait, from 0; None for no bound.
        name: for errors and statistics; "limiter" unless given.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of its range.
    """

    def __init__(
        self,
        limit: int | None = None,
        *,
        limit_by: LimitBy | None = None,
        rate: Rate | None = None,
        pending_limit: int | None = None,
        name: str | None = None,
    ) -> None:
        self.name: str = checked_name(name, "limiter")
        self._pending_limit = checked_limit(pending_limit, what="pending_limit", least=0)
        self._by = checked_limit_by(limit_by)
        self._turns = Turns(str(self), checked_limit(limit, least=0), limit_by, checked_rate(rate))
        self._refused = 0
        self._closed = False
        enroll(self)

    @property
    def limit(self) -> int | None:
        """How many may be at work at once; a higher one lets in at once who waits, a lower one interrupts nobody."""
        return self._turns.all.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        checked = checked_limit(limit, least=0)
        self._turns.bind()
        self._turns.all.limit = checked
        if self._turns.waiting:
            self._turns.serve()

    def hold(self, *args: object, timeout: float | None = None) -> Hold:
        """Return the block that is at work: ``async with limiter.hold(url): ...``; entering it waits for its turn.

        Any task may leave it. It is entered once.

        Cancellation: while it waits, its place in line is given up, and nothing has been used up.

        Args:
            args: what the key is made of, where there are bounds for each key.
            timeout: seconds to wait at most, None for as long as it takes.

        Raises:
            OwnerClosed: when it is entered: the limiter is closed, or was closed meanwhile.
            LimiterFull: when it is entered: ``pending_limit`` wait already.
            TimeoutExpired: when it is entered: *timeout* has passed.
            TypeError, ValueError: *args* without bounds for each key, or *timeout* is no time.
        """
        if args:
            self._check_args(args)
        return Hold(self, args, kernel.FOREVER if timeout is None else checked_timeout(timeout, "timeout"))

    def try_hold(self, *args: object) -> TryHold:
        """Return the block for who does not wait: ``with limiter.try_hold(url): ...``.

        Raises:
            OwnerClosed: when it is entered: the limiter is closed.
            LimiterFull: when it is entered: it would have to wait.
            TypeError: *args* without bounds for each key.
        """
        self._check_args(args)
        return TryHold(self, args)

    def pause(self, seconds: float, *args: object) -> None:
        """Let nobody begin for *seconds*: a server has said "too many requests", and when to come again.

        With *args*, nobody of the key that is made of them. Who is at work goes on. Of two pauses the longer counts.

        Raises:
            TypeError, ValueError: *args* without bounds for each key, or *seconds* is no time.
        """
        self._check_args(args)
        seconds = checked_seconds(seconds, "seconds")
        self._turns.bind()
        self._turns.pause(self._turns.share_for(args) if args else self._turns.all, seconds)

    def _check_args(self, args: tuple[object, ...]) -> None:
        if args and self._by is None:
            raise TypeError(f"{self} makes no key of arguments; give it limit_by=limit_by(key, ...), or no arguments")

    # Coming and going

    def _share_for(self, args: tuple[object, ...]) -> Share:
        if self._closed:
            refuse(self, "anybody", "it is closed")
        self._turns.bind()
        share = self._turns.share_for(args)
        if self._by is not None:
            self._check_still_open(share)
        return share

    def _check_still_open(self, share: Share) -> None:
        if self._closed:  # by what makes keys
            self._turns.drop(share)
            refuse(self, "anybody", "it is closed")

    def _refuse(self, share: Share, why: str) -> LimiterFull:
        self._refused += 1
        self._turns.drop(share)
        whose = "" if share.key is None else " for the key it was asked with"
        return LimiterFull(
            f"{self} lets nobody in now{whose}: {why}. Wait with `async with limiter.hold(...)`, or later"
        )

    async def _wait(self, share: Share, timeout: float) -> Share:
        turns = self._turns
        if self._pending_limit is not None and turns.waiting >= self._pending_limit:
            raise self._refuse(share, f"{turns.waiting} wait already, its pending_limit")
        await turns.wait(share, timeout, f"the wait for {self}")
        if self._closed:
            turns.begun -= 1
            turns.left += 1
            turns.release(share)
            refuse(self, "anybody", "it was closed meanwhile")
        return share

    def _try_enter(self, args: tuple[object, ...]) -> Share:
        share = self._share_for(args)
        if not self._turns.keep(share):
            raise self._refuse(share, f"{self._turns.all.held} are at work and {self._turns.waiting} wait")
        return share

    # Closing

    def close(self) -> None:
        """Let nobody in any more, and refuse those who wait; who is at work goes on. Idempotent."""
        self._turns.bind()
        if not self._closed:
            self._closed = True
            self._turns.dismiss()
            self._turns.end()

    async def aclose(self) -> None:
        """Do what `close` does, and wait for nobody: what they hold is theirs. Cancellation: it does not suspend."""
        self.close()

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    async def __aenter__(self) -> Self:
        """Open the block, at whose end the limiter is closed; does not suspend."""
        if self._closed:
            refuse(self, "a block", "it is closed")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it. Cancellation: it does not suspend."""
        self.close()

    # What it holds

    def statistics(self) -> LimiterStatistics:
        """Return what the limiter has done and holds at this moment."""
        turns = self._turns
        return LimiterStatistics(
            name=self.name,
            state=(CLOSED if self._closed else OPEN).value,
            limit=turns.all.limit,
            held=turns.all.held,
            waiting=turns.waiting,
            keys=turns.keys,
            asked=turns.begun + turns.left + self._refused + turns.waiting,
            begun=turns.begun,
            left=turns.left,
            refused=self._refused,
        )

    def _portrait(self) -> Portrait:
        now = self.statistics()
        counts = {"held": now.held, "waiting": now.waiting, "keys": now.keys}
        if now.limit is not None:
            counts["limit"] = now.limit
        vacant = not now.held and not now.waiting
        return Portrait("limiter", self.name, now.state, None, [], counts, vacant=vacant)

    def __repr__(self) -> str:
        return f"limiter {self.name!r}"


class Block:
    """At work from its beginning to its end, once."""

    __slots__ = ("_args", "_limiter", "_share")

    def __init__(self, limiter: Limiter, args: tuple[object, ...]) -> None:
        self._limiter = limiter
        self._args: tuple[object, ...] | None = args
        self._share: Share | None = None

    def _args_once(self) -> tuple[object, ...]:
        args, self._args = self._args, None
        if args is None:
            raise RuntimeError(f"a block of {self._limiter} is entered once; ask the limiter for another one")
        return args

    def _leave(self) -> None:
        share, self._share = self._share, None
        if share is not None:
            self._limiter._turns.release(share)


class Hold(Block):
    """The block that `Limiter.hold` returns."""

    __slots__ = ("_timeout",)

    def __init__(self, limiter: Limiter, args: tuple[object, ...], timeout: float) -> None:
        self._limiter = limiter
        self._args: tuple[object, ...] | None = args
        self._share: Share | None = None
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        """Wait for its turn; see `Limiter.hold`. Cancellation: its place in line is given up, nothing is used up."""
        args, turns = self._args_once(), self._limiter._turns
        share = self._limiter._share_for(args)
        self._share = share if turns.keep(share) else await self._limiter._wait(share, self._timeout)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the next begin. Cancellation: it does not suspend."""
        self._leave()


class TryHold(Block):
    """The block that `Limiter.try_hold` returns."""

    __slots__ = ()

    def __enter__(self) -> Self:
        """Begin at once, or raise; see `Limiter.try_hold`."""
        self._share = self._limiter._try_enter(self._args_once())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the next begin."""
        self._leave()
