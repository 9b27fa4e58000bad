"""The way out: everything that the command line tells people passes here, so that none of it can drive a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TextIO
from unicodedata import combining, east_asian_width

from ...scheduler._ground.text import harmless, one_line


def say(text: str) -> None:
    """Print a text on standard output, at once."""
    print(harmless(text), flush=True)


def say_json(value: object, stream: TextIO | None = None) -> None:
    """Print a value as one line of JSON, on standard output unless a stream is given."""
    # Everything that is not ASCII is escaped by then, and of ASCII all but the very last control character.
    print(json.dumps(value).replace("\x7f", "\\u007f"), file=stream, flush=True)


def complain(text: str) -> None:
    """Print a text on standard error."""
    print(harmless(text), file=sys.stderr, flush=True)


def say_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> None:
    """Print a table with aligned columns, those in *right* to the right; each row is one line, whatever is in it."""
    for line in aligned(head, [tuple(one_line(cell) for cell in row) for row in rows], right):
        say(line)


def aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> list[str]:
    """Return a table as lines with aligned columns."""
    table = [[(text, _cells(text)) for text in row] for row in [head, *rows]]
    widths = [max(row[column][1] for row in table) for column in range(len(head))]
    return [
        "  ".join(
            " " * (width - cells) + text if column in right else text + " " * (width - cells)
            for column, ((text, cells), width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _cells(text: str) -> int:
    """Return how many cells of a terminal a text takes: two for each wide character, none for a mark on another."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text)
