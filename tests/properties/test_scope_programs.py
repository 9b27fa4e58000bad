"""Random programs on a scope: whatever happens to them, the account closes.

A program is a list of steps: acquire, register, enter, spawn, open a child, hand over, wait, fail; something may happen
to its body meanwhile: a native cancellation, one by an anyio scope, ``scope.cancel()``, a close by somebody else, a
handover. Every thing writes a diary; afterwards the diary must show that all that was opened was released, once, newest
first. The heirs are closed in the end, some of them only after their tasks have ended by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import OwnerClosed, ReleaseTimeout, Scope
from lifecycle.testing import Bubble, run_virtual

from ..leaves import leaves
from .at_length import at_length

CLOSE_TIMEOUT = 5.0
STUCK = 20.0  # seconds for which a stuck release ignores its cancellation
LONG = 50.0  # seconds that the longest task takes


class Planned(Exception):
    """An error that a program plans; its number says which."""


#: The number of the errors of all that was never made: the caller catches them, or, if it was interrupted in the same
#: moment, the close raises them.
UNMADE = -1


@dataclass
class Diary:
    """What happened, in order: ``(moment, thing)``."""

    entries: list[tuple[str, int]] = field(default_factory=list)
    errors: set[int] = field(default_factory=set)
    homes: dict[int, Scope] = field(default_factory=dict)
    stuck: set[int] = field(default_factory=set)
    over: set[int] = field(default_factory=set)  # tasks that came to their end by themselves
    refused: set[int] = field(default_factory=set)  # never in a ledger: their step failed, as the scope was closing
    heirs: list[tuple[Scope, float]] = field(default_factory=list)  # and for how long each is left alone
    count: int = 0

    def new(self, scope: Scope) -> int:
        self.count += 1
        self.homes[self.count] = scope
        return self.count

    def hand_over(self, scope: Scope, patience: float) -> None:
        heir = scope.pop_all()
        assert scope.statistics().live == 0
        self.heirs.append((heir, patience))
        self.homes.update({thing: heir for thing, home in self.homes.items() if home is scope})

    def note(self, moment: str, thing: int) -> None:
        self.entries.append((moment, thing))

    def error(self, thing: int) -> Planned:
        self.errors.add(thing)
        return Planned(thing)

    def position(self, moment: str, thing: int) -> int | None:
        found = [at for at, entry in enumerate(self.entries) if entry == (moment, thing)]
        assert len(found) <= 1, f"{moment} {thing} happened {len(found)} times"
        return found[0] if found else None


delays = st.sampled_from([0.0, 0.0, 0.1, 1.0])
endings = st.sampled_from(["well", "well", "well", "badly", "stuck"])

makes = st.tuples(st.just("acquire"), delays, st.sampled_from(["well", "well", "late", "badly"]), delays, endings)
callbacks = st.tuples(st.just("callback"), delays, endings)
at_once = st.tuples(st.sampled_from(["sync callback", "sync acquire"]), st.sampled_from(["well", "badly"]))
starts = st.sampled_from(["well", "badly"])
enters = st.tuples(st.sampled_from(["enter", "enter inline"]), delays, starts, delays, endings)
spawns = st.tuples(st.just("spawn"), st.sampled_from([0.0, 0.3, LONG]), delays, endings)
waits = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.2, 2.0]))
patiences = st.sampled_from([0.0, LONG + 2 * STUCK])
hand_overs = st.tuples(st.just("hand over"), patiences)
steps = st.one_of(makes, callbacks, at_once, enters, spawns, waits, hand_overs)
children = st.tuples(st.just("child"), st.lists(steps, max_size=4))
programs = st.lists(st.one_of(steps, steps, steps, children), max_size=8)
happenings = st.none() | st.tuples(
    st.sampled_from(
        ["cancel", "cancel twice", "anyio cancel", "scope.cancel", "aclose elsewhere", "timeout", "hand over"]
    ),
    st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0]),
)
ends = st.sampled_from(["fall through", "wait", "raise"])


async def end(diary: Diary, thing: int, delay: float, ending: str) -> None:
    """Release a thing: takes its time, and ends as planned."""
    diary.note("release", thing)
    try:
        if ending == "stuck":
            diary.stuck.add(thing)
            await ignore_cancellation(STUCK)
        elif delay:
            await asyncio.sleep(delay)
        if ending == "badly":
            raise diary.error(thing)
    finally:
        diary.note("released", thing)


def end_at_once(diary: Diary, thing: int, ending: str) -> None:
    """Release a thing without waiting."""
    diary.note("release", thing)
    diary.note("released", thing)
    if ending == "badly":
        raise diary.error(thing)


async def ignore_cancellation(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        try:
            await asyncio.sleep(until - loop.time())
        except asyncio.CancelledError:
            continue


class Thing:
    """A context manager that writes into the diary."""

    def __init__(self, diary: Diary, scope: Scope, step: tuple[Any, ...]) -> None:
        self.diary, self.thing = diary, diary.new(scope)
        _, self.delay, self.start, self.end_delay, self.ending = step

    async def __aenter__(self) -> Thing:
        await asyncio.sleep(self.delay)
        if self.start == "badly":
            raise Planned(UNMADE)
        self.diary.note("open", self.thing)
        return self

    async def __aexit__(self, *details: object) -> None:
        await end(self.diary, self.thing, self.end_delay, self.ending)


async def work(diary: Diary, thing: int, seconds: float, clean_up: float, ending: str) -> None:
    try:
        await asyncio.sleep(seconds)
        diary.over.add(thing)
    finally:
        await end(diary, thing, clean_up, ending)


async def play(scope: Scope, program: list[tuple[Any, ...]], diary: Diary) -> None:
    """Run the steps of a program in the body of *scope*."""
    for step in program:
        try:
            await play_step(scope, step, diary)
        except BaseException as error:
            if step[0] not in ("wait", "child", "hand over"):
                diary.refused.add(diary.count)
            if not isinstance(error, OwnerClosed) and not (isinstance(error, Planned) and error.args == (-1,)):
                raise
        check_account(scope)


async def play_step(scope: Scope, step: tuple[Any, ...], diary: Diary) -> None:
    match step:
        case ("acquire", delay, start, end_delay, ending):
            thing = diary.new(scope)

            async def make() -> int:
                await asyncio.sleep(delay)
                if start == "badly":
                    raise Planned(UNMADE)
                if start == "late":  # as a call in a worker thread: it cannot be cancelled
                    with anyio.CancelScope(shield=True):
                        await asyncio.sleep(1)
                diary.note("open", thing)
                return thing

            await scope.acquire(make, release=lambda thing: end(diary, thing, end_delay, ending))
        case ("callback", delay, ending):
            thing = diary.new(scope)
            diary.note("open", thing)
            scope.push_async_callback(end, diary, thing, delay, ending)
        case ("sync callback", ending):
            thing = diary.new(scope)
            diary.note("open", thing)
            scope.callback(end_at_once, diary, thing, ending)
        case ("sync acquire", ending):
            thing = diary.new(scope)

            def make_at_once() -> int:
                diary.note("open", thing)
                return thing

            await scope.acquire(make_at_once, release=lambda thing: end_at_once(diary, thing, ending))
        case ("enter", *_):
            await scope.enter(Thing(diary, scope, step))
        case ("enter inline", delay, start, end_delay, ending):
            calm = "well" if ending == "stuck" else ending  # the weaker promise: it cannot be abandoned
            await scope.enter_async_context(Thing(diary, scope, ("", delay, start, end_delay, calm)))
        case ("spawn", seconds, clean_up, ending):
            thing = diary.new(scope)
            diary.note("open", thing)
            try:
                scope.start_soon(work, diary, thing, seconds, clean_up, ending)
            except OwnerClosed:
                diary.note("release", thing)
                diary.note("released", thing)
                raise
        case ("child", program):
            await play(scope.child(), program, diary)
        case ("hand over", patience):
            diary.hand_over(scope, patience)
        case ("wait", seconds):
            await asyncio.sleep(seconds)


def check_account(scope: Scope) -> None:
    statistics = scope.statistics()
    assert statistics.opened == statistics.live + statistics.released, statistics


def check_diary(diary: Diary) -> None:
    """All that was opened was released once, and what a scope took in newest first."""
    opened = [thing for moment, thing in diary.entries if moment == "open"]
    for thing in opened:
        assert diary.position("release", thing) is not None, f"{thing} was never released: {diary.entries}"
        assert diary.position("released", thing) is not None
    for older, newer in pairs(opened):
        if diary.homes[older] is not diary.homes[newer] or newer in diary.refused:
            continue
        began = diary.position("release", older)
        done = diary.position("release" if newer in diary.stuck else "released", newer)
        born = diary.position("open", newer)
        assert began is not None
        assert done is not None
        assert born is not None
        in_order = done < began or began < born or older in diary.over
        assert in_order, f"{older} before {newer}: {diary.entries}"


def pairs(things: list[int]) -> Iterator[tuple[int, int]]:
    for index, older in enumerate(things):
        for newer in things[index + 1 :]:
            yield older, newer


async def run_program(
    bubble: Bubble, program: list[tuple[Any, ...]], happening: tuple[str, float] | None, ending: str
) -> None:
    diary = Diary()
    loop = asyncio.get_running_loop()
    host: asyncio.Task[Any] | None = None
    scope = Scope("program", close_timeout=CLOSE_TIMEOUT)
    caught: list[BaseException] = []

    async def body() -> None:
        async with scope:
            await play(scope, program, diary)
            if ending == "wait":
                await asyncio.sleep(4)
            elif ending == "raise":
                raise diary.error(0)

    async def hosted() -> None:
        try:
            if happening and happening[0] == "timeout":
                async with asyncio.timeout(happening[1]):
                    await body()
            elif happening and happening[0] == "anyio cancel":
                with anyio.move_on_after(happening[1]):
                    await body()
            else:
                await body()
        except BaseException as error:
            caught.append(error)
        try:  # a cancellation that came together with an error is delivered at the next wait
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            caught.append(error)

    async def close_elsewhere() -> None:
        try:
            await scope.aclose()
        except BaseException as error:
            caught.append(error)

    def hand_over() -> None:
        with contextlib.suppress(OwnerClosed):
            diary.hand_over(scope, 0.0)

    host = asyncio.create_task(hosted())
    requests: list[bool] = []
    closers: list[asyncio.Task[None]] = []
    if happening:
        kind, moment = happening
        actions = {
            "cancel": lambda: requests.append(host.cancel()),
            "cancel twice": lambda: (requests.append(host.cancel()), loop.call_later(0.1, host.cancel)),
            "scope.cancel": lambda: scope.cancel("planned"),
            "hand over": hand_over,
            "aclose elsewhere": lambda: closers.append(asyncio.create_task(close_elsewhere())),
        }
        if kind in actions:
            loop.call_later(moment, actions[kind])
    await asyncio.wait([host])
    if closers:
        await asyncio.wait(closers)
    assert scope.closed
    check_account(scope)
    assert scope.statistics().live == 0, scope.statistics()
    await close_heirs(diary, caught)
    await asyncio.sleep(STUCK * 20)  # whatever was abandoned ends now
    for late in {home for home in diary.homes.values() if home.closed}:
        # What was offered to a closed scope was released by a close of its own; who asks gets its error.
        try:
            await late.aclose()
        except BaseException as error:
            caught.append(error)
    check_diary(diary)
    check_errors(diary, caught)
    cancellations = [error for error in caught if isinstance(error, asyncio.CancelledError)]
    if happening is None or happening[0] == "cancel":
        assert len(cancellations) == sum(requests), f"{len(cancellations)} of {sum(requests)} requests were raised"
    elif happening[0] == "cancel twice":
        assert len(cancellations) >= sum(requests)
    else:
        assert not cancellations


async def close_heirs(diary: Diary, caught: list[BaseException]) -> None:
    for heir, patience in diary.heirs:
        check_account(heir)
        if patience:
            await asyncio.sleep(patience)
            assert heir.statistics().tasks == 0, heir.statistics()
            check_account(heir)
        try:
            await heir.aclose()
        except BaseException as error:
            caught.append(error)
        assert heir.statistics().live == 0, heir.statistics()
        check_account(heir)


def check_errors(diary: Diary, caught: list[BaseException]) -> None:
    """No error was lost, and none was raised twice; every stuck thing was named."""
    found = [leaf for error in caught for leaf in leaves(error)]
    planned = [leaf.args[0] for leaf in found if isinstance(leaf, Planned) and leaf.args[0] != UNMADE]
    assert len(planned) == len(set(planned)), planned
    assert set(planned) == diary.errors, (planned, diary.errors, diary.entries)
    timeouts = [leaf for leaf in found if isinstance(leaf, ReleaseTimeout)]
    assert len(timeouts) <= len(diary.stuck)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs, happenings, ends)
def test_the_account_of_every_program_closes(
    program: list[tuple[Any, ...]], happening: tuple[str, float] | None, ending: str
) -> None:
    """Opened equals released, nothing twice, strict reverse order, no error lost, no task left."""
    run_virtual(lambda bubble: run_program(bubble, program, happening, ending))


@at_length(20_000, programs, happenings, ends)
def test_the_account_of_every_program_closes_at_length(
    program: list[tuple[Any, ...]], happening: tuple[str, float] | None, ending: str
) -> None:
    """Twenty thousand programs."""
    run_virtual(lambda bubble: run_program(bubble, program, happening, ending))
