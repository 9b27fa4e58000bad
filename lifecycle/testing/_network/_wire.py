"""The wire between two ends: its faults, and how much of it has been used up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ._faults import NetworkFaults

Side = Literal["client", "server"]


class Wire:
    """What both ends of one connection share: its faults and how many bytes have arrived."""

    __slots__ = ("arrived", "dead", "faults")

    def __init__(self, faults: NetworkFaults) -> None:
        self.faults = faults
        self.arrived = 0
        self.dead = False

    def left(self, limit: int | None) -> int | None:
        """Return how many bytes may still pass before a limit, None without one."""
        return None if limit is None else max(0, limit - self.arrived)

    def piece(self, side: Side, length: int, room: int, received: int) -> int:
        """Return how many of ``length`` bytes go over the wire at once.

        Args:
            side: who sends.
            length: bytes that wait to be sent.
            room: bytes that the receiver's buffer still takes.
            received: bytes that the receiver has got so far.
        """
        faults = self.faults
        limits = [room, faults.short_write, self.left(faults.black_hole_at), self.left(faults.reset_at)]
        if side == "server" and faults.half_close_at is not None:
            limits.append(max(0, faults.half_close_at - received) or None)
        return min([length, *[limit for limit in limits if limit is not None]])
