"""The way out: everything that the command line tells people passes here, so that none of it can drive a terminal."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final, TextIO
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
    """Print a table with aligned columns, those in *right* to the right; each row is one line, whatever is in it.

    On a terminal that is narrower, what does not fit stands below its row.
    """
    cells = [tuple(one_line(cell) for cell in row) for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in aligned(head, cells, right) if width is None else fitted(head, cells, right, width):
        say(line)


def fitted(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...], width: int) -> list[str]:
    """Return a table as lines of at most *width* characters: the columns that fit, and below each row the others."""
    widths = [max(_cells(row[column]) for row in [head, *rows]) for column in range(len(head))]
    fits = max(2, sum(end - 2 <= width for end in itertools.accumulate(size + 2 for size in widths)))
    top, *lines = aligned(head[:fits], [row[:fits] for row in rows], right)
    below = [top]
    for line, row in zip(lines, rows, strict=True):
        rest = zip(head[fits:], row[fits:], strict=True)
        text = "  ".join(f"{name} {cell}".lstrip() for name, cell in rest if cell not in ("", "-"))
        below += [
            line,
            *textwrap.wrap(
                text, max(width, 20), initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False
            ),
        ]
    return below


_INDENT: Final = "      "


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
