"""Leases: for how long a scheduler is taken for alive that the others of its store do not hear of."""

from __future__ import annotations

from typing import Final

from .._ground.checks import check_seconds

LEASE: Final = 15.0
"""Seconds, by default."""

SHORTEST: Final = 1.0


def check_lease(lease: float) -> None:
    """Check a lease in seconds.

    Raises:
        TypeError: it is not a number.
        ValueError: it is shorter than a second, or has no end.
    """
    check_seconds(lease, "lease", needed=True)
    if lease < SHORTEST:
        raise ValueError(f"lease must be at least {SHORTEST:g} second, got {lease:g}")
