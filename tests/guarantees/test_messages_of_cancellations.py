"""Guarantee 20: a cancellation from outside keeps its message, whoever else ends what is still closing.

A table: an outer block interrupts the inner one, which closes slowly; while it does, somebody else cancels the host.
What was meant for the inner block is taken back by the outer one. What was meant for the host leaves both, with the
message that its requester gave, also where a release fails as well: at the next suspension then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from lifecycle import Scope, TaskGroup

from ..loops import on_every_loop, run_on
from .inner_blocks import FOREVER, INNER, TOLD_ELSEWHERE, Inner, Stage


async def turns() -> None:
    """Let the loop turn oftener than any of these blocks needs to come to where it waits: there are 10,000 rows."""
    for _ in range(12):
        await asyncio.sleep(0)


# The outer block: interrupts the inner one, and takes that back.


@asynccontextmanager
async def cancelled_scope(stage: Stage) -> AsyncIterator[None]:
    async with Scope() as outer:
        stage.interrupt = lambda: outer.cancel("ours")
        yield


@asynccontextmanager
async def cancelled_group(stage: Stage) -> AsyncIterator[None]:
    async with TaskGroup() as outer:
        stage.interrupt = lambda: outer.cancel("ours")
        yield


async def fail(when: asyncio.Event) -> None:
    await when.wait()
    raise ValueError("outer")


@asynccontextmanager
async def scope_with_a_failing_task(stage: Stage) -> AsyncIterator[None]:
    async with Scope() as outer:
        interrupted = asyncio.Event()
        stage.interrupt = interrupted.set
        outer.start_soon(fail, interrupted)
        yield


@asynccontextmanager
async def group_with_a_failing_task(stage: Stage) -> AsyncIterator[None]:
    async with TaskGroup() as outer:
        interrupted = asyncio.Event()
        stage.interrupt = interrupted.set
        outer.start_soon(fail, interrupted)
        yield


@asynccontextmanager
async def timeout(stage: Stage) -> AsyncIterator[None]:
    async with asyncio.timeout(FOREVER) as outer:
        stage.interrupt = lambda: outer.reschedule(0.0)
        yield


@asynccontextmanager
async def anyio_scope(stage: Stage) -> AsyncIterator[None]:
    with anyio.CancelScope() as outer:
        stage.interrupt = outer.cancel
        yield


@asynccontextmanager
async def two_scopes(stage: Stage) -> AsyncIterator[None]:
    async with Scope() as outermost, Scope() as outer:
        stage.interrupt = lambda: (outer.cancel("ours"), outermost.cancel("ours, too"))
        yield


OUTER = {
    outer.__name__.replace("_", " "): outer
    for outer in (
        cancelled_scope,
        cancelled_group,
        scope_with_a_failing_task,
        group_with_a_failing_task,
        timeout,
        anyio_scope,
        two_scopes,
    )
}

#: Which of them raise an error of their own, and what.
RAISES = {
    "scope with a failing task": ValueError,
    "group with a failing task": ValueError,
    "timeout": TimeoutError,
}

#: The errors that must not be lost, and in which rows they are met.
DUE: list[tuple[str, Callable[[str, str, bool], bool]]] = [
    ("inner", lambda inner, outer, fails: fails and inner not in TOLD_ELSEWHERE),
    ("outer", lambda inner, outer, fails: RAISES.get(outer) is ValueError),
]


# The foreign request


@dataclass
class Foreign:
    """A request to cancel the host, from outside of both blocks.

    Args:
        around: what stands around both blocks; gets the host, and arms the request.
        between: the same, between the two.
        message: what the host has to see leave, or to meet at its next suspension; None for nothing.
        requests: how many requests the host is left with.
        raises: what the block around makes of it, where no error goes through it.
    """

    around: Callable[[Stage, asyncio.Task[Any]], AbstractAsyncContextManager[None]]
    between: Callable[[Stage, asyncio.Task[Any]], AbstractAsyncContextManager[None]]
    message: str | None
    requests: int
    raises: type[BaseException] | None = None


@asynccontextmanager
async def nothing(stage: Stage, host: asyncio.Task[Any]) -> AsyncIterator[None]:
    yield


def asks(*messages: str) -> Callable[[Stage, asyncio.Task[Any]], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def around(stage: Stage, host: asyncio.Task[Any]) -> AsyncIterator[None]:
        stage.hit = lambda: [host.cancel(message) for message in messages]
        yield

    return around


@asynccontextmanager
async def timed(stage: Stage, host: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Time is up, and after that whoever else asks does it."""
    async with asyncio.timeout(FOREVER) as block:
        others = stage.hit
        stage.hit = lambda: (block.reschedule(0.0), others())
        yield


@asynccontextmanager
async def scoped(stage: Stage, host: asyncio.Task[Any]) -> AsyncIterator[None]:
    with anyio.CancelScope() as scope:
        others = stage.hit
        stage.hit = lambda: (scope.cancel(), others())
        yield


FOREIGN = {
    "a request": Foreign(asks("because"), nothing, "because", 1),
    "two requests": Foreign(asks("because", "again"), nothing, "because", 2),
    "a timeout": Foreign(timed, nothing, None, 0, TimeoutError),
    "an anyio scope": Foreign(scoped, nothing, None, 0),
    "a request after a timeout in between": Foreign(asks("because"), timed, "because", 1),
    "a request after an anyio scope in between": Foreign(asks("because"), scoped, "because", 1),
}


# The rows


def is_in(error: BaseException | None, words: str) -> bool:
    """Return whether a ``ValueError`` of *words* is *error*, or is in its group, its causes and contexts."""
    unseen: list[BaseException | None] = [error]
    seen: set[int] = set()
    while unseen:
        found = unseen.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, ValueError) and str(found) == words:
            return True
        unseen += [found.__cause__, found.__context__]
        unseen += [*getattr(found, "exceptions", ()), *getattr(found, "rollback_errors", ())]
    return False


async def before_the_interruption(stage: Stage) -> None:
    stage.hit()
    stage.interrupt()
    await stage.closing.wait()
    stage.goes_on.set()


async def with_the_interruption(stage: Stage) -> None:
    stage.interrupt()
    stage.hit()
    await stage.closing.wait()
    stage.goes_on.set()


async def while_it_closes(stage: Stage) -> None:
    stage.interrupt()
    await stage.closing.wait()
    await turns()
    stage.hit()
    await turns()
    stage.goes_on.set()


def after_it_goes_on(number: int) -> Callable[[Stage], Awaitable[None]]:
    async def drive(stage: Stage) -> None:
        stage.interrupt()
        await stage.closing.wait()
        await turns()
        stage.goes_on.set()
        for _ in range(number):
            await asyncio.sleep(0)
        stage.hit()

    return drive


MOMENTS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "before the interruption": before_the_interruption,
    "with the interruption": with_the_interruption,
    "while it closes": while_it_closes,
    **{f"{turns} turns after it goes on": after_it_goes_on(turns) for turns in range(3)},
}


def moments_of(inner: str, outer: str, foreign: str) -> list[str]:
    """Return the moments at which *foreign* can be told from the interruption, and meets all of the blocks."""
    if foreign != "a request" or inner == "scope closed by hand":  # which is not told what its block was left by
        return ["while it closes"]
    merged = {"with the interruption"} if outer == "anyio scope" else set()  # what anyio makes of it has its own words
    return [moment for moment in MOMENTS if moment not in merged]


async def drive(stage: Stage, moment: str) -> None:
    await stage.opened.wait()
    await turns()
    await MOMENTS[moment](stage)


async def host(stage: Stage, inner: Inner, outer: str, request: Foreign) -> tuple[BaseException | None, Any, int]:
    """Run one row; return what left the blocks, what was met at the next suspension, and the requests counted."""
    task = asyncio.current_task()
    assert task is not None
    left: BaseException | None = None
    met: BaseException | None = None
    try:
        async with request.around(stage, task), OUTER[outer](stage), request.between(stage, task):
            await inner(stage)
    except BaseException as error:
        left = error
    if not isinstance(left, asyncio.CancelledError):
        try:
            await turns()
        except asyncio.CancelledError as error:
            met = error
    requests = task.cancelling()
    for _ in range(requests):
        task.uncancel()
    await turns()  # nothing more comes
    return left, met, requests


async def faults_of(inner: str, outer: str, foreign: str, moment: str, *, fails: bool) -> list[str]:
    """Run one row; return what is wrong with it."""
    stage, request = Stage(fails), FOREIGN[foreign]
    driver = asyncio.create_task(drive(stage, moment))
    task = asyncio.create_task(host(stage, INNER[inner], outer, request))
    _, hanging = await asyncio.wait([task, driver], timeout=10.0)
    assert not hanging, (inner, outer, foreign, moment, fails)
    left, met, requests = task.result()
    faults = []
    errors = [words for words, is_due in DUE if is_due(inner, outer, fails)]
    faults += [f"{words} is lost" for words in errors if not is_in(left, words)]
    arrived = left if isinstance(left, asyncio.CancelledError) else met
    if request.message is None and arrived is not None:
        faults.append(f"nothing was meant for the host, and it met {arrived!r}")
    elif request.message is not None and (arrived is None or arrived.args != (request.message,)):
        faults.append(f"the host met {arrived!r}")
    if requests != request.requests:
        faults.append(f"{requests} requests are counted")
    if not errors:
        expected = request.raises or (asyncio.CancelledError if request.message is not None else RAISES.get(outer))
        if (left or met) is None if expected else left is not None:
            faults.append(f"{left!r} leaves")
    return faults


@on_every_loop
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_a_foreign_cancellation_arrives_as_requested(new_loop: Any, inner: str, outer: str) -> None:
    """With its message, once, counted once, beside whatever error there is."""

    async def main() -> None:
        rows = {
            (foreign, moment, fails): await faults_of(inner, outer, foreign, moment, fails=fails)
            for foreign in FOREIGN
            for moment in moments_of(inner, outer, foreign)
            for fails in (False, True)
        }
        assert {row: faults for row, faults in rows.items() if faults} == {}

    run_on(new_loop, main())


@on_every_loop
@pytest.mark.parametrize("outer", ["cancelled scope", "two scopes"])
def test_a_cancelled_anyio_scope_outlasts_the_interruption(new_loop: Any, outer: str) -> None:
    """An exit meets it in the body of the outer block; what leaves that is the scope's, which catches its own."""

    async def main() -> None:
        stage = Stage(fails=False)

        async def inner(stage: Stage) -> None:
            async with Scope() as scope:
                scope.push_async_exit(stage.close)  # in the host
                await stage.stay()

        driver = asyncio.create_task(drive(stage, "while it closes"))
        left, met, requests = await host(stage, inner, outer, FOREIGN["an anyio scope"])
        await driver
        assert (left, met, requests) == (None, None, 0)

    run_on(new_loop, main())
