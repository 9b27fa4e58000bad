"""What an API server takes, as far as the short form of a Job can say it: the rest is refused before it is asked.

The rules are those of its validation (names, labels, amounts); each function raises with the place of what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .._ground.checks import check_flag, check_seconds
from .._ground.text import quote

LONGEST: Final = 2**31 - 1
"""Seconds, of what a server keeps in 32 bits."""

_QUANTITY: Final = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})?", re.ASCII)
_WHOLE: Final = re.compile(r"\+?\d+(\.0*)?([kMGTPE]|[KMGTPE]i)?", re.ASCII)
_VARIABLE: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_WORD: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_STANDARD: Final = ("cpu", "memory", "ephemeral-storage")


def text(what: str, value: object) -> str:
    """Return a text that can be passed to a program.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what}: expected a text, got {quote(value)}")
    if "\0" in value:
        raise ValueError(f"{what}: expected a text, got {quote(value)}")
    return value


def texts(what: str, values: Sequence[str]) -> list[str]:
    """Return a list of texts."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise TypeError(f"{what}: expected a list of texts, got {quote(values)}")
    return [text(f"{what}[{number}]", value) for number, value in enumerate(values)]


def table(what: str, values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a table whose keys are texts, empty for None."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise TypeError(f"{what}: expected a table, got {quote(values)}")
    for key in values:
        text(what, key)
    return values


def image(value: object) -> str:
    """Return the name of an image."""
    name = text("image", value)
    if not name:
        raise ValueError("image: expected the name of an image, got ''")
    if name != name.strip():
        raise ValueError(f"image: expected a name without spaces around it, got {quote(name)}")
    return name


def variable(what: str, name: str) -> str:
    """Return the name of a variable of the environment."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{what}: expected a variable's name, got {quote(name)}")
    return name


def name_of(what: str, value: object) -> str:
    """Return the name of something that the cluster has: a claim, a secret, an account."""
    name = text(what, value)
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise ValueError(f"{what}: expected a name, got {quote(name)}")
    return name


def reference(what: str, value: object) -> dict[str, str]:
    """Return what ``SECRET/KEY`` stands for."""
    secret, _, key = text(what, value).partition("/")
    if not secret or not key:
        raise ValueError(f"{what}: expected SECRET/KEY, got {quote(value)}")
    if not _KEY.fullmatch(key) or key in (".", "..") or key.startswith(".."):
        raise ValueError(f"{what}: expected the key of a secret, got {quote(key)}")
    return {"name": name_of(what, secret), "key": key}


def labels(what: str, values: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels."""
    given = table(what, values)
    for key, value in given.items():
        prefix, slash, word = key.rpartition("/")
        if not _WORD.fullmatch(word) or (slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix))):
            raise ValueError(f"{what}: expected the name of a label, got {quote(key)}")
        if text(f"{what}.{key}", value) and not _WORD.fullmatch(value):
            raise ValueError(
                f"{what}.{key}: expected at most 63 letters, digits, dashes, dots and underscores, got {quote(value)}"
            )
    return dict(given)


def quantity(what: str, value: object) -> str:
    """Return an amount."""
    amount = str(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not _QUANTITY.fullmatch(amount):
        raise ValueError(f"{what}: expected an amount, as in 2, 0.5, '500m' or '4Gi', got {quote(value)}")
    return amount


def resource(name: str, value: object) -> str:
    """Return how much there is to be of something that a node has."""
    what = f"resources.{name}"
    prefix, slash, word = name.rpartition("/")
    extended = bool(slash)
    if not _WORD.fullmatch(word) or (extended and not _SUBDOMAIN.fullmatch(prefix)):
        raise ValueError(f"{what}: expected the name of a resource")
    if not extended and word not in _STANDARD and not word.startswith("hugepages-"):
        raise ValueError(f"{what}: expected {', '.join(_STANDARD)}, or a name with a domain, as in nvidia.com/gpu")
    amount = quantity(what, value)
    if extended and not _WHOLE.fullmatch(amount):
        raise ValueError(f"{what}: expected a whole number, got {quote(value)}")
    return amount


def whole_seconds(what: str, seconds: float) -> int:
    """Return a time in whole seconds."""
    check_seconds(seconds, what, needed=True)
    if seconds > LONGEST:
        raise ValueError(f"{what} must be at most {LONGEST:,} seconds, got {quote(seconds)}")
    return round(seconds)


def mount_path(path: str) -> str:
    """Return where a volume is mounted."""
    if not path.startswith("/"):
        raise ValueError(f"volumes.{path}: expected an absolute path")
    if ":" in path:
        raise ValueError(f"volumes.{path}: expected a path without colons")
    return path


def sub_path(what: str, value: object) -> str | None:
    """Return which part of a volume is mounted."""
    if value is None:
        return None
    path = text(f"{what}.sub_path", value)
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{what}.sub_path: expected a relative path without '..', got {quote(path)}")
    return path


def flag(what: str, value: Any) -> bool | None:
    """Return whether something is so; None where nothing is said."""
    if value is not None:
        check_flag(value, what)
    return value  # type: ignore[no-any-return]
