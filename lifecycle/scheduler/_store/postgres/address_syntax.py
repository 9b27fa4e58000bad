"""How the address of a database is written: libpq's form of a URL, taken to pieces and put together again.

Messages say what is wrong and where, but quote only what cannot be part of a password. One that was not encoded ends
where its first "/" or "@" is, and the rest of it then looks like a host, a port or a parameter.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote as encode
from urllib.parse import unquote_to_bytes

from ..._ground.text import did_you_mean, quote

SCHEME: Final = re.compile(r"postgres(?:ql)?(?:\+\w+)?:/", re.ASCII | re.IGNORECASE)
"""How a text begins that is meant as an address, right or not."""

Hosts = tuple[tuple[str, int | None], ...]
"""Hosts or directories of sockets, each with its port, None for the usual one."""

SECRETS: Final = frozenset({"password", "sslpassword"})

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "host": (),
    "port": (),
    "dbname": (),
    "user": (),
    "password": (),
    "passfile": (),
    "application_name": (),
    "connect_timeout": (),
    "options": (),
    "target_session_attrs": ("any", "primary", "read-write"),
    "sslmode": _SSL_MODES,
    "sslcert": (),
    "sslkey": (),
    "sslpassword": (),
    "sslrootcert": (),
    "sslcrl": (),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "krbsrvname": (),
    "gsslib": ("gssapi", "sspi"),
}
"""What may stand after the "?", with the values that it may have; nothing for any text."""

_NAME: Final = re.compile(r"[a-z_]{1,40}", re.ASCII)
_HOST: Final = re.compile(r"[^\s/\\?#@\[\]:,%]+")


def split(text: str) -> tuple[Hosts, dict[str, str]]:
    """Return the hosts that an address names, and everything else in it under the names of `PARAMETERS`.

    Raises:
        ValueError: it is not an address; the message says why, and has no part of a password in it.
    """
    scheme, slashes, rest = text.partition("://")
    if not slashes or scheme.lower() not in ("postgresql", "postgres"):
        raise ValueError("it has to begin with postgresql://, a text and not a Path")
    if not text.isprintable() or " " in text:
        raise ValueError("there is a blank or a control character in it: write %20 for a blank")
    if "#" in rest:
        raise ValueError("there is a '#' in it: write %23")
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    credentials, at, where = authority.rpartition("@")
    if rest.count("@") > bool(at):
        raise ValueError("in a user, a password or a name, write %40 for '@', %2F for '/', %3F for '?'")
    if "/" in database:
        raise ValueError("there is a '/' in the name of the database: write %2F")
    user, _, password = credentials.partition(":")
    written = {"user": user, "password": password, "dbname": database}
    found = {name: _decoded(value, name) for name, value in written.items() if value}
    for name, value in _parameters(query):
        if name in found:
            raise ValueError(f"the parameter {name} is given twice")
        found[name] = value
    hosts = _hosts(where, found.pop("host", None), found.pop("port", None))
    return hosts, {name: found[name] for name in PARAMETERS if name in found}


def join(hosts: Hosts, values: dict[str, str]) -> str:
    """Return the address that is made of these: what `split` takes to pieces again."""
    rest = dict(values)
    credentials = _encoded(rest.pop("user")) if "user" in rest else ""
    if "password" in rest:
        credentials += f":{_encoded(rest.pop('password'))}"
    database = rest.pop("dbname", None)
    where = ""
    if any(host.startswith("/") for host, _ in hosts):
        query = {"host": ",".join(host for host, _ in hosts)}
        if any(port for _, port in hosts):
            query["port"] = ",".join(str(port or "") for _, port in hosts)
        rest = {**query, **rest}
    else:
        where = ",".join(_written(host, port) for host, port in hosts)
    url = f"postgresql://{credentials}{'@' if credentials else ''}{where}"
    if database is not None or rest:
        url += f"/{_encoded(database or '')}"
    if rest:
        url += "?" + "&".join(f"{name}={encode(value, safe='/,:')}" for name, value in rest.items())
    return url


def _parameters(query: str) -> Sequence[tuple[str, str]]:
    found = []
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        name = "dbname" if name == "database" else name
        if not equals or not _NAME.fullmatch(name):
            raise ValueError("after the '?' it has to be NAME=VALUE, with & between them")
        if name not in PARAMETERS:
            raise ValueError(f"there is no parameter {name!r} here{did_you_mean(name, PARAMETERS)}")
        value = _decoded(value, name)
        if (name, value) == ("sslrootcert", "system"):  # a word of libpq, and a file to asyncpg
            raise ValueError("sslrootcert=system is not understood: name the file of your system's authorities")
        allowed = PARAMETERS[name]
        if allowed and value not in allowed:
            raise ValueError(f"{name} is one of {', '.join(allowed)}, not {quote(value)}")
        found.append((name, value))
    return found


def _hosts(where: str, host: str | None, port: str | None) -> Hosts:
    if where and host is not None:
        raise ValueError("the parameter host is given twice")
    written = _each(host, _plain_host) if host is not None else _each(where, _host_and_port) if where else ()
    if port is None:
        return written
    if any(own is not None for _, own in written):
        raise ValueError("the parameter port is given twice")
    ports = [_port(one) if one else None for one in port.split(",")]
    hosts = [name for name, _ in written] or [""]
    if len(ports) not in (1, len(hosts)):
        raise ValueError(f"there are {len(ports)} ports for {len(hosts)} hosts")
    return tuple(zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=True))


def _each(text: str, read: Callable[[str], tuple[str, int | None]]) -> Hosts:
    hosts = tuple(map(read, text.split(",")))
    if len(hosts) > 1 and not all(host for host, _ in hosts):
        raise ValueError("there is an empty host between its commas")
    return hosts


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Return what one part of the authority says."""
    if text.startswith("["):
        inside, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise ValueError("an IPv6 address is written [::1] or [::1]:5432")
        host = _ipv6(_decoded(inside, "host"))
        port = port[1:]
    else:
        name, _, port = text.partition(":")
        host = _plain_host(_decoded(name, "host") if name else "")[0]
    return host, _port(port) if port else None


def _plain_host(text: str) -> tuple[str, int | None]:
    """Return what one part of the parameter host says."""
    if not text or text.startswith("/"):
        return text, None
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1]), None
    if ":" in text:
        return _ipv6(text), None
    if not _HOST.fullmatch(text):
        raise ValueError("a host is a name, an IP address, or the directory of a socket, which begins with a '/'")
    return text, None


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("an IPv6 address is written [::1] or [::1]:5432") from None


def _port(text: str) -> int:
    # Not quoted: of user:password, without an @ and a host, this is the password.
    number = int(text) if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) else 0
    if not 1 <= number <= 65_535:
        raise ValueError("a port is a number from 1 to 65535; after user:password there has to be '@', then the host")
    return number


def _written(host: str, port: int | None) -> str:
    name = f"[{encode(host, safe=':')}]" if ":" in host else encode(host, safe="")
    return name if port is None else f"{name}:{port}"


def _encoded(text: str) -> str:
    return encode(text, safe="")


def _decoded(text: str, name: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"{name}: after a '%' there have to be two hexadecimal digits; write %25 for '%'")
    try:
        value = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: it is not UTF-8") from None
    if not value:
        raise ValueError(f"{name}: it is empty")
    if not value.isprintable():
        raise ValueError(f"{name}: there is a control character in it")
    return value
