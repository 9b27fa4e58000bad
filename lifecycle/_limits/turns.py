"""Turns: who may begin next under several bounds, all of which are taken in one step.

Theory of operation
-------------------

There is one `Share` for all together and one for each key in use. Who begins takes both; who cannot have both takes
neither, and waits in the line of its key. So nobody holds a place of the one while it waits for the other, and a key
that is full lets the others pass. Of those that can begin the one goes first that came first.

A share that has a line is in one of three states. *able*: it lets one begin; a heap by the number of the first in
line. *blocked*: its limit has room, its rate has not; a heap by the time at which it will have. Neither: its limit is
full, and the next release looks again. Entries of the heaps are not taken out when things change but looked at when
they come up. A share without a line whose rate is not whole again is *fading*: forgotten at the time when it is.

A rate is paid for when one begins, and not when it comes: who leaves the line costs nothing, and the others move up.
There is one timer, for whatever comes first.

First the books, then those who wait: `Place.admit` is the last that happens to a place, and may run anything.
"""

from __future__ import annotations

from asyncio import BaseEventLoop, Future, TimerHandle
from collections.abc import Callable, Hashable, Iterable
from heapq import heappop, heappush
from itertools import chain, count
from math import ceil
from time import monotonic
from typing import Any

from typing_extensions import override

from .._ground import kernel
from .._ground.bell import TICKS
from .._ground.bound import Bound
from .._ground.errors import TimeoutExpired
from .._ground.waking import MANY, in_turns, put_off, wake
from .bounds import LimitBy, Rate
from .share import EARLY, Keys, Place, Share

#: Seconds that a share may be kept for after its rate is whole again, so that many are forgotten together.
GRAIN = 0.5

#: How many shares are forgotten in one step, after which others get a turn.
STRIDE = 1000


class Caller:
    """A caller that waits; what is kept for it counts as held until it takes or gives it back."""

    __slots__ = ("future", "number", "share")

    def __init__(self, share: Share, number: int) -> None:
        self.share = share
        self.number = number
        self.future: Future[None] = kernel.new_future()

    @property
    def gone(self) -> bool:
        """Whether it has been cancelled, and not come round to leave the line; or its loop has left it behind."""
        return self.future.done() or self.future.get_loop().is_closed()

    def admit(self) -> None:
        """Wake it."""
        wake(self.future)


class Turns(Bound):
    """The bounds, who is at work, and who waits.

    Args:
        label: whose they are, for errors.
        limit: how many at once, None for no bound.
        by: bounds for each key.
        rate: how many in a time.

    Attributes:
        all: the share of all together.
        share_for_anybody: of those who are bound by no key.
        waiting: how many stand in line.
        left: how many have left the line without having begun.
        begun: how many have begun.
    """

    __slots__ = (
        "_able", "_blocked", "_by", "_clock", "_fading", "_keys", "_numbers", "_serving", "_steady", "_timed", "_timer",
        "_timer_at", "all", "begun", "left", "share_for_anybody", "waiting",
    )  # fmt: skip

    def __init__(self, label: str, limit: int | None, by: LimitBy | None, rate: Rate | None) -> None:
        super().__init__(label)
        self.all = Share(limit=limit, rate=rate)
        self.share_for_anybody = Share()
        self._by = by
        self._keys = None if by is None else Keys(by)
        # Whether the clock matters; a pause makes it so for good.
        self._timed = rate is not None or (by is not None and by.rate is not None)
        self._clock: Callable[[], float] = monotonic  # until there is a loop
        self._steady = True  # whether it is the clock of the system
        self._able: list[tuple[int, Share]] = []
        self._blocked: list[tuple[float, int, Share]] = []
        self._fading: list[tuple[float, int, Share]] = []
        self._numbers = count()
        self._serving = False
        self._timer: TimerHandle | None = None
        self._timer_at = kernel.FOREVER
        self.waiting = self.left = self.begun = 0

    # What others ask

    @property
    def keys(self) -> int:
        """How many keys are in use, or have a rate that is not whole again."""
        return 0 if self._keys is None else self._keys.size

    @property
    def could_serve(self) -> bool:
        """Whether somebody waits who could begin; never true between two steps."""
        now = self._now()
        return self.waiting > 0 and self._first(now) is not None and self.all.lets_begin(now)

    def line(self) -> list[Place]:
        """Return who waits, first come first."""
        return sorted((place for share in self._shares() for place in share.line), key=lambda place: place.number)

    def _shares(self) -> list[Share]:
        """Return all that there are, but for that of all together."""
        return [self.share_for_anybody, *(() if self._keys is None else self._keys)]

    def share_for(self, args: tuple[Any, ...]) -> Share:
        """Return the share of what is called with *args*; to be given to `keep`, `stand` or `drop`.

        Raises:
            BaseException: what the key function or the key raises; nothing has happened then.
        """
        return self.share_for_anybody if self._by is None else self.share_of(self._by.key(*args))

    def share_of(self, key: Hashable) -> Share:
        """Return the share of *key*, None for no bound by key; as `share_for`."""
        return self.share_for_anybody if key is None or self._keys is None else self._keys.share_of(key)

    def drop(self, share: Share) -> None:
        """Forget *share* unless it is in use."""
        if not share.kept or not share.idle:
            return
        if share.gone_at > self._now() + EARLY:
            self._fade(share)
        else:
            assert self._keys is not None
            self._keys.remove(share)

    # Beginning and ending

    def keep(self, share: Share) -> bool:
        """Let the caller begin in this step, if nobody who can begin is before it; return whether it does."""
        together = self.all
        if not self._timed and not self.waiting:  # nothing but to count: the path that has to be fast
            if (share.limit is not None and share.held - share.lent >= share.limit) or (
                together.limit is not None and together.held - together.lent >= together.limit
            ):
                return False
            together.held += 1
            share.held += 1
            self.begun += 1
            return True
        now = self._now()
        if self.waiting:
            if self._timed:
                self.serve()  # for whom it has become time since
            if self._first(now) is not None:
                return False
        if share.line or not share.lets_begin(now) or not together.lets_begin(now):
            return False
        self._take(share, now)
        return True

    def stand(self, place: Place) -> None:
        """Put *place* at the end of the line, which `keep` has refused."""
        share = place.share
        share.line[place] = None
        self.waiting += 1
        self._list(share, self._now())
        self._arm()

    def leave(self, place: Place) -> bool:
        """Take *place* out of the line; return whether it stood there."""
        if place not in place.share.line:
            return False
        del place.share.line[place]
        self.waiting -= 1
        self.left += 1
        self.drop(place.share)
        self._arm()
        return True

    def next_number(self) -> int:
        """Return the number of the next that comes."""
        return next(self._numbers)

    async def wait(self, share: Share, timeout: float, what: object) -> None:
        """Wait in line until the caller may begin, which it does then.

        Cancellation: leaves the line; what was granted in the same turn goes to the next.

        Raises:
            TimeoutExpired: *timeout* seconds have passed; *what* is the name of what is waited for.
        """
        await self.wait_at(self.place_for(share), timeout, what)

    def place_for(self, share: Share) -> Caller:
        """Return a place at the end of the line, for a caller that `keep` has refused."""
        place = Caller(share, self.next_number())
        self.stand(place)
        return place

    def give_up(self, place: Caller) -> None:
        """Leave the line, or hand on what *place* has got."""
        future = place.future
        # One that is not done, and stands in no line, was left behind by a loop that is closed.
        if not self.leave(place) and future.done() and not future.cancelled() and not future.exception():
            self.release(place.share)

    async def wait_at(self, place: Caller, timeout: float, what: object) -> None:
        """Do as `wait` does, at a place in line that it has already."""
        timer = None
        if timeout != kernel.FOREVER:

            def expire() -> None:
                if not place.future.done() and self.leave(place):
                    place.future.set_exception(TimeoutExpired(str(what), timeout))

            timer = kernel.running_loop().call_later(timeout, expire)
        try:
            await place.future
        except BaseException:
            self.give_up(place)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def release(self, share: Share) -> None:
        """Note that one has come to its end; the next begins in this step."""
        self.all.held -= 1
        share.held -= 1
        if share.line:
            self._list(share, self._now())
        elif share.kept and not share.held:
            self.drop(share)
        if self.waiting or self._fading:
            self.serve()

    def _take(self, share: Share, now: float) -> None:
        self.begun += 1
        self.all.take(now)
        share.take(now)

    def lend(self, shares: Iterable[Share], sign: int = 1) -> None:
        """Count those of *shares* as lent, or with the *sign* -1 no more: one for each time that it is in there."""
        for share in shares:
            self.all.lent += sign
            share.lent += sign
            self._list(share, self._now())
        self.serve()

    def pause(self, share: Share, seconds: float) -> None:
        """Let none of *share* begin for *seconds* from now on."""
        self._timed = True
        share.not_before = max(share.not_before, self._now() + seconds)
        if share is not self.all:
            self.drop(share)
        self._arm()

    # Whose turn it is

    def serve(self) -> None:
        """Let begin whoever can, first come first; where many can, not all in one step."""
        if self._serving:  # who begins may end at once and get here again: the loop below goes on, and nests nothing
            return
        self._serving = True
        served = 0
        try:
            while self.waiting:
                if served >= MANY and put_off(self.serve):
                    break
                served += 1
                now = self._now()
                self._ripen(now)
                share = self._first(now)
                if share is None or not self.all.lets_begin(now):
                    break
                place, _ = share.line.popitem(last=False)
                self.waiting -= 1
                if place.gone:
                    self.left += 1
                    self.drop(share)
                    continue
                self._take(share, now)
                place.admit()
        finally:
            self._serving = False
            self._arm()

    def _first(self, now: float) -> Share | None:
        """Return the share of the first in line that its key lets begin."""
        able = self._able
        if self._keys is None:
            share = self.share_for_anybody
            return share if share.line and share.lets_begin(now) else None
        while able:
            number, share = able[0]
            if share.line and next(iter(share.line)).number == number and share.lets_begin(now):
                return share
            heappop(able)
            share.listed = False
            self._list(share, now)
        return None

    def _list(self, share: Share, now: float) -> None:
        """Enter a share with a line where it belongs, unless it stands somewhere."""
        if share.listed or self._keys is None or not share.line or not share.has_room:
            return
        share.listed = True
        number = next(iter(share.line)).number
        if share.ready_at <= now + EARLY:
            heappush(self._able, (number, share))
        else:
            heappush(self._blocked, (share.ready_at, number, share))

    def _ripen(self, now: float) -> None:
        """Look at the shares again whose time has come."""
        while self._blocked and self._blocked[0][0] <= now + EARLY:
            _, _, share = heappop(self._blocked)
            share.listed = False
            self._list(share, now)

    # Time

    def _now(self) -> float:
        return self._clock() if self._timed else 0.0

    def bind(self) -> None:
        """Tie the turns to the running loop, and to its clock; see `Bound`."""
        before = self._loop
        self._bind()
        if self._loop is not before:
            self._follow_clock(monotonic if self._loop is None else self._loop.time)

    def _follow_clock(self, clock: Callable[[], float]) -> None:
        """Go on by another clock: that of a test need not tell the time of the loop before."""
        steady = abs(clock() - monotonic()) < 1.0
        if not (steady and self._steady):  # a closed loop of the system's clock may not tell the time any more
            ahead = clock() - (monotonic() if self._steady else self._clock())
            for share in (self.all, *self._shares()):
                share.whole_at += ahead
                share.not_before += ahead
            self._blocked = [(at + ahead, number, share) for at, number, share in self._blocked]
            self._fading = [(at + ahead, number, share) for at, number, share in self._fading]
        self._clock, self._steady = clock, steady
        self._arm()

    @override
    def _is_awaited(self) -> bool:
        return self.waiting > 0

    @override
    def _forget_waiters(self) -> None:
        self._disarm()
        for place in self.line():
            self.leave(place)

    def dismiss(self) -> None:
        """Let every caller go on that waits, whatever the bounds say: the owner is closed, and they will find it so."""
        in_turns(chain.from_iterable(share.line for share in self._shares()), self._dismiss)

    def _dismiss(self, place: Place) -> None:
        if isinstance(place, Caller) and self.leave(place) and not place.gone:
            self.left -= 1
            self._take(place.share, self._now())
            place.admit()

    def end(self) -> None:
        """Leave nothing in the loop: nobody is to come any more."""
        self._disarm()
        self._timed = False

    def _fade(self, share: Share) -> None:
        if not share.fading:
            share.fading = True
            heappush(self._fading, (share.gone_at, self.next_number(), share))

    def _forget(self, now: float) -> None:
        """Forget the shares whose rates are whole again."""
        for _ in range(STRIDE):
            if not self._fading or self._fading[0][0] > now + EARLY:
                return
            _, _, share = heappop(self._fading)
            share.fading = False
            self.drop(share)

    def _arm(self) -> None:
        """Set the timer to the next time at which something is to be done."""
        if not self._timed or self._loop is None or self._loop.is_closed():
            return
        at = kernel.FOREVER
        if self.waiting:
            if self._first(self._now()) is not None and self.all.has_room:
                at = self.all.ready_at
            if self._blocked:
                at = min(at, self._blocked[0][0])
        if self._fading:
            at = min(at, self._fading[0][0] + GRAIN)
        if at == kernel.FOREVER:
            self._disarm()
        elif self._timer is None or at < self._timer_at:
            self._disarm()
            seconds = max(0.0, at - self._clock())
            if not isinstance(self._loop, BaseEventLoop):
                seconds = ceil(seconds * TICKS) / TICKS  # rounded down it would wake early, and again, and again
            self._timer = self._loop.call_later(seconds, self._tick)
            self._timer_at = at

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._forget(self._now())
        self.serve()

    def _check_invariants(self) -> None:
        if self._loop is None:
            return
        shares = self._shares()
        assert self.waiting == sum(len(share.line) for share in shares)
        assert self.all.held == sum(share.held for share in shares)
        assert self._keys is None or self._keys.size == len(shares) - 1
        for share in shares:
            assert share.listed or self._keys is None or not share.line or not share.has_room, (
                "it waits, and nobody looks at it again"
            )
            assert share is self.share_for_anybody or share.fading or not share.idle, "it is kept for nothing"
        assert not self.could_serve, "somebody could begin"
