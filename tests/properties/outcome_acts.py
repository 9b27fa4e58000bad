"""What the handlers of random outcome programs do: good deeds, bad ones, and those that may be either."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections import Counter
from typing import Any

import anyio

from lifecycle.scheduler import Context
from lifecycle.scheduler._work.handlers import HandlerTable, make_handler

LONG = 60.0

GOOD = frozenset({"fine", "slow", "logs", "spawns", "leaks", "own timeout", "thread fine", "thread logs"})
"""These return their number."""

FORKS = {
    "forks": {0}, "forks, raises": {70}, "forks, exits": {3}, "forks, awaits": {70},
    "forks in a task": {0, 70},  # an eager one is a part of the handler's step
    "thread forks": {0}, "thread forks, raises": {70}, "thread forks, exits": {3},
}  # fmt: skip
"""These do as well, in the parent, if the child has ended with such an exit code: where the handler's code ended."""

BAD = frozenset({
    "raises", "group", "mute", "cancels itself", "watchdog", "child cancels", "thread cancels", "cancels at the end",
    "swallows", "cancels its scope", "cancels its scope at the end", "cancelled future", "raises a cancellation",
    "exits", "interrupts", "closes", "odd", "scope task fails", "again and again", "wait_for", "leaks a scope",
    "thread raises", "thread raises a cancellation", "thread exits", "thread interrupts", "no plain value", "too much",
})  # fmt: skip
"""These can only fail."""

RETURNS = frozenset({"swallows", "cancels at the end", "cancels its scope at the end"})
"""Of these, those that return nevertheless."""

HANGS = frozenset({"hangs", "thread hangs"})
"""These only fail when they are asked to end."""

EITHER = frozenset({"late", "swallows the end"})
"""Whether these, or what comes after them, fail is a question of the moment."""


IN_THREADS = frozenset({
    "thread fine", "thread logs", "thread forks", "thread forks, raises", "thread forks, exits",
    "thread raises", "thread raises a cancellation", "thread exits",
    "thread interrupts", "thread hangs",
})  # fmt: skip
"""These are done by worker threads."""


WITH_CONTEXT = frozenset({
    "logs", "spawns", "forks in a task", "cancels its scope", "cancels its scope at the end", "scope task fails",
})  # fmt: skip
"""These need a context; the others are done with one, and without."""


class Odd(BaseException):
    """What is no `Exception`."""


class Mute(Exception):
    """Whose message ends the process."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


tried: Counter[int] = Counter()
"""How often the flaky ones were called, by their numbers."""

leaked: set[asyncio.Task[Any]] = set()


def _me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def act_alone(kind: str, number: int) -> Any:
    """Do what needs no context, without one: there is no scope around this."""
    return await act(kind, number, None)  # type: ignore[arg-type]


async def act(kind: str, number: int, context: Context) -> Any:
    """Do what *kind* says, and return *number* if that is good."""
    _stray()
    loop, me = asyncio.get_running_loop(), _me()
    match kind:
        case "fine":
            pass
        case "slow":
            await asyncio.sleep(0.001)
            _stray()
        case "logs":
            context.log("x" * 100)
            context.progress(1, 2)
            print("printed")
        case "spawns":
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            context.scope.start_soon(anyio.sleep, LONG)
        case "leaks":
            task = loop.create_task(asyncio.sleep(0.002))
            leaked.add(task)
            task.add_done_callback(leaked.discard)
        case "own timeout":
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(LONG)
            except TimeoutError:
                pass
            with anyio.move_on_after(0.001):
                await anyio.sleep(LONG)
        case "forks" | "forks, raises" | "forks, exits":
            _fork(kind)
        case "forks, awaits":
            if _forked(kind):
                await asyncio.sleep(0)
        case "forks in a task":
            await context.scope.start_soon(_fork_in_a_task, kind)
        case "raises":
            raise ValueError("raised")
        case "group":
            raise BaseExceptionGroup("several", [ValueError("one"), Odd()])
        case "cancels itself":
            me.cancel()
            await asyncio.sleep(LONG)
        case "watchdog":
            loop.call_later(0.001, me.cancel)
            await asyncio.sleep(LONG)
        case "child cancels":
            async with asyncio.TaskGroup() as group:
                group.create_task(_cancel(me))
                await asyncio.sleep(LONG)
        case "thread cancels":
            other = threading.Thread(target=loop.call_soon_threadsafe, args=(me.cancel,))
            other.start()
            try:
                await asyncio.sleep(LONG)
            finally:
                other.join()  # it has asked, and may not have ended
        case "cancels at the end":
            me.cancel()
        case "swallows":
            me.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(LONG)
        case "cancels its scope":
            context.scope.cancel("enough")
            await asyncio.sleep(LONG)
        case "cancels its scope at the end":
            context.scope.cancel("enough")
        case "cancelled future":
            future = loop.create_future()
            future.cancel()
            await future
        case "raises a cancellation":
            raise asyncio.CancelledError
        case "exits":
            sys.exit(number)
        case "interrupts":
            raise KeyboardInterrupt
        case "closes":
            raise GeneratorExit
        case "odd":
            raise Odd
        case "mute":
            raise Mute
        case "scope task fails":
            context.scope.start_soon(_fail)
            await asyncio.sleep(LONG)
        case "again and again":
            _cancel_for_ever(loop, me)
            await asyncio.sleep(LONG)
        case "wait_for":
            await asyncio.wait_for(_cancel_and_sleep(), LONG)
        case "leaks a scope":
            anyio.CancelScope().__enter__().cancel()
            await anyio.sleep(LONG)
        case "no plain value":
            return object()
        case "too much":
            return "x" * 2_000_000
        case "hangs":
            await asyncio.sleep(LONG)
        case "flaky":
            tried[number] += 1
            if tried[number] == 1:
                me.cancel()
                await asyncio.sleep(LONG)
        case "late":
            loop.call_soon(lambda: loop.call_soon(me.cancel))
        case "swallows the end":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.02)
        case _:
            raise AssertionError(kind)
    return number


def _stray() -> None:
    """End a child that has come to what is its parent's."""
    if os.getpid() != _process:
        os._exit(99)


_process = os.getpid()


def _forked(kind: str) -> bool:
    """Go on in a child as well, and return whether this is the child; in the parent wait for how that ends."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in FORKS[kind]:
            raise ChildProcessError(f"the child ended with {code}")
    return not child


def _fork(kind: str) -> None:
    if _forked(kind):
        if kind.endswith("raises"):
            raise ValueError("raised")
        if kind.endswith("exits"):
            sys.exit(3)


async def _fork_in_a_task(kind: str) -> None:
    _fork(kind)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


async def _cancel_and_sleep() -> None:
    _me().cancel()
    await asyncio.sleep(LONG)


async def _fail() -> None:
    raise ValueError("in a task")


def _cancel_for_ever(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    if task.cancel():
        loop.call_later(0.0002, _cancel_for_ever, loop, task)


def act_in_thread(kind: str, number: int, context: Context) -> int:
    """Do the same in a worker thread."""
    _stray()
    match kind:
        case "thread fine":
            pass
        case "thread logs":
            context.log("x" * 100)
        case "thread forks" | "thread forks, raises" | "thread forks, exits":
            _fork(kind)
        case "thread raises":
            raise ValueError("raised")
        case "thread raises a cancellation":
            raise asyncio.CancelledError
        case "thread exits":
            sys.exit(number)
        case "thread interrupts":
            raise KeyboardInterrupt
        case "thread hangs":
            while not context.stopping:
                time.sleep(0.001)
            raise ValueError("stopped")
        case _:
            raise AssertionError(kind)
    return number


def handlers() -> HandlerTable:
    """Return both, by the names that flows call them by."""
    table = HandlerTable()
    table.add(make_handler(act, "act"))
    table.add(make_handler(act_alone, "act alone"))
    table.add(make_handler(act_in_thread, "thread"))
    return table
