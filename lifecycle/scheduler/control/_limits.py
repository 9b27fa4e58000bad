"""What a client of the control server may send, and how much may wait for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: What a command may hold, in bytes, whose client has not given the password.
STRANGER = 16 * 1_024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection.

    Attributes:
        arguments: how many arguments a command may have.
        bulk: how many bytes one argument may have.
        command: how many bytes all arguments of a command may have.
        inline: how many bytes an inline command may have.
        output: how many bytes may wait for a client that watches events and does not take them; past it, it is cut off.
        output_timeout: seconds that a client may leave its replies waiting before it is cut off.
        listed: how many jobs ``LC.LIST`` returns at most.
    """

    arguments: int = 1_024
    bulk: int = 512 * 1_024
    command: int = 1_024 * 1_024
    inline: int = 64 * 1_024
    output: int = 1_024 * 1_024
    output_timeout: float = 10.0
    listed: int = 10_000

    def before_auth(self) -> Limits:
        """Return the bounds of a client that has not given the password: many strangers must not fill the memory."""
        return replace(self, **{name: min(getattr(self, name), STRANGER) for name in ("bulk", "command", "inline")})
