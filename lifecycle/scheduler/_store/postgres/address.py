"""Where a database on a PostgreSQL server is, and what to connect with; its password is never shown."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Any, Final

from typing_extensions import override

from ..._ground.errors import StoreError
from .address_syntax import SCHEME, SECRETS, Hosts, join, split

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to wait for a connection, where the address says nothing of it."""

_SERVER_SETTINGS: Final[tuple[str, ...]] = ("application_name", "options")
_ONLY_IN_URL: Final[tuple[str, ...]] = (
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
"""What asyncpg takes from a URL and in no argument."""


def is_postgres(store: object) -> bool:
    """Return whether what names a store is meant as the address of a database, not as a path.

    That includes what is nearly one, as ``postgresql+asyncpg://`` or an address that was made into a `Path`:
    `Address.parse` then says what is wrong, where a file of that name would only be strange.
    """
    text = os.fspath(store) if isinstance(store, (str, os.PathLike)) else None
    return isinstance(text, str) and SCHEME.match(text) is not None


@dataclass(frozen=True, repr=False)
class Address:
    """The address of a database, as libpq has it: ``postgresql://user@host:port/database?sslmode=require``.

    Several hosts (``h1:5432,h2``), IPv6 (``[::1]``), a directory with a socket (``postgresql:///db?host=/run/db``) and
    percent-encoding are understood. What it does not say comes from where libpq has it: ``PGHOST``, ``PGPORT``,
    ``PGUSER``, ``PGDATABASE``, ``PGSSLMODE``; without any of them it is the database named as the user, the user named
    as that of the process.

    The password is best not in it: it comes from ``PGPASSWORD``, from the file that ``passfile=`` or ``PGPASSFILE``
    names, or from ``~/.pgpass``. Such a file has lines ``host:port:database:user:password``, and only its owner may
    read it.

    Attributes:
        hosts: the hosts, each with its port (None: the usual one); empty for the usual ones.
        shown: the address for messages: without password, nor any other secret. It is an address as well.
    """

    hosts: Hosts
    _values: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address that *text* is.

        Raises:
            TypeError: it is not a string.
            ValueError: it is not the address of a database; the message says why, without quoting a secret.
        """
        if not isinstance(text, str):
            raise TypeError(f"the address of a database must be a string, got {type(text).__name__}")
        try:
            hosts, values = split(text)
            _seconds(values.get("connect_timeout"))
        except ValueError as error:
            raise ValueError(f"this is not the address of a PostgreSQL database: {error}") from None
        return cls(hosts, tuple(values.items()))

    @property
    def shown(self) -> str:
        """The address without its secrets."""
        return join(self.hosts, {name: value for name, value in self._values if name not in SECRETS})

    @property
    def revealed(self) -> str:
        """The address with its secrets: for what connects, not for anybody to see."""
        return join(self.hosts, dict(self._values))

    @property
    def has_password(self) -> bool:
        """Whether there is a secret in it, so that it must not stand where others can read it."""
        return any(name in SECRETS for name, _ in self._values)

    @override
    def __str__(self) -> str:
        return self.shown

    @override
    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    def arguments(self, application_name: str = "lifecycle") -> dict[str, Any]:
        """Return the keyword arguments for ``asyncpg.connect``: among them ``timeout`` and ``server_settings``.

        Of several hosts the first is taken that can be written to, unless the address or ``PGTARGETSESSIONATTRS`` says
        something else.

        Args:
            application_name: what the server calls the connections, where the address does not say.

        Raises:
            StoreError: the file of the password cannot be read, or others can read it. asyncpg would go on without it,
                and the server then say that the password is wrong.
        """
        values = dict(self._values)
        rest = {name: values[name] for name in _ONLY_IN_URL if name in values}
        settings = {name: values[name] for name in _SERVER_SETTINGS if name in values}
        passfile = values.get("passfile")
        if passfile is not None:
            passfile = os.path.expanduser(passfile)
            _check_passfile(passfile)
        target = values.get("target_session_attrs")
        if target is None and len(self.hosts) > 1 and "PGTARGETSESSIONATTRS" not in os.environ:
            target = "read-write"
        arguments = {
            "dsn": join((), rest).replace("///", "//", 1) if rest else None,
            "host": [host for host, _ in self.hosts if host] or None,
            "port": self._ports(),
            "user": values.get("user"),
            "password": values.get("password"),
            "passfile": passfile,
            "database": values.get("dbname"),
            "ssl": values.get("sslmode"),
            "target_session_attrs": target,
            "krbsrvname": values.get("krbsrvname"),
            "gsslib": values.get("gsslib"),
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return {
            **given,
            "timeout": _seconds(values.get("connect_timeout")),
            "server_settings": {"application_name": application_name, **settings},
        }

    def _ports(self) -> list[int] | int | None:
        if all(port is None for _, port in self.hosts):
            return None
        usual = os.environ.get("PGPORT", "")
        ports = [int(usual) if port is None and usual.isdecimal() else port or 5432 for _, port in self.hosts]
        return ports if any(host for host, _ in self.hosts) else ports[0]


def _seconds(text: str | None) -> float:
    if text is None:
        return CONNECT_TIMEOUT
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text)):
        raise ValueError("connect_timeout is a number of seconds, from 1 on")
    return float(text)


def _check_passfile(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise StoreError(f"the password file {path} is not a file")
        with open(path, "rb"):
            pass
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"the password file {path} cannot be read: {error.strerror}") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StoreError(f"the password file {path} can be read or changed by others; chmod 600 {path}")
