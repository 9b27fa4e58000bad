"""Random blocks over context managers of every sort: which errors must arrive at the host, and which cancellation.

A program holds context managers, in tasks of their own, as values or inline, in a scope, its children, the stages of a
connection, and blocks inside blocks; then the body is left in some way, and something happens meanwhile. A model says
what each of them makes of what is in flight, and so what the host must see: the planned errors, and every cancellation
that was meant for it, once, as its requester knows it. Each is left once, in reverse order, one after the other.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings

from lifecycle import OwnerClosed, Scope, Stages, TaskCancelled, connect
from lifecycle.testing import Bubble, run_virtual

from ..leaves import leaves
from ..loops import run_on
from .at_length import on_every_loop_at_length
from .held_model import (
    Block,
    Flight,
    Held,
    Items,
    Nested,
    Program,
    blocks_of,
    event_of,
    expected,
    may_lose_its_message,
    programs,
    target_of,
    times,
)
from .held_sorts import BLOCKS, SORTS, TICK, WAITS, WAYS, Planned, Played, Watched


async def fail() -> None:
    raise Planned("task")


@asynccontextmanager
async def breaking(now: asyncio.Event) -> Any:
    """Fail while it is held, when the time has come."""

    async def fail_then() -> None:
        await now.wait()
        raise Planned("task")

    async with anyio.create_task_group() as group:
        group.start_soon(fail_then)
        try:
            yield
        finally:
            group.cancel_scope.cancel()


class Play:
    """One program while it runs, hosted by the calling task.

    Args:
        program: the program.
        interrupt: requests a native cancellation of the host; by default with the message "mine".
    """

    def __init__(self, program: Program, interrupt: Callable[[], object] | None = None) -> None:
        host: Any = asyncio.current_task()
        self.program = program
        self.blocks = blocks_of(program)
        self.played = Played(self.strike_at_exit)
        self.scopes: dict[int, Scope] = {}
        self.caught: list[BaseException] = []
        self.now = asyncio.Event()
        self.due = self.happened = 0  # how often the event has been set off, and has come
        self.move_on = anyio.CancelScope()
        self.timeout = asyncio.timeout(None)
        self.interrupt = interrupt or (lambda: host.cancel("mine"))
        self.message = "" if interrupt else "mine"

    # What it holds

    async def take(self, owner: Any, items: Items) -> None:
        for item in items:
            if isinstance(item, Held):
                cm = SORTS[item.sort](item.number, self.played, owner)
                await WAYS[item.way](owner, Watched(cm, item.number, self.played))
            else:
                await self.take(owner.child(), item)

    def block(self, depth: int) -> AbstractAsyncContextManager[Any]:
        """Return the block at *depth*, which takes in what it holds."""
        block = self.blocks[depth]
        match block.kind:
            case "scope":
                return self.scope_block(depth, block)
            case "stages":

                async def connector(stages: Stages) -> None:
                    await self.take(stages, block.items)

                return connect(connector)
            case _:
                return BLOCKS[block.kind](block.number)

    @asynccontextmanager
    async def scope_block(self, depth: int, block: Block) -> Any:
        async with Scope(f"block {depth}") as scope:
            self.scopes[depth] = scope
            await self.take(scope, block.items)
            yield

    # What happens

    def strike_at_exit(self) -> None:
        if (self.program.moment == "exit" or self.happened) and self.due < times(self.program):
            self.due += 1
            asyncio.get_running_loop().call_soon(self.happen)

    def happen(self) -> None:
        self.happened += 1
        loop = asyncio.get_running_loop()
        target = self.scopes[target_of(self.program, self.blocks)]
        match event_of(self.program, self.happened):
            case "native" | "twice" | "loop ends":
                self.interrupt()
            case "move_on_after" | "fail_after":
                self.move_on.deadline = loop.time()
            case "timeout":
                self.timeout.reschedule(loop.time())
            case "cancel":
                target.cancel()
            case "task fails":
                with suppress(OwnerClosed):
                    target.start_soon(fail)
            case "held fails":
                self.now.set()
            case "child fails":
                with suppress(OwnerClosed):
                    target.child().start_soon(fail)

    # The host

    async def run(self) -> None:
        """Run the program as the host, and keep what it meets."""
        try:
            await self.run_bounded()
        except BaseException as error:
            self.caught.append(error)
        for _ in range(2):  # a cancellation that came together with an error is delivered at the next wait
            try:
                await asyncio.sleep(3 * TICK)
            except asyncio.CancelledError as error:
                self.caught.append(error)

    async def run_bounded(self) -> None:
        """Run it inside of what may cancel it from outside."""
        event = self.program.event
        async with self.timeout if event == "timeout" else nullcontext():
            with self.move_on if event in ("move_on_after", "fail_after") else nullcontext():
                await self.run_blocks(0)
                await asyncio.sleep(0)  # what is left to be delivered is delivered inside of a deadline
        if event == "fail_after" and self.move_on.cancelled_caught:
            raise TimeoutError

    async def run_blocks(self, depth: int) -> None:
        if depth == len(self.blocks):
            await self.run_body()
            return
        async with self.block(depth):
            await self.run_blocks(depth + 1)

    async def run_body(self) -> None:
        program = self.program
        if program.event == "held fails":
            await self.scopes[target_of(program, self.blocks)].enter(breaking(self.now))
        if program.end == "return":
            return
        if program.end == "raise":
            raise Planned("body")
        if program.moment == "exit" or program.event == "nothing":
            await asyncio.sleep(TICK)
            return
        self.due += 1
        asyncio.get_running_loop().call_later(TICK, self.happen)
        try:
            await WAITS[program.wait](self.scopes[max(self.scopes)])
        except asyncio.CancelledError:
            if program.end == "swallow":
                return
            if program.end == "fail then":
                raise Planned("body") from None
            raise


async def run_program(program: Program) -> None:
    async def hosted() -> Play:
        await asyncio.sleep(0)  # an eager task runs before its creator has it
        play = Play(program)
        await play.run()
        return play

    task = asyncio.create_task(hosted())
    await asyncio.wait([task])
    play = task.result()
    check(program, expected(program), play, asked=task.cancelling())


def check(program: Program, flight: Flight, play: Play, *, asked: int) -> None:
    """Compare what the host has met with what the model says."""
    found = [leaf for error in play.caught for leaf in leaves(error)]
    errors = Counter[object](leaf.args[0] for leaf in found if isinstance(leaf, Planned))
    errors += Counter("cancelled" for leaf in found if isinstance(leaf, TaskCancelled))
    assert errors == flight.errors, (errors, flight.errors)
    cancellations = [leaf for leaf in found if isinstance(leaf, asyncio.CancelledError)]
    event = program.event if flight.happened else "nothing"
    if event in ("native", "twice", "both"):
        assert len(cancellations) == ("outside" in flight.requests)
        if not may_lose_its_message(program):
            assert {str(error) for error in cancellations} <= {play.message}
        assert play.happened == flight.happened
        assert asked == (max(0, flight.happened - 1) if event == "both" else flight.happened)
    else:
        assert not cancellations
        assert asked == 0
    if event in ("move_on_after", "fail_after"):
        assert play.move_on.cancelled_caught is (not flight.errors)
    late = [error for error in found if isinstance(error, TimeoutError)]
    times_out = event == "fail_after" or (event == "timeout" and "outside" in flight.requests)
    assert len(late) == (times_out and not flight.errors)
    assert len(found) == sum(errors.values()) + len(cancellations) + len(late), found
    check_order(play.played.log)


def check_order(log: list[tuple[str, int]]) -> None:
    """Each has been left once, in reverse order, when the one before it had been."""
    entered = [number for what, number in log if what == "+"]
    left = [(what, number) for what, number in log if what != "+"]
    assert left == [(what, number) for number in reversed(entered) for what in ("-", ".")], log


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs)
def test_the_host_sees_what_was_meant_for_it(program: Program) -> None:
    """In virtual time, where also nothing may be left behind."""

    async def scenario(bubble: Bubble) -> None:
        await run_program(program)

    run_virtual(scenario)


@pytest.mark.parametrize("between", ["scope", "stages", *BLOCKS])
@pytest.mark.parametrize("wait", sorted(WAITS))
def test_a_request_comes_while_what_a_scope_has_ended_still_closes(wait: str, between: str) -> None:
    """In every kind of block, with the message that it was made with."""

    async def scenario(bubble: Bubble) -> None:
        layers = (Nested(between), Nested("scope"), Held("slow", "enter"))
        await run_program(Program(layers, "wait", wait, "both", "body", outermost=True))

    run_virtual(scenario)


@on_every_loop_at_length(20_000, programs)
def test_the_host_sees_what_was_meant_for_it_on_every_loop(new_loop: Any, program: Program) -> None:
    """The same, twenty thousand times on each kind of loop."""
    run_on(new_loop, run_program(program))


def signal_interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@on_every_loop_at_length(5_000, programs.map(lambda program: replace(program, event="native")))
def test_ctrl_c_is_a_keyboard_interrupt(new_loop: Any, program: Program) -> None:
    """The signal cancels the main task; if that is what it ends with, asyncio raises a KeyboardInterrupt."""

    async def main() -> None:
        play = Play(program, signal_interrupt)
        await play.run()
        check(program, expected(program), play, asked=asyncio.current_task().cancelling())  # type: ignore[union-attr]
        for error in play.caught:
            if isinstance(error, asyncio.CancelledError):
                raise error

    with pytest.raises(KeyboardInterrupt) if expected(program).requests else nullcontext():
        run_on(new_loop, main())


@on_every_loop_at_length(
    5_000, programs.map(lambda program: replace(program, event="loop ends", end="wait", moment="body"))
)
def test_each_is_left_once_when_the_loop_ends(new_loop: Any, program: Program) -> None:
    """Its end cancels every task there is, those that hold something as well, all at once."""
    logs: list[list[tuple[str, int]]] = []

    async def main() -> None:
        over = asyncio.Event()

        async def host() -> None:
            play = Play(program, over.set)
            logs.append(play.played.log)
            await play.run()

        task = asyncio.create_task(host())
        await over.wait()
        del task

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    [log] = logs
    entered = Counter(number for what, number in log if what == "+")
    assert Counter(number for what, number in log if what == ".") == entered, log
    assert set(entered.values()) <= {1}, log
