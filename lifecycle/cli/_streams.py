"""Standard output and standard error that never fail a command: a failure is noted, and told at the end."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from typing_extensions import Buffer, override


class Outlet(io.RawIOBase):
    """A descriptor to write to. After its first failure it swallows everything, as ``/dev/null`` does.

    Attributes:
        number: the descriptor; -1 for one that was closed, to which the first writing fails.
        failure: what the first failure was, None before it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.failure: OSError | None = None

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return self.number

    @override
    def isatty(self) -> bool:
        return os.isatty(self.number)

    @override
    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        while self.failure is None:
            try:
                return os.write(self.number, view)
            except BlockingIOError:  # somebody else has made it one that does not wait
                select.select([], [self.number], [])
            except OSError as error:
                self.failure = error
        return len(view)

    def text(self, encoding: str | None) -> TextIO:
        """Return a stream of text to it, which can write any text in any encoding."""
        buffer = io.BufferedWriter(self)
        return io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=True)


def open_streams() -> Outlet:
    """Put streams that do not fail in the place of standard output and standard error; return the former's outlet.

    A descriptor that was closed is opened, to nowhere: the next file or connection would get its number else, and then
    whatever a child process prints.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    while (number := os.open(os.devnull, os.O_RDWR)) in range(3):
        os.set_inheritable(number, True)
    os.close(number)
    output, problems = (Outlet(-1 if number in closed else number) for number in (1, 2))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    encodings = [stream.encoding if stream is not None else None for stream in (sys.stdout, sys.stderr)]
    sys.stdout, sys.stderr = output.text(encodings[0]), problems.text(encodings[1])
    return output


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def failure_of(output: Outlet) -> str | None:
    """Return why standard output could not be written, None when it could, or when its reader just went away."""
    with suppress(ValueError):  # somebody has closed it
        sys.stdout.flush()
    if output.failure is None or isinstance(output.failure, BrokenPipeError):
        return None
    return f"lifecycle: cannot write to standard output: {output.failure.strerror}"


@contextmanager
def output_for_us() -> Iterator[TextIO]:
    """Keep standard output for what is written to the stream that comes back.

    What anything else prints there goes to standard error: handlers, the libraries that they use, and child processes.
    """
    ours = sys.stdout
    raw = getattr(getattr(ours, "buffer", None), "raw", None)
    outlet = raw if isinstance(raw, Outlet) else None
    if outlet is not None:
        ours.flush()
        kept = os.dup(1)
        outlet.number = kept if outlet.number == 1 else outlet.number
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield ours
    finally:
        sys.stdout = ours
        if outlet is not None:
            ours.flush()
            os.dup2(kept, 1)
            os.close(kept)
            outlet.number = 1 if outlet.number == kept else outlet.number
