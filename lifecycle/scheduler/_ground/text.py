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


def harmless(text: str) -> str:
    """Return *text* with its lines, and everything else written as an escape that would drive or garble a terminal.

    Escape sequences, what turns the direction of writing, the line separators of other systems, halves of characters:
    whatever is not ours passes here, or `one_line`, on its way to a terminal or a log.
    """
    return "\n".join(one_line(line.expandtabs()) for line in text.split("\n"))


def is_storable(text: str) -> bool:
    """Return whether a text has a form in UTF-8, as names in a store have: there are no halves of characters in it."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    wide = f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return _ESCAPES.get(character) or (f"\\x{number:02x}" if number < 0x100 else wide)


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
