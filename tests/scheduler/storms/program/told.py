"""What the program is told in its argument, and the ledger that it writes; imported before all else, for the clock.

Lines of the ledger are a word, a name, and details:

========== ======================= =====================================================================
word       name                    when it is written
========== ======================= =====================================================================
accepted   the job                 after `submit` has returned; with its number
needs      the job                 before it is submitted; with the numbers of the jobs that it needs
busy       the job                 when it was refused, because the store cannot be written
unwanted   the job                 after `cancel` has returned; with the process
again      the job                 before somebody tries it again
begin, end the job                 as an attempt begins and ends; with the attempt and the process
left       the job                 when an attempt ends without success
saw        the job                 what a last block was told of its run
run, ran   the flow and the role   a run was submitted (with its number and which one it is), and has ended
stopping   the run                 before it is cancelled
doomed     the process             before it is killed, by who does
========== ======================= =====================================================================
"""

from __future__ import annotations

import json
import mmap
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOLD: dict[str, Any] = json.loads(sys.argv[1])
TAG: str = TOLD["tag"]  # of this process, and never again
ROLE: str = TOLD["role"]
CHANCE = random.Random(TOLD["seed"])


def skewed(clock: Callable[[], float], path: str) -> Callable[[], float]:
    """Return the clock with what a file says added to it: setting the real one would set it for the whole machine."""
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    return lambda: clock() + float(struct.unpack("d", offset)[0])


if TOLD["clock"]:
    time.time = skewed(time.time, TOLD["clock"])

LEDGER = os.open(TOLD["ledger"], os.O_RDWR | os.O_CREAT | os.O_APPEND)


def note(*words: object) -> None:
    """Write a line into the ledger, in one piece, after those of all processes so far."""
    os.write(LEDGER, (" ".join(map(str, words)) + "\n").encode())


@contextmanager
def noted(name: str, attempt: int) -> Iterator[None]:
    """Note when an attempt begins, and how it ends."""
    note("begin", name, attempt, TAG)
    try:
        yield
    except BaseException:
        note("left", name, attempt, TAG)
        raise
    note("end", name, attempt, TAG)


def ledger() -> list[str]:
    """Return the lines of the ledger."""
    return Path(TOLD["ledger"]).read_text().splitlines()
