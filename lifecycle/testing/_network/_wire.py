"""The wire between two ends: its fault plan, and how much of it has been used up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ._faults import NetworkFaults

Side = Literal["client", "server"]


class Wire:
    """What both ends of one connection share: its fault plan and how many bytes have arrived."""

    __slots__ = ("arrived", "dead", "plan")

    def __init__(self, plan: NetworkFaults) -> None:
        self.plan = plan
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
        plan = self.plan
        limits = [room, plan.short_write, self.left(plan.black_hole_at), self.left(plan.reset_at)]
        if side == "server" and plan.half_close_at is not None:
            limits.append(max(0, plan.half_close_at - received) or None)
        return min([length, *[limit for limit in limits if limit is not None]])
