"""Random blocks over context managers of every sort: which errors must arrive at the host, and which cancellation.

A program holds context managers, entered in tasks of their own or inline, in one scope, its children and blocks inside
blocks; then the body is left in some way. A model says what each of them makes of what is in flight, and so what the
host must see: the planned errors, and every cancellation that was meant for it, once, as its requester knows it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import Scope, TaskCancelled
from lifecycle.testing import Bubble, run_virtual

from ..exits import Grouping, Plain, Reraising, Suppressing, client
from ..loops import LOOPS, run_on

TICK = 0.001


class Planned(Exception):
    """An error that a program plans; its number says which."""


# The sorts


class Cancelled(Plain):
    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        raise asyncio.CancelledError("its own")


class Failing(Plain):
    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        raise Planned(self.number)


class Slow(Plain):
    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        await asyncio.sleep(2 * TICK)
        return None


@asynccontextmanager
async def self_cancelling(number: int) -> AsyncIterator[None]:
    with anyio.CancelScope() as scope:
        try:
            yield
        finally:
            scope.cancel()


def asyncio_group(number: int) -> asyncio.TaskGroup:
    return asyncio.TaskGroup()


def inner_scope(number: int) -> Scope:
    return Scope(f"held {number}")


SORTS: dict[str, Callable[[int], AbstractAsyncContextManager[Any]]] = {
    "plain": Plain,  # type: ignore[dict-item]
    "re-raising": Reraising,  # type: ignore[dict-item]
    "grouping": Grouping,  # type: ignore[dict-item]
    "suppressing": Suppressing,  # type: ignore[dict-item]
    "cancelled": Cancelled,  # type: ignore[dict-item]
    "failing": Failing,  # type: ignore[dict-item]
    "slow": Slow,  # type: ignore[dict-item]
    "anyio client": client,
    "self-cancelling": self_cancelling,
    "asyncio group": asyncio_group,
    "scope": inner_scope,
}


@dataclass(frozen=True)
class Held:
    """One context manager: its sort, how it is entered, and the number of its error."""

    sort: str
    how: str
    number: int = 0


@dataclass(frozen=True)
class Nested:
    """A child scope of the scope at hand, or a block inside its body, which the rest of the program is in."""

    kind: str


@dataclass(frozen=True)
class Program:
    """What is held, how the innermost body ends, and what happens to it while it waits."""

    layers: tuple[Held | Nested, ...]
    end: str
    event: str


helds = st.builds(Held, st.sampled_from(sorted(SORTS)), st.sampled_from(["enter", "enter", "enter_async_context"]))
nesteds = st.builds(Nested, st.sampled_from(["child", "block"]))
EVENTS = ["nothing", "native", "twice", "move_on_after", "timeout", "cancel", "task fails"]
programs = st.builds(
    Program,
    st.lists(st.one_of(helds, helds, helds, nesteds), max_size=6).map(tuple),
    st.sampled_from(["wait", "wait", "wait", "return", "raise"]),
    st.sampled_from(EVENTS),
)


#: These hold scopes of the task that enters them, and so must be left there; and a group that is left with an error
#: swallows a native cancellation that it meets while it waits. So they are inline in a block by itself only.
BOUND_TO_TASK = {"anyio client", "asyncio group", "self-cancelling"}

Items = list[Any]  # of a scope, oldest first: a Held, or the items of a child


def blocks_of(program: Program) -> list[Items]:
    """Return what the scope of each block holds, outermost block first."""
    blocks: list[Items] = [[]]
    items = blocks[0]
    by_itself = not any(isinstance(layer, Nested) for layer in program.layers)
    for number, layer in enumerate(program.layers):
        if isinstance(layer, Held):
            inline = by_itself or layer.sort not in BOUND_TO_TASK
            if layer.sort == "cancelled":  # whose it was cannot be said where the host's has been swallowed, or is due
                inline = by_itself and not may_be_swallowed(program)
            how = layer.how if inline else "enter"
            items.append(Held(layer.sort, how, number))
        elif layer.kind == "child":
            items.append([])
            items = items[-1]
        else:
            blocks.append([])
            items = blocks[-1]
    return blocks


# The model


@dataclass
class Flight:
    """What is in flight while a scope closes: its errors, and whether the host is being cancelled.

    ``asked`` says that there has been a request, suppressed or not; ``level`` that it comes back at the next wait,
    whoever swallows it, as anyio's does.
    """

    errors: Counter[object] = field(default_factory=Counter)
    cancelled: bool = False
    asked: bool = False
    level: bool = False

    def leave(self, held: Held) -> None:
        """Say what the exit of *held* makes of it."""
        inline = held.how != "enter"
        match held.sort:
            case "suppressing" if self.errors:
                self.errors.clear()
            case "suppressing" if inline:
                self.cancelled = False
            case "cancelled" | "anyio client" if inline and self.asked:
                self.cancelled = True  # what an asked host raises inline is its cancellation
            case "cancelled" if self.errors or not self.cancelled:
                self.errors["cancelled"] += 1
            case "failing":
                self.errors[held.number] += 1
            case "slow" if inline and self.level:
                self.cancelled = True

    def close(self, items: Items) -> None:
        """Leave *items*, newest first; a child closes by itself, and knows nothing of what is in flight."""
        for item in reversed(items):
            if isinstance(item, Held):
                self.leave(item)
            else:
                child = Flight()
                child.close(item)
                self.errors += child.errors


def expected(program: Program) -> Flight:
    """Return what must reach the host of *program*."""
    happens = program.end == "wait" and program.event != "nothing"
    flight = Flight(level=happens and program.event == "move_on_after")
    flight.cancelled = flight.asked = happens
    if program.end == "raise":
        flight.errors["body"] += 1
    blocks = blocks_of(program)
    for depth in reversed(range(len(blocks))):
        if depth == 0 and happens and program.event in ("cancel", "task fails"):
            flight.cancelled = flight.asked = False  # it was the interruption by this very scope
            if program.event == "task fails":
                flight.errors["task"] += 1
        flight.close(blocks[depth])
    return flight


# The program


async def take(scope: Scope, items: Items) -> None:
    for item in items:
        if isinstance(item, Held):
            await getattr(scope, item.how)(SORTS[item.sort](item.number))
        else:
            await take(scope.child(), item)


async def fail() -> None:
    raise Planned("task")


async def host(program: Program, blocks: list[Items], ready: Callable[[Scope], None]) -> None:
    """Run the blocks of *program* in each other; the innermost body ends as planned."""
    outermost: list[Scope] = []

    async def block(depth: int) -> None:
        async with Scope() as scope:
            outermost.append(scope)
            await take(scope, blocks[depth])
            if depth + 1 < len(blocks):
                await block(depth + 1)
                return
            ready(outermost[0])
            if program.end == "wait":
                await asyncio.sleep(60 if program.event != "nothing" else TICK)
            elif program.end == "raise":
                raise Planned("body")

    await block(0)
    await asyncio.sleep(0)  # what is left to be delivered is delivered inside of a deadline


async def run_program(program: Program) -> None:
    loop = asyncio.get_running_loop()
    blocks = blocks_of(program)
    caught: list[BaseException] = []

    def ready(scope: Scope) -> None:
        if program.end != "wait":
            return
        match program.event:
            case "native" | "twice":
                loop.call_later(TICK, task.cancel, "mine")
                if program.event == "twice":
                    loop.call_later(2 * TICK, task.cancel, "mine")
            case "cancel":
                loop.call_later(TICK, scope.cancel)
            case "task fails":
                scope.start_soon(fail)
            case "move_on_after":
                move_on.deadline = loop.time() + TICK
            case "timeout":
                timeout.reschedule(loop.time() + TICK)

    move_on, timeout = anyio.CancelScope(), asyncio.timeout(None)

    async def hosted() -> None:
        await asyncio.sleep(0)  # an eager task runs before its creator has it
        try:
            if program.event == "move_on_after":
                with move_on:
                    await host(program, blocks, ready)
            elif program.event == "timeout":
                async with timeout:
                    await host(program, blocks, ready)
            else:
                await host(program, blocks, ready)
        except BaseException as error:
            caught.append(error)
        for _ in range(2):  # a cancellation that came together with an error is delivered at the next wait
            try:
                await asyncio.sleep(3 * TICK)
            except asyncio.CancelledError as error:
                caught.append(error)

    task = asyncio.create_task(hosted())
    await asyncio.wait([task])
    check(program, expected(program), caught, moved_on=move_on.cancelled_caught, asked=task.cancelling())


def check(program: Program, flight: Flight, caught: list[BaseException], *, moved_on: bool, asked: int) -> None:
    found = [leaf for error in caught for leaf in leaves(error)]
    errors = Counter[object](leaf.args[0] for leaf in found if isinstance(leaf, Planned))
    errors += Counter("cancelled" for leaf in found if isinstance(leaf, TaskCancelled))
    assert errors == flight.errors, (errors, flight.errors)
    cancellations = [leaf for leaf in found if isinstance(leaf, asyncio.CancelledError)]
    happens = program.end == "wait"
    if happens and program.event == "native":
        assert len(cancellations) == flight.cancelled
        if not may_lose_its_message(program):
            assert {str(error) for error in cancellations} <= {"mine"}
        assert asked == 1
    elif happens and program.event == "twice":
        assert asked == 2
    else:
        assert not cancellations
        assert asked == 0
    if happens and program.event == "move_on_after":
        assert moved_on is (not flight.errors)
    late = [error for error in found if isinstance(error, TimeoutError)]
    assert len(late) == (happens and program.event == "timeout" and flight.cancelled and not flight.errors)
    assert len(found) == sum(errors.values()) + len(cancellations) + len(late), found


def may_be_swallowed(program: Program) -> bool:
    """Whether an inline exit may have swallowed the request, so that what comes later says something else."""
    return is_inline(program, "suppressing")


def may_lose_its_message(program: Program) -> bool:
    """Whether the request may come without its message: a group of asyncio's repeats it so since 3.13."""
    return may_be_swallowed(program) or is_inline(program, "asyncio group")


def is_inline(program: Program, sort: str) -> bool:
    return any(isinstance(layer, Held) and layer.how != "enter" and layer.sort == sort for layer in program.layers)


def leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs)
def test_the_host_sees_what_was_meant_for_it(program: Program) -> None:
    """In virtual time, where also nothing may be left behind."""

    async def scenario(bubble: Bubble) -> None:
        await run_program(program)

    run_virtual(scenario)


@pytest.mark.nightly
@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs)
def test_the_host_sees_what_was_meant_for_it_on_every_loop(new_loop: Any, program: Program) -> None:
    """The same, twenty thousand times on each kind of loop."""
    run_on(new_loop, run_program(program))
