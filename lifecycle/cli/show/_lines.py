"""The way out: everything that the command line tells people passes here, so that none of it can drive a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TextIO

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
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ]
