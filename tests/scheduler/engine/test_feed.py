"""Events: whoever listens or reads, whatever it does, hurts nobody, and is told what it has missed."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import aclosing
from typing import Any

import pytest

from lifecycle.scheduler import Event, Scheduler
from lifecycle.scheduler._engine.feed import Feed
from lifecycle.testing import Bubble

from ...loops import some_turns, virtual


def ticks(feed: Feed, *numbers: int) -> None:
    for number in numbers:
        feed.publish(Event("tick", data={"number": number}))


def told(event: Event) -> Any:
    """Return the number in an event, the word for a loss before it."""
    return event.data["number"] if event.kind == "tick" else (event.kind, event.data["count"])


# Reading


@pytest.mark.parametrize("buffer", [1, 3])
@virtual
async def test_the_end_pushes_nothing_out(bubble: Bubble, buffer: int) -> None:
    """A reader whose buffer is full when the scheduler closes gets all of it."""
    feed = Feed(None)
    events = feed.read(buffer)
    ticks(feed, *range(buffer))
    feed.close()
    assert [told(event) async for event in events] == list(range(buffer))
    assert [event async for event in feed.read()] == []


@virtual
async def test_a_reader_is_there_from_the_call_on(bubble: Bubble) -> None:
    """It has what comes before its first step."""
    feed = Feed(None)
    assert not feed.heard
    events = feed.read()
    assert feed.heard
    ticks(feed, 1)
    assert told(await anext(events)) == 1


@virtual
async def test_a_timeout_does_not_end_the_reader(bubble: Bubble) -> None:
    """It goes on with what comes, and loses nothing."""
    feed = Feed(None)
    events = feed.read()
    for number in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.01)
        ticks(feed, number)
        assert told(await anext(events)) == number


@virtual
async def test_a_loss_is_told_before_what_comes_after_it(bubble: Bubble) -> None:
    """Once, with its number; again where there is another one."""
    feed = Feed(None)
    events = feed.read(2)
    ticks(feed, 0, 1, 2, 3, 4)
    assert [told(await anext(events)) for _ in range(2)] == [("events_lost", 3), 3]
    ticks(feed, 5, 6)
    assert [told(await anext(events)) for _ in range(3)] == [("events_lost", 1), 5, 6]
    ticks(feed, 7)
    assert told(await anext(events)) == 7
    waiting = asyncio.ensure_future(anext(events))
    await some_turns()
    ticks(feed, 8, 9, 10, 11)  # in one step: it has had no chance to take any
    assert told(await waiting) == ("events_lost", 1)
    assert [told(await anext(events)) for _ in range(3)] == [9, 10, 11]


@virtual
async def test_a_reader_that_leaves_is_forgotten(bubble: Bubble) -> None:
    """By `aclose`, or because nobody keeps it; then events are not even made any more."""
    feed = Feed(None)
    async with aclosing(feed.read()) as events:  # type: ignore[type-var]
        ticks(feed, 1, 2)
        async for event in events:
            assert told(event) == 1
            break
    assert [event async for event in events] == []
    kept = feed.read()
    ticks(feed, 3)
    assert feed.heard
    del kept
    gc.collect()
    ticks(feed, 4)
    assert not feed.heard


# Listening


async def one() -> int:
    return 1


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("kind", ["job_started", "job_finished"])
def test_what_a_listener_raises_changes_nothing(
    kind: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs and their waiters go on, readers get the event, the scheduler closes well; the log says what it was."""

    def on_event(event: Event) -> None:
        if event.kind == kind:
            raise error

    async def main() -> list[str]:
        async with Scheduler(on_event=on_event) as scheduler:
            events = scheduler.events()
            for _ in range(2):
                outcome = await asyncio.wait_for((await scheduler.submit(one)).wait(), 60)
                assert outcome.succeeded
        return [event.kind async for event in events]

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(main()) == ["job_started", "job_finished"] * 2
    assert [record.getMessage() for record in caplog.records] == ["event listener failed"] * 2


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_listener_may_end_the_process(kind: type[BaseException]) -> None:
    """After everybody else has got the event."""
    seen: list[str] = []
    error = kind(3)  # made here: one of the module would keep what its traceback leads to

    async def main() -> None:
        feed = Feed(on_event)
        events = feed.read()
        ticks(feed, 1)
        assert told(await anext(events)) == 1
        seen.append("reader")
        await asyncio.Event().wait()

    def on_event(event: Event) -> None:
        raise error

    with pytest.raises(kind) as caught:
        asyncio.run(main())
    assert caught.value is error
    assert seen == ["reader"]


def test_an_asynchronous_listener_is_refused() -> None:
    """Nobody would await it."""

    async def on_event(event: Event) -> None:
        """Never called."""

    class Listener:
        async def __call__(self, event: Event) -> None:
            """Never called either."""

    for listener in (on_event, Listener()):
        with pytest.raises(TypeError, match="on_event must be a synchronous function"):
            Scheduler(on_event=listener)
    with pytest.raises(TypeError, match="on_event must be callable"):
        Scheduler(on_event=3)  # type: ignore[arg-type]
