"""Share: one set of bounds and what stands against it: of a key, or of all together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Protocol

from .._ground import kernel
from .bounds import LimitBy, Rate

#: Seconds that a begin may be early: what two clock values that far up cannot tell apart, nor a timer that fires early.
EARLY = 1e-6


class Place(Protocol):
    """Where somebody stands in line.

    Attributes:
        number: in the order of arrival.
        share: whose line it is.
    """

    number: int
    share: Share

    @property
    def gone(self) -> bool:
        """Whether nobody stands there any more."""

    def admit(self) -> None:
        """Let go on who stands there: it has got what it waited for."""


class Share:
    """How many are at work, when the next may begin, and who waits for it.

    Attributes:
        key: whose it is.
        digest: the key's hash, as it was when the key came in; see `Keys`.
        after: the next of the same digest.
        limit: how many may be at work at once.
        held: how many are.
        kept: whether it is found by its key.
        lent: how many of them do nothing meanwhile but wait for others.
        claimed: how many are about to begin or to wait, and run code of others before they do.
        whole_at: when the rate is whole again, in seconds of the loop's clock.
        not_before: until when it is paused.
        line: who waits, first come first.
        listed: whether `Turns` has it among those that can go on, or will by themselves.
        fading: whether `Turns` has it among those that are forgotten when their rate is whole again.
    """

    __slots__ = (
        "_interval", "_slack", "after", "claimed", "digest", "fading", "held", "kept", "key", "lent", "limit", "line",
        "listed", "not_before", "whole_at",
    )  # fmt: skip

    def __init__(self, key: object = None, digest: int = 0, limit: int | None = None, rate: Rate | None = None) -> None:
        self.key = key
        self.digest = digest
        self.after: Share | None = None
        self.limit = limit
        self.held = self.lent = self.claimed = 0
        self._interval = 0.0 if rate is None else rate.interval
        self._slack = 0.0 if rate is None else rate.interval * (rate.burst - 1)
        self.whole_at = self.not_before = -kernel.FOREVER
        #: Not a dict: taking the first key of a dict whose head was emptied walks over all the holes.
        self.line: OrderedDict[Place, None] = OrderedDict()
        self.kept = False
        self.listed = False
        self.fading = False

    @property
    def has_room(self) -> bool:
        """Whether its limit lets one more be at work."""
        return self.limit is None or self.held - self.lent < self.limit

    @property
    def ready_at(self) -> float:
        """When its rate lets the next begin."""
        return max(self.whole_at - self._slack, self.not_before)

    @property
    def gone_at(self) -> float:
        """When nothing would be forgotten with it."""
        return max(self.whole_at, self.not_before)

    @property
    def idle(self) -> bool:
        """Whether nobody of it is at work or waits, or is about to."""
        return not (self.held or self.line or self.claimed)

    def lets_begin(self, now: float) -> bool:
        """Return whether one more may begin, as far as it is concerned."""
        if self.limit is not None and self.held - self.lent >= self.limit:
            return False
        now += EARLY
        return self.whole_at - self._slack <= now and self.not_before <= now

    def take(self, now: float) -> None:
        """Note that one begins."""
        self.held += 1
        if self._interval:
            self.whole_at = max(self.whole_at, now) + self._interval


class Keys:
    """The shares of keys that are in use. A share is found by its key, and removed without asking the key anything.

    For a key is a thing of the user's: its hash may have changed since, and its ``__eq__`` may raise.
    """

    __slots__ = ("_bounds", "_first", "size")

    def __init__(self, bounds: LimitBy) -> None:
        self._bounds = bounds
        self._first: dict[int, Share] = {}
        self.size = 0

    def share_of(self, key: Any) -> Share:
        """Return the share of *key*, a new one where there is none.

        Raises:
            BaseException: whatever the key's ``__hash__`` and ``__eq__`` raise, or a function of the key; nothing has
                happened then.
        """
        digest = hash(key)
        share = self._find(key, digest)
        if share is None:
            limit, rate = self._bounds._limit_of(key), self._bounds._rate_of(key)
            share = self._find(key, digest)  # those functions may have brought it about
            if share is None:
                share = Share(key, digest, limit, rate)
                share.after = self._first.get(digest)
                self._first[digest] = share
                share.kept = True
                self.size += 1
        return share

    def __iter__(self) -> Iterator[Share]:
        for share in [*self._first.values()]:
            following: Share | None = share
            while following is not None:
                yield following
                following = following.after

    def _find(self, key: Any, digest: int) -> Share | None:
        share = self._first.get(digest)
        while share is not None and share.key is not key and share.key != key:
            share = share.after
        return share

    def remove(self, share: Share) -> None:
        """Forget a share that is in here."""
        before = self._first[share.digest]
        if before is share:
            if share.after is None:
                del self._first[share.digest]
            else:
                self._first[share.digest] = share.after
        else:
            while before.after is not share:
                assert before.after is not None
                before = before.after
            before.after = share.after
        share.after = None
        share.kept = False
        self.size -= 1
