"""What the worker of a pair did not take is handed back, or let go of."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import weakref
from collections.abc import AsyncIterator

import pytest

from lifecycle import OwnerClosed, ReaderWorker
from lifecycle.testing import Bubble

from ..loops import virtual
from .parts import Receive, Send, forever


class Item:
    """Something that has to be released, or at least let go of."""


@pytest.mark.parametrize("taken", [0, 2])
@virtual
async def test_nothing_is_kept_of_what_was_not_taken(bubble: Bubble, taken: int) -> None:
    """As soon as the pair is over, although the pair itself is still there."""
    sent: list[weakref.ref[Item]] = []

    async def reader(send: Send) -> None:
        for _ in range(5):
            item = Item()
            sent.append(weakref.ref(item))
            await send(item)
            del item
        await forever()

    async def worker(receive: Receive) -> None:
        for _ in range(taken):
            await anext(receive)
        await asyncio.sleep(1)

    async with ReaderWorker(reader, worker) as pair:
        outcome = await pair.wait()
    gc.collect()
    assert outcome.undelivered == 5 - taken
    assert [item() for item in sent] == [None] * 5
    assert pair.waiting == 0


@virtual
async def test_it_is_handed_back_when_all_is_over(bubble: Bubble) -> None:
    """In order, in the context that the pair was made in, before anybody has gone on who waits for the pair."""
    variable = contextvars.ContextVar("variable", default="nobody")
    back: list[tuple[int, str, bool]] = []

    async def reader(send: Send) -> None:
        variable.set("reader")
        for number in range(3):
            await send(number)
        with pytest.raises(OwnerClosed):
            await send(3)

    async def worker(receive: Receive) -> None:
        variable.set("worker")
        assert await anext(receive) == 0
        raise ValueError

    variable.set("owner")
    pair: ReaderWorker[int] = ReaderWorker(
        reader, worker, capacity=3, on_drop=lambda item: back.append((item, variable.get(), pair.closed))
    )
    variable.set("host")
    async with pair:
        outcome = await pair.wait()
        assert back == [(number, "owner", True) for number in (1, 2)]
    assert outcome.undelivered == 2


def test_what_the_hook_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waits has been told before; every item is handed back."""
    back: list[int] = []

    def on_drop(item: int) -> None:
        back.append(item)
        raise asyncio.CancelledError

    async def reader(send: Send) -> None:
        for number in range(3):
            await send(number)

    async def worker(receive: AsyncIterator[int]) -> None:
        """Take nothing."""

    async def main() -> None:
        async with ReaderWorker(reader, worker, on_drop=on_drop) as pair:
            await pair.wait()

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert back == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == ["drop hook failed"] * 3


@pytest.mark.parametrize("hook", [1, asyncio.sleep])
def test_a_hook_that_cannot_be_one_is_refused(hook: object) -> None:
    """Nobody would await an asynchronous one."""
    with pytest.raises(TypeError, match="on_drop must be"):
        ReaderWorker(forever, forever, on_drop=hook)  # type: ignore[arg-type]
