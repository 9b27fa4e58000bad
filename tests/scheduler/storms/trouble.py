"""What goes wrong around a store while programs work on it: a full disk, a locked database, a clock that is set."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lifecycle.scheduler._store.sqlite.open_files import open_database

Wait = Callable[[float], bool]
"""Waits so many seconds; returns whether the trouble is to end."""

Trouble = Callable[[random.Random, Wait], None]
"""Makes trouble, by chance, until the wait says that it is to end."""


@contextmanager
def trouble(make: Trouble, seed: int) -> Iterator[None]:
    """Have *make* make trouble in a thread, as long as the block runs."""
    over = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            make(random.Random(seed), over.wait)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="trouble")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failures, failures


def full_disk(disk: Path) -> Trouble:
    """Fill a file system to the last pages for a moment, and make room again."""

    def make(chance: random.Random, wait: Wait) -> None:
        filler = disk / "filler"
        while not wait(chance.random() * 0.6):
            with filler.open("wb") as file:
                space = os.statvfs(disk)
                room = (space.f_bavail - chance.choice((0, 0, 1, 5, 20))) * space.f_bsize
                if room > 0:
                    with contextlib.suppress(OSError):  # somebody has written meanwhile: it is full
                        os.posix_fallocate(file.fileno(), 0, room)
                wait(chance.random() * 0.4)
            filler.unlink()

    return make


def locks(database: Path, lock_timeout: float) -> Trouble:
    """Hold the database locked, mostly for a moment, now and then for longer than anybody waits.

    With a connection that the store knows of: the storm's own looks at it, from this process, would take its locks away
    (see `open_files`), and the next program that ends by itself takes the log for its own.
    """

    def make(chance: random.Random, wait: Wait) -> None:
        with closing(open_database(database, "rw", 60.0)) as db:
            while not wait(chance.random() * 0.4):
                db.execute("BEGIN EXCLUSIVE")
                wait(chance.random() * 0.2 if chance.random() < 0.85 else lock_timeout + chance.random())
                db.execute("COMMIT")

    return make


def lock_files(directory: Path) -> Trouble:
    """Delete the locks of the owners, as one who tidies up."""

    def make(chance: random.Random, wait: Wait) -> None:
        while not wait(chance.random() * 0.5):
            for file in directory.glob("*-owner-*"):
                if chance.random() < 0.7:
                    file.unlink(missing_ok=True)

    return make


def moves(directory: Path) -> Trouble:
    """Move the directory of a store away for a moment."""

    def make(chance: random.Random, wait: Wait) -> None:
        away = directory.with_name("away")
        while not wait(chance.random() * 1.5):
            directory.rename(away)
            wait(chance.random() * 0.3)
            away.rename(directory)

    return make


def jumps(clock: Path, hours: float) -> Trouble:
    """Set the clock forwards and back, by hours and by fractions of a second."""
    clock.write_bytes(struct.pack("d", 0.0))

    def make(chance: random.Random, wait: Wait) -> None:
        with clock.open("r+b", buffering=0) as file:
            while not wait(chance.random() * 0.5):
                ahead = chance.choice(
                    (0.0, chance.uniform(-1, 1), *(chance.uniform(-hours, hours) * 3600 for _ in "ab"))
                )
                file.seek(0)
                file.write(struct.pack("d", ahead))
            file.seek(0)
            file.write(struct.pack("d", -2 * hours * 3600.0))  # for the end: all that was ever due is in the future

    return make
