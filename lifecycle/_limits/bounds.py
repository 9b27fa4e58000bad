"""Rate and limit_by: the values that say what a limiter, or an owner of tasks, has to keep to."""

from collections.abc import Callable, Hashable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from .._ground.checks import checked_count, checked_limit, checked_period, checked_sync
from .._ground.foreign import in_words


@dataclass(frozen=True)
class Rate:
    """How many may begin in a time: *number* in *per* seconds on average, *burst* of them at once.

    The next of a line begins ``per / number`` seconds after the one before it. What was not used is not saved up, but
    for *burst* that may begin at once after a rest. In any *per* seconds no more than `most` begin.

    The generic cell rate algorithm (ITU-T I.371, annex A), which a token bucket of *burst* is another view of: one
    number for each key says when its rate is whole again, so it is exact, and costs the same for every rate.

    Do not use a *burst* for a provider that counts in windows of its own, unless it allows as many as `most`.

    Args:
        number: how many in *per* seconds, at least 1.
        per: seconds, from a microsecond to a century.
        burst: how many may begin at once, at least 1.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of its range.
    """

    number: int
    _: KW_ONLY
    per: float = 1.0
    burst: int = 1

    def __post_init__(self) -> None:
        checked_count(self.number, "number", least=1)
        object.__setattr__(self, "per", checked_period(self.per, "per"))
        checked_count(self.burst, "burst", least=1)

    @property
    def interval(self) -> float:
        """Seconds from one to the next."""
        return self.per / self.number

    @property
    def most(self) -> int:
        """How many begin in any *per* seconds at most: ``number + burst - 1``."""
        return self.number + self.burst - 1


@dataclass(frozen=True)
class LimitBy:
    """Bounds for each key; see `limit_by`.

    Attributes:
        key: called with the arguments of what begins; those with equal keys share bounds.
        limit: how many of one key at once; or a function of the key that says so. None for no bound.
        rate: how many of one key in a time; or a function of the key that says so. None for no bound.
    """

    key: Callable[..., Hashable]
    _: KW_ONLY
    limit: int | Callable[[Any], int | None] | None = None
    rate: Rate | Callable[[Any], Rate | None] | None = None

    def __post_init__(self) -> None:
        checked_sync(self.key, "key")
        if self.limit is None and self.rate is None:
            raise ValueError("limit_by() needs a limit, a rate, or both")
        if callable(self.limit):
            checked_sync(self.limit, "limit", takes=1)
        else:
            checked_limit(self.limit)
        if callable(self.rate):
            checked_sync(self.rate, "rate", takes=1)
        else:
            checked_rate(self.rate)

    def _limit_of(self, key: object) -> int | None:
        """Return how many of *key* may be at work at once."""
        return checked_limit(self.limit(key)) if callable(self.limit) else self.limit

    def _rate_of(self, key: object) -> Rate | None:
        """Return how many of *key* may begin in a time."""
        return checked_rate(self.rate(key)) if callable(self.rate) else self.rate


def limit_by(
    key: Callable[..., Hashable],
    *,
    limit: int | Callable[[Any], int | None] | None = None,
    rate: Rate | Callable[[Any], Rate | None] | None = None,
) -> LimitBy:
    """Return bounds for each key, to be given to a `Limiter`, a `TaskManager`, a `TaskGroup` or `amap`.

    What a key has costs memory only while somebody of that key is at work or waits, or its rate is not whole again.

    Example::

        limiter = Limiter(100, limit_by=limit_by(host_of, limit=4))
        async with limiter.hold(url):  # with the key host_of(url)
            await fetch(url)

    Args:
        key: a function that is called with the arguments of what begins, in the step in which it is submitted. Those
            whose keys are equal share bounds; a key is hashed and compared then, and never later. None as a key: no
            bound by key.
        limit: how many of one key may be at work at once, at least 1. Or a function of the key, asked when the key
            comes in.
        rate: how many of one key may begin in a time. Or a function of the key.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of its range, or there is no bound.
    """
    return LimitBy(key, limit=limit, rate=rate)


def checked_rate(rate: Rate | None, what: str = "rate") -> Rate | None:
    """Return *rate* if it is one, or None.

    Raises:
        TypeError: it is something else.
    """
    if rate is not None and not isinstance(rate, Rate):
        raise TypeError(f"{what} must be a Rate or None, got {in_words(rate)}; write Rate(10) for ten in a second")
    return rate


def checked_limit_by(bounds: LimitBy | None) -> LimitBy | None:
    """Return *bounds* if they are bounds for each key, or None.

    Raises:
        TypeError: they are something else.
    """
    if bounds is not None and not isinstance(bounds, LimitBy):
        raise TypeError(f"limit_by must be what limit_by(key, limit=...) returns, or None, got {in_words(bounds)}")
    return bounds
