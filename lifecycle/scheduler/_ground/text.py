"""Small texts for people: shortened, on one line, with a hint at what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class SecretText(str):
    """A text with a secret in it, which no message quotes: not even a part of it."""

    __slots__ = ()


def shorten(text: str, limit: int) -> str:
    """Return *text*, with its middle left out when it is longer than *limit* characters."""
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def job_label(name: str) -> str:
    """Return *name* as the name of a job: on one line, and not too long."""
    return one_line(shorten(name, 200))


def one_line(text: str) -> str:
    """Return *text* with everything that would end or garble its line written as an escape."""
    if text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return _ESCAPES.get(character) or f"\\x{ord(character):02x}"


def quote(value: object, limit: int = 40) -> str:
    """Return a short form of *value* for an error message."""
    if isinstance(value, SecretText):
        return "a text with a secret in it"
    if isinstance(value, str):
        return repr(shorten(value, limit))
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a table of {len(value)}"
    try:
        return shorten(repr(value), limit)
    except ValueError:  # more digits than Python is willing to write
        return "an integer of thousands of digits"


def listing(names: Iterable[str], limit: int = 8) -> str:
    """Return the first names, quoted, as a list for an error message."""
    known = sorted(names)
    shown = ", ".join(quote(name) for name in known[:limit])
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return (shown or "none") + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" when one of *known* is near *name*, else an empty string."""
    # difflib takes quadratic time on long words: a word of a hundred letters is not a typing error.
    near = difflib.get_close_matches(name[:100], [other for other in known if len(other) <= 100], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def plural(count: int, noun: str) -> str:
    """Return "1 job", "2 jobs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
