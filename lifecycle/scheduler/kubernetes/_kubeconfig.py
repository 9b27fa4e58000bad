"""Kubeconfig files: several read as one, each of its entries with its place, and nothing in them taken on trust.

kubernetes_asyncio knows what a kubeconfig means; what it does not say is where one is wrong: then it goes on without a
token, asks the terminal for the password of a key, or talks to this machine.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from .._ground.text import did_you_mean, listing, one_line, quote

DATA: Final = ("certificate-authority", "client-certificate", "client-key")
"""What may stand in an entry as the path of a file, or, with ``-data``, itself."""

_FILES: Final = re.compile(r"(certificate-authority|client-certificate|client-key|tokenFile)$")
_EXTRA: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z/:]+")


class Entry(dict[str, Any]):
    """A cluster, a context or a user of a kubeconfig, with its place.

    Args:
        content: what it says.
        where: its place, for messages.
        directory: that of its file, which relative paths are relative to.
    """

    def __init__(self, content: Mapping[str, Any], where: str, directory: str) -> None:
        super().__init__(content)
        self.where = where
        self.directory = directory


def stamp_of(path: str) -> tuple[str, int, int, int]:
    """Return what changes when a file does."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return path, 0, 0, 0
    return path, stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_kubeconfigs(files: Iterable[Path]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return several kubeconfig files as one, and the stamp of all files that they lead to; of a name the first counts.

    The stamps are taken before the files are read, so that a change meanwhile is seen.

    Raises:
        ValueError: a file is no kubeconfig; the message names the place.
        OSError: it cannot be read.
    """
    merged: dict[str, Any] = {"current-context": None, "clusters": {}, "contexts": {}, "users": {}}
    stamps = []
    for file in files:
        stamps.append(stamp_of(str(file)))
        if not file.is_file():
            continue
        content = _parse(file)
        current = content.get("current-context") or None
        if current is not None and not isinstance(current, str):
            raise ValueError(f"{file}: current-context: expected a name, got {quote(current)}")
        merged["current-context"] = merged["current-context"] or current
        for kind in ("clusters", "contexts", "users"):
            for name, entry in _entries(file, kind, content.get(kind)):
                if name not in merged[kind]:
                    stamps += map(stamp_of, _make_absolute(entry))
                    merged[kind][name] = entry
    return merged, tuple(stamps)


def _parse(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: {one_line(' '.join(str(error).split()))}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no kubeconfig")
    return content


def _entries(file: Path, kind: str, given: Any) -> Iterable[tuple[str, Entry]]:
    if given is None:
        return
    if not isinstance(given, list):
        raise ValueError(f"{file}: {kind}: expected a list, got {quote(given)}")
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise ValueError(f"{file}: {kind}: expected entries with a name, got {quote(one)}")
        content, where = one.get(kind[:-1]), f"{file}: {kind[:-1]} {quote(one['name'])}"
        if content is not None and not isinstance(content, dict):
            raise ValueError(f"{where}: expected a table, got {quote(content)}")
        yield one["name"], Entry(content or {}, where, str(file.parent))


def _make_absolute(entry: Entry) -> list[str]:
    """Let an entry name its files wherever it is read from, and return them."""
    paths = []
    for key, value in entry.items():
        if value and _FILES.search(key):
            if not isinstance(value, str):
                raise ValueError(f"{entry.where}: {key}: expected a path, got {quote(value)}")
            entry[key] = str(entry.directory / Path(os.path.expanduser(value)))
            paths.append(entry[key])
    return paths


def named(merged: Mapping[str, Any], kind: str, name: object) -> Entry:
    """Return a copy of an entry.

    Raises:
        ValueError: there is none of this name.
    """
    entry = merged[kind].get(name) if isinstance(name, str) else None
    if entry is None:
        hint = did_you_mean(str(name), merged[kind])
        raise ValueError(f"it has no {kind[:-1]} {quote(name)}{hint}; it has {listing(merged[kind])}")
    return Entry(entry, entry.where, entry.directory)


def check_server(reached: Entry) -> None:
    """Refuse a cluster that leads nowhere: without an address it would be this machine.

    Raises:
        ValueError: it has no address, or no proxy that we can use.
    """
    server, proxy = reached.get("server"), reached.get("proxy-url")
    if not isinstance(server, str) or not re.match(r"https?://[^/\s]", server):
        raise ValueError(f"{reached.where}: server: expected https://HOST, got {quote(server)}")
    if proxy and (not isinstance(proxy, str) or not re.match(r"https?://[^/\s]", proxy)):
        kind = proxy.partition(":")[0] if isinstance(proxy, str) else proxy  # there may be a password behind it
        raise ValueError(f"{reached.where}: proxy-url: expected http://HOST or https://HOST, got {quote(kind)}")


def put_data(private: Path, entry: Entry) -> None:
    """Put what stands in an entry itself into files of a directory, and let it name these.

    Raises:
        ValueError: it is not in base64.
    """
    for key in DATA:
        data = entry.pop(f"{key}-data", None)
        if not data:
            continue
        try:
            content = base64.b64decode("".join(data.split()) if isinstance(data, str) else data, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise ValueError(f"{entry.where}: {key}-data: this is not in base64") from None
        entry[key] = str(put(private, key, content))


def put(private: Path, name: str, content: bytes) -> Path:
    """Write a file in a directory that only we may read, and return its path."""
    path = private / name
    path.write_bytes(content)
    return path


def read_token(user: Entry) -> None:
    """Let a user's entry have its token itself; that of a file counts, as it is the one that is kept up to date.

    Raises:
        ValueError: it is none, or its file cannot be read.
    """
    if file := user.pop("tokenFile", None):
        try:
            user["token"] = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{user.where}: tokenFile: {error}") from None
        if not user["token"]:
            raise ValueError(f"{user.where}: tokenFile: {file} is empty")
    token = user.get("token")
    if token and (not isinstance(token, str) or not token.strip().isascii() or not token.strip().isprintable()):
        raise ValueError(f"{user.where}: token: expected a token on one line")


def check_certificates(reached: Entry, user: Entry) -> None:
    """Find out whether certificates can be used, before anything is made of them.

    Raises:
        ValueError: they cannot; the message names the place.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority := reached.get("certificate-authority"):
        try:
            context.load_verify_locations(authority)
        except (OSError, ValueError) as error:
            raise ValueError(f"{reached.where}: certificate-authority: {_cause(error, authority)}") from None
    certificate, key = user.get("client-certificate"), user.get("client-key")
    if key and not certificate:
        raise ValueError(f"{user.where}: client-key goes with a client-certificate, which is missing")
    if certificate:
        try:
            # Without a password OpenSSL asks the terminal for it, and this process stands still.
            context.load_cert_chain(certificate, key or None, password="")
        except (OSError, ValueError) as error:
            said = f"client-certificate and client-key cannot be used: {_cause(error, certificate, key)}"
            raise ValueError(f"{user.where}: {said}") from None


def _cause(error: Exception, *paths: str | None) -> str:
    missing = next((path for path in paths if path and not os.path.isfile(path)), None)
    return f"there is no file {missing}" if missing else str(error)


def impersonation(user: Entry) -> tuple[tuple[str, str], ...]:
    """Return the headers by which a user acts as somebody else, who mostly may do less.

    Raises:
        ValueError: what is said of that is not right.
    """
    name, uid = user.get("as"), user.get("as-uid")
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not (name or uid or groups or extra):
        return ()
    if not name:
        raise ValueError(f"{user.where}: as-uid, as-groups and as-user-extra need as")
    if not isinstance(groups, list) or not isinstance(extra, dict):
        raise ValueError(f"{user.where}: expected a list of as-groups, and a table of lists as-user-extra")
    headers = [("Impersonate-User", name), *([("Impersonate-Uid", uid)] if uid else [])]
    headers += [("Impersonate-Group", group) for group in groups]
    for key, values in extra.items():
        if not isinstance(key, str) or not isinstance(values, list) or not _EXTRA.fullmatch(key):
            raise ValueError(f"{user.where}: as-user-extra: expected lists by name, got {quote(key)}")
        escaped = key.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")
        headers += [(f"Impersonate-Extra-{escaped}", value) for value in values]
    for header, value in headers:
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(f"{user.where}: {header}: expected a text on one line, got {quote(value)}")
    return tuple(headers)
