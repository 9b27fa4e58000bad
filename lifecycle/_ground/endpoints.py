"""Checks of where to listen or connect: hosts, ports, paths and contexts of TLS, looked at when they are given."""

from __future__ import annotations

import os
import ssl

from .checks import checked_count
from .foreign import in_words


def checked_host(host: str) -> str:
    """Return *host*.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(host, str):
        raise TypeError(f"host must be a name or an address, got {in_words(host)}")
    return host


def checked_port(port: int, *, least: int = 0) -> int:
    """Return *port*.

    Raises:
        TypeError: it is not a whole number.
        ValueError: there is no such port; some systems would take another one instead.
    """
    if checked_count(port, "port", least=least) > 65535:
        raise ValueError(f"port must be at most 65535, got {port}")
    return port


def checked_path(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return *path*.

    Raises:
        TypeError: it is not a path.
        ValueError: it is empty, for which Linux would choose a name that nobody knows.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"path must be a path, got {in_words(path)}")
    if not os.fspath(path):
        raise ValueError("path must not be empty")
    return path


def checked_tls(context: ssl.SSLContext | None, what: str, *, of_server: bool) -> ssl.SSLContext | None:
    """Return *context*.

    Raises:
        TypeError: it is neither a context nor None.
        ValueError: it is for the other side, so that no handshake could succeed.
    """
    if context is None:
        return None
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"{what} must be an ssl.SSLContext or None, got {in_words(context)}")
    if context.protocol is (ssl.PROTOCOL_TLS_CLIENT if of_server else ssl.PROTOCOL_TLS_SERVER):
        side, purpose = ("server", "CLIENT_AUTH") if of_server else ("client", "SERVER_AUTH")
        how = f"ssl.create_default_context(ssl.Purpose.{purpose}) makes one"
        raise ValueError(f"{what} must be a context of a {side}; {how}")
    return context
