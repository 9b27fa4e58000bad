"""Explorations: what is struck, what counts as wrong, and that a report leads back to its run."""

import asyncio
import contextlib
import random
import time
from typing import Any

import anyio
import pytest

from lifecycle import Registry, TaskManager, fixed_rate
from lifecycle.testing import (
    Bubble,
    ExplorationReport,
    LeakError,
    ReplayError,
    explore_cancellation,
    explore_schedules,
    replay,
)
from lifecycle.testing.faults import (
    CANCEL,
    CANCEL_BEFORE_START,
    CANCEL_SCOPE,
    CANCEL_TWICE,
    KILL_TRANSPORT,
    RAISE_OS_ERROR,
    RAISES,
    TIMEOUT,
)
from lifecycle.testing.orders import RandomWalk


async def three_sleeps(bubble: Bubble) -> None:
    for _ in range(3):
        await asyncio.sleep(1)


async def released_on_success_only(bubble: Bubble) -> None:
    token = bubble.ledger.acquire("connection", owner="client")
    await asyncio.sleep(1)
    token.release()


async def released_always(bubble: Bubble) -> None:
    with bubble.ledger.acquire("connection", owner="client"):
        await asyncio.sleep(1)


def runs_of(report: ExplorationReport) -> dict[str, int]:
    return {fault: runs for fault, (runs, _) in report.by_fault.items()}


def test_every_boundary_is_struck_once_per_fault() -> None:
    """Three sleeps: one boundary before the start, three per sleep (before the jump, the timer, the task)."""
    report = explore_cancellation(three_sleeps, faults=[CANCEL, CANCEL_BEFORE_START, RAISE_OS_ERROR])
    assert report.points == 10
    assert runs_of(report) == {"no fault": 2, "cancel": 9, "cancel before start": 1, "raise OSError": 3}
    assert report.fired == 13
    report.assert_clean()


def test_a_correct_scenario_survives_everything() -> None:
    """No false alarm: tasks in groups of both libraries, locks, queues, shields, and resources released."""

    async def scenario(bubble: Bubble) -> None:
        lock = asyncio.Lock()
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def member(name: str) -> None:
            with bubble.ledger.acquire(name):
                async with lock:
                    await asyncio.sleep(1)
                queue.put_nowait(1)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(member(str(number)))
        async with anyio.create_task_group() as nested:
            for number in range(3):
                nested.start_soon(member, str(number))
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)

    report = explore_cancellation(scenario, schedules=2)
    assert report.points > 50
    report.assert_clean()


def test_a_failure_says_everything_that_is_needed() -> None:
    """Fault, point, call chain, what was left and where it was made, and a token that replays it."""
    report = explore_cancellation(released_on_success_only, faults=[CANCEL])
    failure = report.failures[0]
    assert (failure.fault, failure.target, failure.point) == ("cancel", "main", 1)
    assert "released_on_success_only" in failure.chain
    assert "asyncio/tasks.py" in failure.chain
    assert "'client / connection' made at testing/test_explore_cancellation.py" in failure.residue[0]
    again = replay(failure.token, released_on_success_only)
    assert again.failures == report.failures[:1]
    with pytest.raises(LeakError, match="client / connection"):
        report.assert_clean()


def test_a_token_finds_its_scenario_by_name() -> None:
    """A scenario at module level need not be given again."""
    token = explore_cancellation(released_on_success_only, faults=[CANCEL]).failures[0].token
    assert len(replay(token).failures) == 1


def test_a_token_that_does_not_fit_is_refused() -> None:
    """A changed scenario, a foreign version and nonsense are errors with a word, not silent successes."""
    token = explore_cancellation(released_on_success_only, faults=[CANCEL]).failures[-1].token
    with pytest.raises(ReplayError, match="other steps now"):
        replay(token[:-8] + "00000000", released_on_success_only)
    with pytest.raises(ReplayError, match="version"):
        replay(token.replace("lc1", "lc9"), released_on_success_only)
    with pytest.raises(ReplayError, match="not a replay token"):
        replay("nonsense")
    with pytest.raises(ReplayError, match="cannot be imported"):
        replay(token.replace("released_on", "vanished_on"))


def test_two_explorations_have_equal_digests() -> None:
    """Equal to the step, and different as soon as one step differs."""
    first, second = (explore_cancellation(released_always, schedules=3) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != explore_cancellation(three_sleeps, schedules=3).digest


def test_a_scenario_that_is_not_deterministic_is_refused() -> None:
    """State kept between runs makes the second survey differ from the first."""
    runs: list[int] = []

    async def scenario(bubble: Bubble) -> None:
        runs.append(1)
        for _ in runs:
            await asyncio.sleep(1)

    with pytest.raises(ReplayError, match="not deterministic"):
        explore_cancellation(scenario)


async def _swallows(bubble: Bubble) -> None:
    with contextlib.suppress(BaseException):
        await asyncio.sleep(1)


async def _leaves_a_task(bubble: Bubble) -> None:
    task = asyncio.create_task(asyncio.sleep(50), name="left")
    await asyncio.sleep(1)
    task.cancel()


async def _leaves_a_timer(bubble: Bubble) -> None:
    handle = asyncio.get_running_loop().call_later(50, print)
    await asyncio.sleep(1)
    handle.cancel()


async def _never_awaits(bubble: Bubble) -> None:
    coro = asyncio.sleep(1)
    await asyncio.sleep(1)
    await coro


async def _releases_twice(bubble: Bubble) -> None:
    token = bubble.ledger.acquire("twice")
    try:
        await asyncio.sleep(1)
    except BaseException:
        token.release()
        raise
    finally:
        token.release()


async def _breaks_a_callback(bubble: Bubble) -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1, future.set_result, None)
    await future


async def _hangs(bubble: Bubble) -> None:
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def _asserts(bubble: Bubble) -> None:
    try:
        await asyncio.sleep(1)
    finally:
        assert bubble.clock.time() == 1


async def _loses_an_error(bubble: Bubble) -> None:
    async def child() -> None:
        raise KeyError("lost")

    task = asyncio.create_task(child())
    await asyncio.sleep(1)
    with pytest.raises(KeyError):
        await task


async def _hidden_in_a_cycle(bubble: Bubble) -> None:
    async def child() -> None:
        raise KeyError("hidden")

    task = asyncio.create_task(child())
    cycle: list[Any] = [task]
    cycle.append(cycle)
    await asyncio.sleep(1)
    task.exception()


@pytest.mark.parametrize(
    ("scenario", "word"),
    [
        (_swallows, "swallowed cancel: task 'main' returned"),
        (_leaves_a_task, "task 'left'"),
        (_leaves_a_timer, "timer at 50 s"),
        (_never_awaits, "never awaited"),
        (_releases_twice, "released 2 times"),
        (_breaks_a_callback, "InvalidStateError"),
        (_hangs, "DeadlockError"),
        (_asserts, "an assertion of the scenario failed"),
        (_loses_an_error, "exception was never retrieved"),
        (_hidden_in_a_cycle, "exception was never retrieved"),
    ],
)
def test_each_invariant_is_on(scenario: Any, word: str) -> None:
    """Each kind of residue is found by a plain cancel, and the run without a fault shows nothing."""
    report = explore_cancellation(scenario, faults=[CANCEL])
    assert report.by_fault["no fault"] == (2, 0)
    assert any(word in item for failure in report.failures for item in failure.residue)


def test_a_timeout_that_is_swallowed_is_found() -> None:
    """A task that goes on although its timeout has expired is wrong in its own words."""
    report = explore_cancellation(_swallows, faults=[TIMEOUT])
    assert any("swallowed timeout" in item for failure in report.failures for item in failure.residue)


def test_tasks_may_be_allowed_to_end_their_own_way() -> None:
    """A worker that ends quietly when it is cancelled can be declared."""

    async def scenario(bubble: Bubble) -> None:
        async def worker() -> None:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                return

        await asyncio.gather(asyncio.create_task(worker(), name="quiet"), return_exceptions=True)

    assert explore_cancellation(scenario, faults=[CANCEL]).failures
    explore_cancellation(scenario, faults=[CANCEL], may_swallow=["quiet"]).assert_clean()


def test_an_unshielded_clean_up_is_found_by_the_scope_and_by_the_second_cancel() -> None:
    """`finally: await` is safe from one native cancel only."""

    async def scenario(bubble: Bubble) -> None:
        token = bubble.ledger.acquire("connection")
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(0.1)
            token.release()

    failed = {
        fault.name: len(explore_cancellation(scenario, faults=[fault]).failures)
        for fault in (CANCEL, CANCEL_SCOPE, CANCEL_TWICE)
    }
    assert failed["cancel"] == 3  # the three points inside the clean-up itself
    assert failed["scope cancel"] == 5  # a scope does not reach a task that is about to continue anyway
    assert failed["cancel twice"] > failed["cancel"]


def test_pairs_find_what_single_cancels_do_not() -> None:
    """depth=2 strikes a second time at every later point."""

    async def scenario(bubble: Bubble) -> None:
        token = bubble.ledger.acquire("connection")
        closing = None
        try:
            await asyncio.sleep(1)
        finally:
            closing = asyncio.ensure_future(asyncio.sleep(1))
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                await closing
                token.release()
                raise
            token.release()

    single = explore_cancellation(scenario, faults=[CANCEL], targets="main")
    pairs = explore_cancellation(scenario, faults=[CANCEL], targets="main", depth=2)
    single.assert_clean()
    assert pairs.by_fault["cancel and cancel"][1] > 0
    assert replay(pairs.failures[0].token, scenario).failures


def test_raised_errors_strike_outside_waits_only() -> None:
    """A sleep can fail; waiting for a lock cannot, so nothing is raised there."""

    async def scenario(bubble: Bubble) -> None:
        lock = asyncio.Lock()

        async def other() -> None:
            async with lock:
                await asyncio.sleep(1)

        task = asyncio.create_task(other())
        try:
            await asyncio.sleep(0)
            async with lock:
                pass
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    report = explore_cancellation(scenario, faults=RAISES)
    assert runs_of(report)["raise OSError"] == 2
    report.assert_clean()


def test_siblings_are_targets_and_library_tasks_are_not() -> None:
    """A task asked for by the scenario is struck; one that a library makes for itself is not."""

    async def scenario(bubble: Bubble) -> None:
        async def child() -> None:
            await asyncio.sleep(1)

        task = asyncio.create_task(child(), name="asked for")
        await asyncio.wait_for(asyncio.shield(asyncio.sleep(0.5)), 5)
        await asyncio.gather(task, return_exceptions=True)

    report = explore_cancellation(scenario, faults=[CANCEL_SCOPE])
    assert report.targets == ["asked for", "main"]
    only = explore_cancellation(scenario, faults=[CANCEL_SCOPE], targets=["asked for"])
    assert only.targets == ["asked for"]
    assert only.points < report.points
    with pytest.raises(ValueError, match="targets='usr'"):
        explore_cancellation(scenario, targets="usr")
    with pytest.raises(ValueError, match="depth must be 1 or 2, got 3"):
        explore_cancellation(scenario, depth=3)  # type: ignore[arg-type]


async def two_tasks(bubble: Bubble) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1), name="reader")


def test_a_target_that_is_no_task_is_no_clean_report() -> None:
    """Misspelled, or renamed since: nothing was struck, and the report says which, and what there is."""
    report = explore_cancellation(two_tasks, faults=[CANCEL], targets=["reader", "raeder"])
    assert (report.failures, report.targets) == ([], ["reader"])
    with pytest.raises(LeakError, match="targets: no task was named 'raeder'; there were 'main', 'reader'"):
        report.assert_clean()
    report = explore_cancellation(two_tasks, faults=[CANCEL], targets=lambda task: False)
    with pytest.raises(LeakError, match=r"targets: .*<lambda>\(\) has wanted no task; there were 'main', 'reader'"):
        report.assert_clean()


def test_faults_without_a_place_are_no_clean_report() -> None:
    """There is no network in the scenario: nothing has been struck."""
    with pytest.raises(LeakError, match="the faults have found no place where they could strike"):
        explore_cancellation(two_tasks, faults=[KILL_TRANSPORT]).assert_clean()


def test_what_is_asked_for_is_read_once() -> None:
    """Names and faults may come from an iterator; every run has them."""
    names = (name for name in ["reader"])
    faults = (fault for fault in [CANCEL])
    report = explore_cancellation(two_tasks, faults=faults, targets=names, schedules=2)
    report.assert_clean()
    assert report.fired > report.points > 0
    with pytest.raises(ValueError, match="targets is empty"):
        explore_cancellation(two_tasks, targets=[])
    explore_cancellation(two_tasks, faults=[]).assert_clean()  # which asks for nothing but the runs without a fault


def test_then_runs_afterwards_in_the_same_world() -> None:
    """A check that the scenario's leftovers still work, never struck itself."""

    async def scenario(bubble: Bubble) -> None:
        bubble.state.lock = lock = asyncio.Lock()
        await lock.acquire()
        await asyncio.sleep(1)
        lock.release()

    async def usable(bubble: Bubble) -> None:
        async with asyncio.timeout(1):
            await bubble.state.lock.acquire()

    report = explore_cancellation(scenario, faults=[CANCEL], then=usable)
    assert len(report.failures) == 3
    assert "TimeoutError" in report.failures[0].residue[0]


def test_invariants_of_your_own_are_asked() -> None:
    """A string, False or an AssertionError is a complaint; anything else is not."""

    def balanced(bubble: Bubble) -> str | None:
        return None if bubble.clock.time() == 1 else f"ended at {bubble.clock.time()}"

    report = explore_cancellation(released_always, faults=[CANCEL], invariants=[balanced])
    assert report.failures[0].residue == ("invariant balanced: ended at 0.0",)


def test_a_budget_draws_a_sample_and_says_so() -> None:
    """Fewer runs than points: the rest is counted, never silently dropped."""
    report = explore_cancellation(three_sleeps, faults=[CANCEL], budget=5)
    assert (report.runs, report.skipped) == (5, 6)
    assert "not run for lack of budget: 6" in str(report)


def test_another_seed_draws_another_sample() -> None:
    """Those who run a part every time see all of it in the end; equal seeds draw the same."""
    digests = {
        seed: {explore_cancellation(three_sleeps, faults=[CANCEL], budget=5, seed=seed).digest for _ in range(2)}
        for seed in range(5)
    }
    assert {len(drawn) for drawn in digests.values()} == {1}
    assert len(set().union(*digests.values())) > 1


def test_stop_at_first_ends_early() -> None:
    """One failure is enough to know."""
    report = explore_cancellation(released_on_success_only, stop_at_first=True)
    assert len(report.failures) == 1
    assert report.first_failure is not None
    assert report.first_failure[0] == report.runs


async def lost_update(bubble: Bubble) -> None:
    counter = 0

    async def add() -> None:
        nonlocal counter
        before = counter
        await asyncio.sleep(0)
        counter = before + 1

    async def first_then_second() -> None:
        await add()

    async with asyncio.TaskGroup() as group:
        one = group.create_task(add())
        await one
        group.create_task(first_then_second())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await add()
    assert counter == 3


def test_schedules_find_a_race_that_the_usual_order_hides() -> None:
    """asyncio's own order never loses the update; some of the random ones do, and replay to the step."""
    report = explore_schedules(lost_update, RandomWalk(), runs=100)
    assert 0 < len(report.failures) < 100
    assert len(replay(report.failures[0].token).failures) == 1
    assert explore_schedules(lost_update, RandomWalk(), runs=100).digest == report.digest


def test_the_random_module_is_the_same_in_every_run() -> None:
    """Jitter, of ours or of yours, is not hidden nondeterminism; outside of the bubble nothing has been drawn."""

    async def scenario(bubble: Bubble) -> None:
        for _ in range(random.randrange(1000)):
            await asyncio.sleep(0)
        async with TaskManager() as jobs:
            jobs.start_soon(fixed_rate(_nothing, 1.0, jitter=0.5, max_runs=3))
            await asyncio.sleep(2.2)

    random.seed(1)
    expected = random.random()
    random.seed(1)
    explore_cancellation(scenario, faults=[CANCEL], budget=5)
    assert random.random() == expected


async def _nothing() -> None: ...


def test_a_machine_that_is_busy_does_not_change_a_run() -> None:
    """Where our own code measures how long it holds the loop, no time passes in a bubble."""
    runs = 0

    async def scenario(bubble: Bubble) -> None:
        nonlocal runs
        runs += 1

        def finalize(value: int) -> None:
            if runs % 2:
                time.sleep(0.0005)

        async with Registry[int, int](ttl=0.01, finalizer=finalize) as values:
            for number in range(40):
                values.put(number, number)
            await asyncio.sleep(0.05)

    explore_schedules(scenario, runs=2).assert_clean()
