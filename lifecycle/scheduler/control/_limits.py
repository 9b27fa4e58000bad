"""Limits: what a client of the control server may send, and how much may wait for it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

STRANGER = 16 * 1_024
"""Bytes of a command while the client has not given the password."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection.

    Attributes:
        arguments: how many arguments a command may have.
        bulk: how many bytes one argument may have.
        command: how many bytes all arguments of a command may have.
        inline: how many bytes an inline command may have.
        output: how many bytes may wait for a client that watches events and does not read; with more it is cut off.
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

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            TypeError, ValueError: one is not a number, or not positive.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = (int, float) if field.name == "output_timeout" else (int,)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise TypeError(f"{field.name} must be a number, got {value!r}")
            if not value > 0:
                raise ValueError(f"{field.name} must be more than 0, got {value!r}")

    def before_auth(self) -> Limits:
        """Return the limits before the password was given: unknown clients, however many, must not fill the memory."""
        return replace(self, **{name: min(getattr(self, name), STRANGER) for name in ("bulk", "command", "inline")})
