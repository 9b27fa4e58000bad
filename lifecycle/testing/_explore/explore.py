"""Explorations: run a scenario, find every point where it can be struck, run it again for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ..._ground.checks import checked_callable, checked_count, checked_limit
from .._checks import checked_each, checked_kind, checked_names, checked_scenario, checked_seed
from .._errors import ReplayError
from .._loop.strategies import FIFO, RandomWalk, Strategy
from . import settings
from .explorer import Explorer
from .faults import DEFAULT, Fault
from .plan import Plan, find_scenario, parse_token
from .report import ExplorationReport
from .run import Check, Invariant, Rules, Scenario
from .survey import Targets, checked_targets


def explore_cancellation(
    scenario: Scenario,
    *,
    faults: Iterable[Fault] = DEFAULT,
    targets: Targets = "user",
    depth: Literal[1, 2] = 1,
    invariants: Sequence[Invariant] = (),
    then: Check | None = None,
    budget: int | None = None,
    schedules: int = 0,
    strategy: Strategy | None = None,
    seed: int = 0,
    may_swallow: Iterable[str] = (),
    stop_at_first: bool = False,
    io: bool = False,
    max_steps: int = 50_000,
) -> ExplorationReport:
    """Interrupt a scenario at every point, in every way, and see that nothing stays behind.

    A point is a boundary before a step of the loop, or before the clock jumps, at which a target task is not
    done. Each fault at each point is a run of its own, in a bubble of its own. After each run: the ledger is
    clean, no task, timer or connection is left, the cancelled task has ended cancelled, the loop's exception
    handler was not called, no coroutine was "never awaited".

    Args:
        scenario: ``async def scenario(bubble)``; it must make everything it uses inside.
        faults: what to inject.
        targets: ``"user"`` (the scenario and the tasks it asks for), ``"main"``, ``"all"`` (tasks that
            libraries make for themselves too: expect false alarms), task names, or a function of a task. The report
            is not clean if a name, or the function, has met no task.
        depth: 2 adds every pair of cancellations, for scenarios of up to 40 points.
        invariants: asked after each run with the bubble; ``False``, a string or an AssertionError fails it.
        then: a check that runs after the scenario in the same bubble and is never struck.
        budget: the most runs to make, drawn without replacement; the others are counted as skipped.
        schedules: how many runs with another order of ready tasks are struck at every point as well.
        strategy: how those orders are chosen; a random walk unless said otherwise.
        seed: of those orders, and of the draw.
        may_swallow: names of tasks that may end their own way when they are cancelled.
        stop_at_first: end with the first failure.
        io: allow real descriptors; slower, and not deterministic.
        max_steps: step budget of one run.

    Returns:
        The report; call its ``assert_clean()``.

    Raises:
        ReplayError: the scenario is not deterministic: two equal runs took different steps.
        ValueError: *depth* is neither 1 nor 2, *targets* is another word than these three, or empty, a number is out of
            range.
        TypeError: an argument is of the wrong type.
    """
    checked_scenario(scenario)
    faults, targets = checked_faults(faults), checked_targets(targets)
    if depth not in (1, 2) or isinstance(depth, (bool, float)):
        raise ValueError(f"depth must be 1 or 2, got {depth!r}")
    rules = rules_of(then, invariants, may_swallow, targets, io, max_steps)
    checked_limit(budget, what="budget", least=0)
    checked_count(schedules, "schedules")
    strategy = checked_strategy(strategy)
    base = settings.seed(checked_seed(seed))
    explorer = Explorer(scenario, rules, budget=settings.budget(budget), stop_at_first=stop_at_first, seed=base)
    replayed = settings.replay_of(scenario)
    if replayed is not None:
        return replay(replayed, scenario, then=then, invariants=invariants, may_swallow=may_swallow)
    orders: list[tuple[Strategy, int]] = [(FIFO(), 0)]
    orders += [(strategy, base + number) for number in range(schedules)]
    with explorer.running() as report:
        for order, order_seed in orders:
            explorer.explore(Plan((), order, order_seed), faults, depth)
        explorer.note_unmet(targets, faults)
    return report


def explore_schedules(
    scenario: Scenario,
    strategy: Strategy | None = None,
    *,
    runs: int = 500,
    seed: int = 0,
    invariants: Sequence[Invariant] = (),
    then: Check | None = None,
    stop_at_first: bool = False,
    max_steps: int = 50_000,
) -> ExplorationReport:
    """Run a scenario in many orders of its ready tasks, without any fault.

    Args:
        scenario: ``async def scenario(bubble)``.
        strategy: how orders are chosen; a random walk unless said otherwise.
        runs: how many orders.
        seed: the first run's seed; each further run adds one.
        invariants: asked after each run, as in ``explore_cancellation``.
        then: a check after the scenario in the same bubble.
        stop_at_first: end with the first failure.
        max_steps: step budget of one run.

    Raises:
        ReplayError: the scenario is not deterministic: one order, taken twice, took different steps.
        TypeError, ValueError: an argument is of the wrong type, or a number out of range.
    """
    checked_scenario(scenario)
    order = checked_strategy(strategy)
    checked_count(runs, "runs", least=1)
    base = settings.seed(checked_seed(seed))
    rules = rules_of(then, invariants, (), "user", False, max_steps)
    explorer = Explorer(scenario, rules, budget=settings.budget(None), stop_at_first=stop_at_first)
    replayed = settings.replay_of(scenario)
    if replayed is not None:
        return replay(replayed, scenario, then=then, invariants=invariants)
    with explorer.running() as report:
        explorer.check_determinism(Plan((), order, base))
        for number in range(runs):
            explorer.run(Plan((), order, base + number))
    return report


def replay(
    token: str,
    scenario: Scenario | None = None,
    *,
    then: Check | None = None,
    invariants: Sequence[Invariant] = (),
    may_swallow: Iterable[str] = (),
    max_steps: int = 50_000,
) -> ExplorationReport:
    """Run again the one run that a replay token names.

    Args:
        token: from a failure.
        scenario: needed where it cannot be imported by its name.
        then: the check that the exploration used.
        invariants: the invariants that it used.
        may_swallow: the tasks that it let end their own way.
        max_steps: step budget of the run.

    Raises:
        ReplayError: the token does not fit the code any more.
        TypeError, ValueError: an argument is of the wrong type, or a number out of range.
    """
    checked_kind(token, str, "token", "a string")
    if scenario is not None:
        checked_scenario(scenario)
    rules = rules_of(then, invariants, may_swallow, "user", False, max_steps)
    name, plan, check = parse_token(token)
    if scenario is None:
        scenario = find_scenario(name)
    explorer = Explorer(scenario, rules, budget=None, stop_at_first=False)
    with explorer.running() as report:
        outcome = explorer.run(plan)
        struck = outcome is not None and outcome.fired == len(plan.injections)
        if outcome is not None and (not struck or outcome.check & 0xFFFFFFFF != check):
            raise ReplayError(
                f"the token does not fit: {name} takes other steps now than when the token was made; explore it again"
            )
    return report


def rules_of(
    then: Check | None,
    invariants: Sequence[Invariant],
    may_swallow: Iterable[str],
    targets: Targets,
    io: bool,
    max_steps: int,
) -> Rules:
    """Return the rules of an exploration that was given these.

    Raises:
        TypeError, ValueError: one of them is of the wrong type, or out of range.
    """
    if then is not None:
        checked_scenario(then, "then")
    asked = checked_each(invariants, "invariants", "functions", lambda ask: checked_callable(ask, "an invariant"))
    names = frozenset(checked_names(may_swallow, "may_swallow"))
    return Rules(then, asked, names, targets, io, checked_count(max_steps, "max_steps", least=1))


def checked_faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return *faults* as a tuple.

    Raises:
        TypeError: they are not faults.
    """
    words = "faults of lifecycle.testing.faults"
    return checked_each(faults, "faults", words, lambda fault: checked_kind(fault, Fault, "faults", words))


def checked_strategy(strategy: Strategy | None) -> Strategy:
    """Return *strategy*, a random walk for None.

    Raises:
        TypeError: it is neither.
    """
    if strategy is None:
        return RandomWalk()
    return checked_kind(strategy, Strategy, "strategy", "a strategy of lifecycle.testing.orders")
