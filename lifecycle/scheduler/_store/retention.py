"""How long what has ended is kept."""

from __future__ import annotations

from dataclasses import dataclass

from .._ground.checks import check_integer, check_seconds


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what has ended is kept.

    Attributes:
        keep_for: seconds after its end; None for no bound.
        keep_jobs: how many of the newest jobs, by their numbers; None for no bound.
    """

    keep_for: float | None = 7 * 86400.0
    keep_jobs: int | None = 100_000

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            TypeError: one is not a number.
            ValueError: one is negative, or too large.
        """
        check_seconds(self.keep_for, "keep_for")
        if self.keep_jobs is not None:
            check_integer(self.keep_jobs, "keep_jobs", 0, 2**53)
