"""Requests: an owner ends what is inside of it, and somebody else cancels the host before that has come to its end."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import anyio

from lifecycle import Registry, Scope

from ._table import scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lifecycle.testing import Bubble

    Inside = Callable[["Slow"], Awaitable[None]]

OURS, THEIRS = "the owner's", "the other's"


class Slow:
    """What ends slowly, perhaps with an error."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails

    async def end(self, *_: object) -> None:
        await asyncio.sleep(0.05)
        if self.fails:
            raise ValueError("while it ends")

    async def run(self) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await self.end()


class Words:
    """What the host is told, by us and by what strikes it."""

    def __init__(self) -> None:
        self.asked = False
        self.host: asyncio.Task[object] | None = None

    def ask(self) -> None:
        """Cancel the host natively: also where it is in a shield."""
        if self.host is not None:
            self.asked = self.host.cancel(THEIRS)

    def check(self, error: asyncio.CancelledError) -> None:
        """Of several requests the host may meet either; one together with an anyio scope's has the words of that."""
        assert self.host is not None
        if self.asked and self.host.cancelling() == 1:
            assert error.args not in ((), (OURS,)), f"the host met {error!r}"


async def in_a_scope(slow: Slow) -> None:
    async with Scope("inside") as inside:
        inside.push_async_callback(slow.end)
        await asyncio.sleep(60)


async def in_a_timeout(slow: Slow) -> None:
    async with asyncio.timeout(0.005):
        await in_a_scope(slow)


async def being_made(slow: Slow) -> None:
    async with Scope("inside") as inside:
        await inside.acquire(slow.run)


async def being_created(slow: Slow) -> None:
    async with Registry[str, None]() as values:
        await values.get_or_create("key", slow.run)


async def check_words(inside: Inside, *, delay: float, fails: bool) -> None:
    """Have *inside* ended by the block around it, and its host cancelled *delay* seconds later."""
    outer, words = Scope("outer"), Words()

    async def host() -> None:
        words.host = asyncio.current_task()
        try:
            try:
                async with outer:
                    await inside(Slow(fails=fails))
            except ValueError:
                await asyncio.sleep(60)  # at which the request arrives
        except asyncio.CancelledError as error:
            words.check(error)
            raise

    async with Scope("hosts") as hosts:
        hosting = hosts.start_soon(host)
        await asyncio.sleep(0.01)
        outer.cancel(OURS)
        if delay:
            await asyncio.sleep(delay)
        words.ask()
        await hosting.wait()


@scenario
async def requested_while_it_closes(bubble: Bubble) -> None:
    """In the step of the interruption, while it closes, and in the step of its end."""
    for delay, fails in itertools.product((0, 0.02, 0.05), (False, True)):
        await check_words(in_a_scope, delay=delay, fails=fails)
    await check_words(in_a_timeout, delay=0.02, fails=False)


@scenario
async def requested_while_it_is_left(bubble: Bubble) -> None:
    """What was being made is waited for as well."""
    await check_words(being_made, delay=0.02, fails=False)
    await check_words(being_created, delay=0.02, fails=False)


@scenario
async def requested_beside_an_error(bubble: Bubble) -> None:
    """The interruption of the block around is due once more; the request comes just before."""
    outer, words = Scope("outer"), Words()

    async def host() -> None:
        words.host = asyncio.current_task()
        try:
            async with outer:
                try:
                    await in_a_scope(Slow(fails=True))
                except ValueError:
                    words.ask()
                    await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            words.check(error)
            raise

    async with Scope("hosts") as hosts:
        hosting = hosts.start_soon(host)
        await asyncio.sleep(0.01)
        outer.cancel(OURS)
        await hosting.wait()


@scenario
async def requested_by_a_scope(bubble: Bubble) -> None:
    """An exit in the host meets the cancelled scope around; it is in the words by which that knows it."""
    outer, around = Scope("outer"), anyio.CancelScope()
    task = asyncio.current_task()
    assert task is not None

    async def strike() -> None:
        await asyncio.sleep(0.01)
        outer.cancel(OURS)
        await asyncio.sleep(0.02)
        around.cancel()

    async with Scope("strikers") as strikers:
        strikers.start_soon(strike)
        try:
            with around:
                async with outer, Scope("inside") as inside:
                    inside.push_async_exit(Slow(fails=False).end)
                    await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert task.cancelling() > 0, "what was the scope's has left it"
            raise
