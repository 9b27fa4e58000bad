"""Explorations: run a scenario, find every point where it can be struck, run it again for each of them."""

from __future__ import annotations

import contextlib
import gc
import random
import time
import warnings
from typing import TYPE_CHECKING, Any, Literal

from .. import _trace
from . import _settings
from ._determinism import numbered_scopes
from ._engine import Check, Invariant, Outcome, Rules, Scenario, run_plan
from ._errors import ReplayError
from ._faults import CANCEL, DEFAULT_FAULTS, Fault
from ._plan import Injection, Plan, find_scenario, parse_token, scenario_name
from ._report import ExplorationReport, Failure
from ._residue import describe_problem
from ._sites import format_chain
from ._strategies import FIFO, RandomWalk, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ._survey import Survey, Targets

# Pairs of cancellations grow with the square of the points.
PAIRS_UP_TO = 40
# Runs between two collections of garbage.
COLLECT_EVERY = 256
# CPython 3.12 starts with a few hundred frozen objects; more means that somebody froze their heap on purpose.
FROZEN_AT_START = 2_000


def explore_cancellation(
    scenario: Scenario,
    *,
    faults: Iterable[Fault] = DEFAULT_FAULTS,
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
            libraries make for themselves too: expect false alarms), task names, or a function of a task.
        depth: 2 adds every pair of cancellations, for scenarios of up to 40 points.
        invariants: asked after each run with the bubble; ``False``, a string or an AssertionError fails it.
        then: a check that runs after the scenario in the same bubble and is never struck.
        budget: at most so many runs; the rest is drawn without replacement and counted as skipped.
        schedules: also strike at every point of so many runs with another order of ready tasks.
        strategy: how those orders are chosen; a random walk unless said otherwise.
        seed: of those orders, and of the draw.
        may_swallow: names of tasks that may end their own way when they are cancelled.
        stop_at_first: end with the first failure.
        io: allow real descriptors; slower, and not deterministic.
        max_steps: step budget of one run.

    Returns:
        The report; call its ``assert_clean()``.
    """
    rules = Rules(then, tuple(invariants), frozenset(may_swallow), targets, io, max_steps)
    explorer = Explorer(scenario, rules, budget=_settings.budget(budget), stop_at_first=stop_at_first)
    replayed = _settings.replay_of(scenario)
    if replayed is not None:
        return replay(replayed, scenario, then=then, invariants=invariants, may_swallow=may_swallow)
    base = _settings.seed(seed)
    orders: list[tuple[Strategy, int]] = [(FIFO(), 0)]
    orders += [(strategy or RandomWalk(), base + number) for number in range(schedules)]
    with explorer.running() as report:
        for order, order_seed in orders:
            explorer.explore(Plan((), order, order_seed), tuple(faults), depth)
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
    """
    rules = Rules(then, tuple(invariants), max_steps=max_steps)
    explorer = Explorer(scenario, rules, budget=_settings.budget(None), stop_at_first=stop_at_first)
    replayed = _settings.replay_of(scenario)
    if replayed is not None:
        return replay(replayed, scenario, then=then, invariants=invariants)
    base = _settings.seed(seed)
    with explorer.running() as report:
        for number in range(runs):
            explorer.run(Plan((), strategy or RandomWalk(), base + number))
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
    """
    name, plan, check = parse_token(token)
    if scenario is None:
        scenario = find_scenario(name)
    rules = Rules(then, tuple(invariants), frozenset(may_swallow), max_steps=max_steps)
    explorer = Explorer(scenario, rules, budget=None, stop_at_first=False)
    with explorer.running() as report:
        outcome = explorer.run(plan)
        struck = outcome is not None and outcome.fired == len(plan.injections)
        if outcome is not None and (not struck or outcome.check & 0xFFFFFFFF != check):
            raise ReplayError(
                f"the token does not fit: {name} takes other steps now than when the token was made; explore it again"
            )
    return report


class Explorer:
    """Makes the runs of one exploration and writes its report."""

    def __init__(self, scenario: Scenario, rules: Rules, *, budget: int | None, stop_at_first: bool) -> None:
        self.report = ExplorationReport(scenario_name(scenario))
        self._scenario = scenario
        self._rules = rules
        self._budget = budget
        self._stop_at_first = stop_at_first
        self._stopped = False
        self._warned: list[warnings.WarningMessage] = []
        self._uncollected: list[tuple[Plan, list[dict[str, Any]]]] = []
        self._targets: dict[int, str] = {}
        self._began = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[ExplorationReport]:
        """What holds while runs are made: warnings are collected, scopes numbered, garbage kept."""
        self._began = time.perf_counter()
        sink = _trace.sink
        try:
            with collected_warnings() as self._warned, numbered_scopes(), deliberate_collection():
                yield self.report
                self._collect()
        finally:
            _trace.sink = sink
            self.report.targets = sorted(set(self._targets.values()))
            self.report.seconds = time.perf_counter() - self._began

    def explore(self, base: Plan, faults: tuple[Fault, ...], depth: int) -> None:
        """Survey the scenario under one schedule, then strike at everything that was seen."""
        survey = self._survey(base)
        if survey is None or self._stopped:
            return
        injections = survey.injections(faults)
        if not self.report.points:
            self.report.points = survey.points
        self._targets.update(survey.names)
        for injection in self._affordable(injections):
            self.run(Plan((injection,), base.strategy, base.seed))
        if depth == 2 and survey.points <= PAIRS_UP_TO and CANCEL in faults:
            for first in survey.injections([CANCEL]):
                self._explore_pairs(base, first)

    def _survey(self, base: Plan) -> Survey | None:
        """Run twice without a fault; unequal runs mean that something is not under our control."""
        first = self.run(base, survey=True)
        second = self.run(base, survey=True)
        if first is None or second is None or first.survey is None or second.survey is None:
            return None
        if first.trace != second.trace or first.survey.boundary != second.survey.boundary:
            raise ReplayError(
                f"{self.report.scenario} is not deterministic: two equal runs took different steps. Look for "
                "the real clock, threads, random or uuid, sets of strings (set PYTHONHASHSEED), state kept "
                "between runs"
            )
        return second.survey

    def _explore_pairs(self, base: Plan, first: Injection) -> None:
        if self._stopped:
            return
        outcome = self.run(Plan((first,), base.strategy, base.seed), survey=True)
        if outcome is None or outcome.survey is None or outcome.complaints:
            return
        for second in self._affordable(outcome.survey.injections([CANCEL])):
            self.run(Plan((first, second), base.strategy, base.seed))

    def _affordable(self, injections: list[Injection]) -> list[Injection]:
        if self._budget is None:
            return injections
        left = max(0, self._budget - self.report.runs)
        if left >= len(injections):
            return injections
        self.report.skipped += len(injections) - left
        drawn = sorted(random.Random(len(injections)).sample(range(len(injections)), left))
        return [injections[index] for index in drawn]

    def run(self, plan: Plan, *, survey: bool = False) -> Outcome | None:
        """Make one run and take it into the report; None once the exploration has stopped."""
        if self._stopped:
            return None
        report = self.report
        outcome = run_plan(self._scenario, plan, self._rules, survey=survey)
        self._take_warnings(outcome)
        report.runs += 1
        if plan.injections:
            if outcome.fired == len(plan.injections):
                report.fired += 1
            else:
                report.missed += 1
        report.count(_fault_names(plan), bool(outcome.complaints))
        token = plan.token(report.scenario, outcome.check)
        report.record(token, outcome.trace, outcome.complaints)
        if outcome.complaints:
            self._fail(plan, outcome, token)
        else:
            self._uncollected.append((plan, outcome.problems))
            if len(self._uncollected) >= COLLECT_EVERY:
                self._collect()
        return outcome

    def _take_warnings(self, outcome: Outcome) -> None:
        outcome.complaints += [f"warning: {warning.message}" for warning in self._warned]
        self._warned.clear()

    def _collect(self) -> None:
        """Collect garbage; when it complains, make the runs since the last time again to see whose it was."""
        gc.collect()
        suspects, self._uncollected = self._uncollected, []
        if not self._warned and not any(problems for _, problems in suspects):
            return
        self._warned.clear()
        for plan, _ in suspects:
            if self._stopped:
                return
            outcome = run_plan(self._scenario, plan, self._rules)
            gc.collect()
            self._take_warnings(outcome)
            outcome.complaints += [describe_problem(problem) for problem in outcome.problems]
            if outcome.complaints:
                self.report.count_late_failure(_fault_names(plan))
                self._fail(plan, outcome, plan.token(self.report.scenario, outcome.check))

    def _fail(self, plan: Plan, outcome: Outcome, token: str) -> None:
        report = self.report
        if report.first_failure is None:
            report.first_failure = (report.runs, time.perf_counter() - self._began)
        report.failures.append(
            Failure(
                fault=_fault_names(plan),
                target=outcome.target,
                point=plan.injections[0].boundary if plan.injections else -1,
                chain=format_chain(outcome.chain) if outcome.target else "",
                residue=tuple(outcome.complaints),
                schedule=plan.strategy.token(plan.seed),
                token=token,
            )
        )
        self._stopped = self._stop_at_first


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect what Python says about things that were not closed or not awaited."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ResourceWarning)
        warnings.filterwarnings("always", message=".*was never awaited", category=RuntimeWarning)
        yield warned


@contextlib.contextmanager
def deliberate_collection() -> Iterator[None]:
    """Switch automatic garbage collection off, and keep what exists out of our own collections.

    A collection at an arbitrary moment would end a forgotten task at another step in every run, and blame one
    run for the garbage of another.
    """
    was_enabled, freeze = gc.isenabled(), gc.get_freeze_count() < FROZEN_AT_START
    gc.disable()
    if freeze:
        gc.freeze()
    try:
        yield
    finally:
        if freeze:
            gc.unfreeze()
        if was_enabled:
            gc.enable()


def _fault_names(plan: Plan) -> str:
    return " and ".join(injection.fault.name for injection in plan.injections) or "no fault"
