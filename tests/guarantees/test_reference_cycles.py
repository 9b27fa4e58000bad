"""Guarantee 14 without the garbage collector: nothing that an owner had, or met, is kept by a reference cycle.

An error refers to the frames that it went through, and these to what they were given. A frame of ours that still refers
to the error when it ends is a cycle, and whatever hangs on it (connections, buffers) lives until the collector comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Iterator

import pytest

from ..collection import without_collection
from .leaving_nothing import connections, owners, requests, scopes
from .leaving_nothing._parts import CASES, Case, live, turn

#: Where a cycle is left that keeps nothing of what was held and met: a registry and a pool are made of parts that know
#: each other, and before Python 3.12 the streams of asyncio, with which a server is visited here, are one.
KNOWN = ("registry", "pool") if sys.version_info >= (3, 12) else ("registry", "pool", "server")


PROGRAMS = (scopes, owners, connections, requests)  # which have entered theirs


async def repeat(run: Case, times: int) -> None:
    """Run a case in tasks of its own, whatever it raises."""
    for _ in range(times):
        await asyncio.wait([asyncio.ensure_future(quietly(run))])
    for _ in range(5):
        await turn()


async def quietly(run: Case) -> None:
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await run()


@pytest.fixture
def no_records() -> Iterator[None]:
    """Keep nothing that is logged: records would keep errors."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("no_records")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("run", CASES.values(), ids=CASES)
def test_nothing_is_left_for_the_garbage_collector(run: Case) -> None:
    """No error and no value lives on, and no object of ours hangs in a cycle."""

    async def main() -> tuple[int, int]:
        await repeat(run, 1)  # what is made once and kept
        with without_collection():
            await repeat(run, 3)
            return len(live), gc.collect()

    kept, garbage = asyncio.run(main())
    assert kept == 0
    assert garbage == 0 or run.__name__.startswith(KNOWN)
