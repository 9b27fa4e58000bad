"""How a memory network misbehaves towards one address."""

from __future__ import annotations

from dataclasses import dataclass

from ..._ground.checks import checked_count, checked_limit, checked_seconds


@dataclass(frozen=True)
class NetworkFaults:
    """What goes wrong on connections to one address; the default is a perfect network.

    Byte counts start anew with each connection.

    Attributes:
        latency: seconds that data takes in either direction, and that a connect takes.
        refuse: how many connects are refused, the first ones that the address sees; True refuses all.
        black_hole: connects never get an answer, neither yes nor no.
        black_hole_at: bytes, both directions together, after which nothing arrives any more.
        reset_at: bytes, both directions together, after which both ends see a connection reset.
        half_close_at: bytes to the client after which it sees the end of the stream; it may go on sending.
        short_write: the most bytes that arrive in one piece.
        slow_close: seconds that a closed connection takes to be gone.
        late_answer: further seconds that data to the client takes.

    Raises:
        TypeError, ValueError: one of them is of the wrong type, or out of range.
    """

    latency: float = 0.0
    refuse: int | bool = 0
    black_hole: bool = False
    black_hole_at: int | None = None
    reset_at: int | None = None
    half_close_at: int | None = None
    short_write: int | None = None
    slow_close: float = 0.0
    late_answer: float = 0.0

    def __post_init__(self) -> None:
        for name in ("latency", "slow_close", "late_answer"):
            checked_seconds(getattr(self, name), name)
        for name in ("black_hole_at", "reset_at", "half_close_at"):
            checked_limit(getattr(self, name), what=name, least=0)
        checked_limit(self.short_write, what="short_write")
        if not isinstance(self.refuse, bool):
            checked_count(self.refuse, "refuse")

    def refuses(self, attempt: int) -> bool:
        """Whether the connect with this number, from 0, is refused."""
        return self.refuse is True or attempt < self.refuse


PERFECT = NetworkFaults()
