"""Where a server may listen: beyond this machine only with a password."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_password(server: str, host: str, password: str | None) -> None:
    """Check that a server has a password, or can be reached from this machine only.

    Raises:
        TypeError: the password is not a string.
        ValueError: there is none for a host that is not this machine, or it is empty.
    """
    if password is None and not is_loopback(host):
        raise ValueError(
            f"{server} does not listen on {host!r} without a password: everyone who can reach it could use it; "
            "give a password, or listen on 127.0.0.1"
        )
    if password is not None and not isinstance(password, str):
        raise TypeError(f"the password must be a string or None, got {type(password).__name__}")
    if password == "":
        raise ValueError("the password is empty; give another, or None for no password")
