"""A limit as it is shown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lifecycle import Rate

from .limits import Limit, LimitKey, Openings


@dataclass(frozen=True, slots=True)
class LimitRecord:
    """A limit as the store has it, to be shown.

    Attributes:
        kind: ``queue``, ``handler``, or ``all``.
        name: of the queue or the handler.
        paused: whether nothing of it begins.
        limit: how many of it run at once; None for no bound.
        rate: how many of it begin in a time; None for no bound.
        weight: of a queue: its share when several have work.
        running: how many of it run now.
        ready: how many of it could begin; 10,000 stands for as many or more.
    """

    kind: str
    name: str
    paused: bool
    limit: int | None
    rate: Rate | None
    weight: float
    running: int
    ready: int

    def to_dict(self) -> dict[str, object]:
        """Return the record as a plain table."""
        table = {name: getattr(self, name) for name in self.__slots__}
        if self.rate is not None:
            table["rate"] = {"number": self.rate.number, "per": self.rate.per, "burst": self.rate.burst}
        return table


def records_of(
    limits: Sequence[Limit], running: Iterable[tuple[str, str | None, int]], ready: Callable[[LimitKey], int]
) -> list[LimitRecord]:
    """Return the records of limits, with how many run of each queue and handler, and how many *ready* says could."""
    openings = Openings(limits, running)
    return [
        LimitRecord(
            limit.key.kind,
            limit.key.name,
            limit.paused,
            limit.at_once,
            limit.rate,
            limit.weight,
            openings.running(limit.key),
            ready(limit.key),
        )
        for limit in limits
    ]
