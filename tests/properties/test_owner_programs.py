"""Random programs on every owner: its block ends somehow, what it holds ends badly, and cancellations come meanwhile.

Whatever the program, no error is lost and none is raised twice, a native cancellation leaves the host once and one by
a scope or a timeout never, ``Task.cancelling()`` is exact, the close ends in time, nothing is left in the loop, and its
exception handler has nothing to report.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import Pool, ReaderWorker, Registry, Scope, TaskGroup, TaskManager, connect, link
from lifecycle.testing import Bubble, run_virtual

from ..leaves import leaves
from .at_length import at_length

STUCK = 200.0  # seconds after which a thing ends that ignores all its cancellations
LONG = 1000.0


class Planned(Exception):
    """An error that a program plans; its argument says which."""


class PlannedExit(BaseException):
    """The same, and not an Exception."""


@dataclass(frozen=True)
class Thing:
    """Something owned: how many cancellations it ignores, how long its end takes, whether it fails, when it ends."""

    ignores: int
    delay: float
    fails: bool
    life: float


things = st.builds(
    Thing, st.sampled_from([0, 0, 1, 2, 99]), st.sampled_from([0.0, 0.25]), st.booleans(), st.sampled_from([0.5, LONG])
)
bodies = st.sampled_from(
    ["return", "raise", "exit", "generator exit", "cancel", "swallow", "fail late", "scope", "timeout", "fall through"]
)
kicks = st.lists(
    st.tuples(st.sampled_from(["native", "native", "scope"]), st.sampled_from([0.5, 1.0, 1.1, 1.5, 3.0, 7.0])),
    max_size=2,
)
bounds = st.sampled_from([None, 0.0, 0.5, 5.0])


@dataclass
class Record:
    """What a program planned, and what became of it."""

    planned: set[str] = field(default_factory=set)
    caught: list[BaseException] = field(default_factory=list)
    escaped: list[BaseException] = field(default_factory=list)
    left_at: float = 0.0
    over_at: float = 0.0

    def error(self, name: str, kind: type[BaseException] = Planned) -> BaseException:
        self.planned.add(name)
        return kind(name)


async def end(record: Record, name: str, thing: Thing, ignored: int = 0) -> None:
    """End a thing, as it does."""
    loop = asyncio.get_running_loop()
    until = loop.time() + (STUCK if thing.ignores > ignored else thing.delay)
    while (left := until - loop.time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            ignored += 1
            if ignored > thing.ignores:
                raise
    if thing.fails:
        raise record.error(name)


async def live(record: Record, name: str, thing: Thing) -> None:
    """Run until it is cancelled, or comes to its end by itself."""
    try:
        await asyncio.sleep(thing.life)
    except asyncio.CancelledError:
        if not (thing.ignores or thing.delay or thing.fails):
            raise
        await end(record, name, thing, ignored=1)
        return
    if thing.fails:
        raise record.error(name)


Body = Callable[[], Awaitable[None]]
Use = Callable[[Record, list[Thing], float | None, Body], Awaitable[None]]


async def use_scope(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    async with Scope("owner", close_timeout=bound) as scope:
        for number, thing in enumerate(things):
            if number % 2:
                scope.child().push_async_callback(end, record, f"release {number}", thing)
            else:
                scope.start_soon(live, record, f"task {number}", thing)
        await body()


async def use_manager(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    async with TaskManager("owner", drain_timeout=1.0, cancel_timeout=bound) as manager:
        for number, thing in enumerate(things):
            manager.start_soon(live, record, f"task {number}", thing)
        await body()


async def use_group(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    async with TaskGroup(name="owner", close_timeout=bound) as group:
        for number, thing in enumerate(things):
            if thing.ignores or thing.delay:  # what one raises that was abandoned goes to the loop's exception handler
                thing = replace(thing, fails=False)
            if number % 2:
                group.create_task(live(record, f"task {number}", thing))
            else:
                group.start_soon(live, record, f"task {number}", thing)
        await body()


async def use_registry(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    async def finalize(value: tuple[int, Thing]) -> None:
        await end(record, f"value {value[0]}", value[1])

    async with Registry[int, tuple[int, Thing]]("owner", finalizer=finalize, close_timeout=bound) as registry:
        for number, thing in enumerate(things):
            registry.put(number, (number, thing))
        await body()


async def use_pool(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    rest = enumerate(things)

    async def destroy(value: tuple[int, Thing]) -> None:
        await end(record, f"value {value[0]}", value[1])

    async with Pool(lambda: next(rest), destroy, max_size=5, close_timeout=bound, name="owner") as pool:
        loans = [pool.try_acquire() for _ in things]
        for loan in loans:
            with loan:
                pass
        await body()


def loops_of(record: Record, things: list[Thing]) -> list[Callable[..., Awaitable[None]]]:
    reader, worker, closing = (*things, *[Thing(0, 0.0, False, LONG)] * 3)[:3]
    return [
        lambda *_: live(record, "reader", reader),
        lambda *_: live(record, "worker", worker),
        lambda: end(record, "close", closing),
    ]


async def use_pair(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    reader, worker, close = loops_of(record, things)
    async with ReaderWorker(reader, worker, close=close, drain_timeout=1.0, close_timeout=bound, name="owner"):  # type: ignore[arg-type]
        await body()


async def use_link(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    _, worker, close = loops_of(record, things)
    outcome = await link(body, worker, close=close, close_timeout=bound, name="owner")  # type: ignore[arg-type]
    if outcome.errors:
        raise BaseExceptionGroup("outcome", outcome.errors)


async def use_connect(record: Record, things: list[Thing], bound: float | None, body: Body) -> None:
    async def connector(stages: Any) -> None:
        for number, thing in enumerate(things):
            await stages.acquire(
                lambda: None, release=lambda _, n=number, t=thing: end(record, f"stage {n}", t), name=f"stage {number}"
            )

    async with connect(connector, close_timeout=bound, name="owner"):
        await body()


OWNERS: dict[str, Use] = {
    "scope": use_scope,
    "manager": use_manager,
    "group": use_group,
    "registry": use_registry,
    "pool": use_pool,
    "pair": use_pair,
    "link": use_link,
    "connect": use_connect,
}


async def run_body(record: Record, kind: str) -> None:
    try:
        await asyncio.sleep(0.01)
        match kind:
            case "return":
                return
            case "raise":
                raise record.error("body")
            case "exit":
                raise record.error("body", PlannedExit)
            case "generator exit":
                raise GeneratorExit
        try:
            await asyncio.sleep(1.3 if kind == "fall through" else LONG)
        except asyncio.CancelledError:
            if kind == "swallow":
                return
            if kind == "fail late":
                raise record.error("body") from None
            raise
    finally:
        record.left_at = asyncio.get_running_loop().time()


async def run_program(
    bubble: Bubble, use: Use, kind: str, owned: list[Thing], bound: float | None, kicks: list[tuple[str, float]]
) -> None:
    record = Record()
    loop = asyncio.get_running_loop()
    scopes: list[anyio.CancelScope] = []
    requests: list[float] = []

    async def inside() -> None:
        run = use(record, owned, bound, lambda: run_body(record, kind))
        if kind == "scope":
            with anyio.move_on_after(1):
                await run
        elif kind == "timeout":
            async with asyncio.timeout(1):
                await run
        else:
            await run

    async def host() -> None:
        try:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                try:
                    await inside()
                except BaseException as error:
                    record.caught.append(error)
                    if isinstance(error, asyncio.CancelledError):
                        raise
                finally:
                    record.over_at = loop.time()
                await asyncio.sleep(0.0001)  # a cancellation that came together with an error
        except BaseException as error:
            record.escaped.append(error)
        try:
            await asyncio.sleep(0.0001)
        except BaseException as error:
            record.escaped.append(error)

    task = asyncio.create_task(host())

    def kick(by: str) -> None:
        if record.over_at or not scopes:
            return
        if by == "scope":
            scopes[0].cancel()
        elif task.cancel():
            requests.append(loop.time())

    for by, moment in [*([("native", 1.0)] if kind in ("cancel", "swallow", "fail late") else []), *kicks]:
        loop.call_later(moment, kick, by)
    await asyncio.wait([task])
    cancelling = task.cancelling()
    await asyncio.sleep(4 * STUCK)  # whatever was abandoned ends now
    swallowed = [moment for moment in requests if moment <= record.left_at] if kind in ("swallow", "fail late") else []
    check_cancellations(record, len(requests) - len(swallowed), len(requests), cancelling)
    check_errors(record)
    joins = use is use_group and kind in ("return", "swallow", "fall through")  # for as long as it takes
    if bound is not None and not joins:
        longest = 1.0 + (len(owned) + 1) * (2 * bound + min(1.0, bound) + 0.25) + 1.0
        assert record.over_at - record.left_at <= longest, (record.left_at, record.over_at)


def check_cancellations(record: Record, asked: int, counted: int, cancelling: int) -> None:
    """A native request leaves the host, one that others take back does not, and the count is exact.

    One that the body has swallowed may leave it as well: a task group goes by the count, as asyncio's does.
    """
    cancellations = [error for error in record.escaped if isinstance(error, asyncio.CancelledError)]
    assert cancellations or not asked, record
    assert len(cancellations) <= counted, record
    assert cancelling == counted, record


def check_errors(record: Record) -> None:
    """What was planned was raised once, or told; the body's is raised."""
    raised = [
        leaf.args[0] for error in record.caught for leaf in leaves(error) if isinstance(leaf, Planned | PlannedExit)
    ]
    assert len(raised) == len(set(raised)), record
    told = [leaf.args[0] for error in logged_errors() for leaf in leaves(error) if isinstance(leaf, Planned)]
    assert record.planned <= {*raised, *told}, record
    assert "body" not in record.planned or "body" in raised, record
    assert not set(raised) & set(told), record


def logged_errors() -> Iterator[BaseException]:
    for entry in CAPTURED:
        assert getattr(entry, "owner", None) is not None, entry
        if entry.exc_info and entry.exc_info[1] is not None:
            yield entry.exc_info[1]


#: What the package has logged in the present program.
CAPTURED: list[logging.LogRecord] = []


class Capture(logging.Handler):
    """Keeps the records of one program."""

    def emit(self, record: logging.LogRecord) -> None:
        CAPTURED.append(record)


def play(owner: str, kind: str, owned: list[Thing], bound: float | None, kicks: list[tuple[str, float]]) -> None:
    handler = Capture()
    logger = logging.getLogger("lifecycle")
    logger.addHandler(handler)
    CAPTURED.clear()
    try:
        run_virtual(lambda bubble: run_program(bubble, OWNERS[owner], kind, owned, bound, kicks))
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("owner", OWNERS)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies, st.lists(things, max_size=3), bounds, kicks)
def test_every_owner_tells_what_became_of_what_it_held(
    owner: str, kind: str, owned: list[Thing], bound: float | None, kicks: list[tuple[str, float]]
) -> None:
    """Errors and cancellations, whatever comes when."""
    play(owner, kind, owned, bound, kicks)


@pytest.mark.parametrize("owner", OWNERS)
@at_length(4000, bodies, st.lists(things, max_size=3), bounds, kicks)
def test_thousands_of_programs(
    owner: str, kind: str, owned: list[Thing], bound: float | None, kicks: list[tuple[str, float]]
) -> None:
    """The same, at length."""
    play(owner, kind, owned, bound, kicks)
