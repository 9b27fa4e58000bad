"""Standard output: lines and tables of lines."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence


class Lines:
    """Standard output, line by line; a reader that has gone away (``| head``) ends the output and not the run."""

    def __init__(self) -> None:
        self._open = True

    def write(self, line: str) -> None:
        """Print a line, at once."""
        if not self._open:
            return
        try:
            print(line, flush=True)
        except BrokenPipeError:
            self._open = False
            # The interpreter flushes standard output once more when it ends: let that go nowhere.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def table(self, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> None:
        """Print a table with aligned columns, those in *right* to the right."""
        for line in aligned(head, rows, right):
            self.write(line)


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
