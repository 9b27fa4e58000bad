"""Limits: what a client of the control server may send, and how much may wait for it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from .._ground.checks import check_integer, check_seconds

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
        output_in_all: how many bytes may wait for all clients together that do not read; with more, those for which
            most waits are cut off.
        output_timeout: seconds that a client may leave its replies waiting before it is cut off; None for no
            bound.
        listed: how many jobs ``LC.LIST`` returns at most.
        strangers: how many clients may take their time to give the password, or without one, to send a first command.
            At most a quarter of all clients. While there are more, each has half a second: they shut out nobody.
        stranger_timeout: seconds that they may take.
        password_pause: seconds before a wrong password is answered, and the next one looked at.
    """

    arguments: int = 1_024
    bulk: int = 512 * 1_024
    command: int = 1_024 * 1_024
    inline: int = 64 * 1_024
    output: int = 1_024 * 1_024
    output_in_all: int = 64 * 1_024 * 1_024
    output_timeout: float | None = 10.0
    listed: int = 10_000
    strangers: int = 256
    stranger_timeout: float = 10.0
    password_pause: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            TypeError: one is not a number.
            ValueError: one is not positive, or too large.
        """
        check_seconds(self.output_timeout, "output_timeout", positive=True)
        check_seconds(self.stranger_timeout, "stranger_timeout", positive=True)
        check_seconds(self.password_pause, "password_pause")
        for field in fields(self):
            if field.type == "int":
                check_integer(getattr(self, field.name), field.name, 1)

    def before_auth(self) -> Limits:
        """Return the limits before the password was given: unknown clients, however many, must not fill the memory."""
        return replace(self, **{name: min(getattr(self, name), STRANGER) for name in ("bulk", "command", "inline")})
