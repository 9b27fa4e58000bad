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
        wanted = "a whole number" if kind is int else "a number"
        raise CommandError(f"{what}: expected {wanted}, got {shown(word)}") from None


def flag(word: bytes, what: str) -> bool:
    """Return a word as a boolean: 1 or 0.

    Raises:
        CommandError: it is neither.
    """
    if word not in (b"0", b"1"):
        raise CommandError(f"{what}: expected 1 or 0, got {shown(word)}")
    return word == b"1"


def pauses(word: bytes, what: str) -> float | tuple[float, float]:
    """Return a word as the first pause in seconds, or as the first and the longest with a comma between.

    Raises:
        CommandError: it is neither.
    """
    first, *longest = word.split(b",", 1)
    if not longest:
        return float(number(first, what, float))
    return number(first, what, float), number(longest[0], what, float)


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
    known = {status.value: status for status in JobStatus}
    wanted = text(word).lower().split(",")
    if unknown := [one for one in wanted if one not in known]:
        raise CommandError(f"unknown status {shown(unknown[0].encode())}; there are {', '.join(known)}")
    return [known[one] for one in wanted]


def time_of_day(word: bytes, what: str) -> datetime | float:
    """Return a word as a time: seconds since 1970, or ISO 8601 with an offset.

    Raises:
        CommandError: it is neither.
    """
    return _time(word, f"{what}: expected seconds since 1970, or ISO 8601 with an offset, got {shown(word)}")


def term(word: bytes, what: str) -> datetime | float:
    """Return a word as a time: seconds from now on, or ISO 8601 with an offset.

    Raises:
        CommandError: it is neither.
    """
    return _time(word, f"{what}: expected seconds from now on, or ISO 8601 with an offset, got {shown(word)}")


def _time(word: bytes, problem: str) -> datetime | float:
    written = text(word)
    with contextlib.suppress(ValueError):
        return float(written)
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        raise CommandError(problem) from None
    if found.utcoffset() is None:  # local time would be the server's, and clients may be anywhere
        raise CommandError(problem)
    return found


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
        CommandError: an option is unknown, has no value, or is given twice.
    """
    found: dict[str, Any] = {}
    for position in range(0, len(words), 2):
        option = words[position].upper()
        if option not in known:
            names = ", ".join(name.decode() for name in known)
            raise CommandError(f"unknown option {shown(words[position])}; there are {names}")
        if position + 1 == len(words):
            raise CommandError(f"option {option.decode()} has no value")
        if option.decode().lower() in found:
            raise CommandError(f"option {option.decode()} is given twice")
        found[option.decode().lower()] = known[option](words[position + 1])
    return found
