"""The arguments of commands: words as numbers, text, JSON and options."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from .._store.records import JobStatus
from ._commands import CommandError, shown
from ._parser import Words


def number(word: bytes, what: str, kind: Callable[[str], Any] = int) -> Any:
    """Return a word as a number.

    Raises:
        CommandError: it is not a number.
    """
    try:
        return kind(word.decode("ascii"))
    except (UnicodeDecodeError, ValueError):
        raise CommandError(f"{what}: expected a number, got {shown(word)}") from None


def text(word: bytes) -> str:
    """Return a word as text.

    Raises:
        CommandError: it is not UTF-8.
    """
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise CommandError(f"expected UTF-8, got {shown(word)}") from None


def known_statuses(word: bytes) -> list[JobStatus]:
    """Return the states that a word names, with commas between them.

    Raises:
        CommandError: there is no such state.
    """
    try:
        return [JobStatus(one) for one in text(word).lower().split(",")]
    except ValueError:
        names = ", ".join(status.value for status in JobStatus)
        raise CommandError(f"unknown status {shown(word)}; there are {names}") from None


def time_of_day(word: bytes, what: str) -> datetime | float:
    """Return a word as a time: seconds since 1970, or ISO 8601 with an offset.

    Raises:
        CommandError: it is neither.
    """
    written = text(word)
    for kind in (float, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            return kind(written)
    raise CommandError(f"{what}: expected seconds since 1970, or ISO 8601 with an offset, got {shown(word)}")


def plain(word: bytes, kind: type, what: str) -> Any:
    """Return the JSON value that a word holds.

    Raises:
        CommandError: it is not JSON, or of another kind.
    """
    try:
        value = json.loads(word)
    except (ValueError, RecursionError):
        raise CommandError(f"{what}: expected JSON, got {shown(word)}") from None
    if not isinstance(value, kind):
        raise CommandError(f"{what}: expected a JSON {'array' if kind is list else 'object'}, got {shown(word)}")
    return value


def options(words: Words, known: dict[bytes, Callable[[bytes], Any]]) -> dict[str, Any]:
    """Return pairs of option and value.

    Raises:
        CommandError: an option is unknown, or has no value.
    """
    found: dict[str, Any] = {}
    for position in range(0, len(words), 2):
        option = words[position].upper()
        if option not in known:
            names = ", ".join(name.decode() for name in known)
            raise CommandError(f"unknown option {shown(words[position])}; there are {names}")
        if position + 1 == len(words):
            raise CommandError(f"option {option.decode()} has no value")
        found[option.decode().lower()] = known[option](words[position + 1])
    return found
