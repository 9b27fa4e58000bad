"""Makes the runs of one exploration: survey, strike, collect garbage, and write the report."""

from __future__ import annotations

import contextlib
import gc
import random
import time
import warnings
from typing import TYPE_CHECKING, Any

from ..._ground import trace
from .._errors import ReplayError
from .._look.determinism import under_control
from .._look.residue import describe_problem
from .._sites import format_chain
from .faults import CANCEL, Fault
from .plan import Injection, Plan, scenario_name
from .report import ExplorationReport, Failure
from .run import Outcome, Rules, Scenario, run_plan
from .survey import unmet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .survey import Survey, Targets

# Pairs of cancellations grow with the square of the points.
PAIRS_UP_TO = 40
# Runs between two collections of garbage.
COLLECT_EVERY = 32
# CPython 3.12 starts with a few hundred frozen objects; more means that the program froze its heap on purpose.
FROZEN_AT_START = 2_000


class Explorer:
    """Makes the runs of one exploration and writes its report."""

    def __init__(
        self, scenario: Scenario, rules: Rules, *, budget: int | None, stop_at_first: bool, seed: int = 0
    ) -> None:
        self.report = ExplorationReport(scenario_name(scenario))
        self._scenario = scenario
        self._rules = rules
        self._budget = budget
        self._seed = seed
        self._stop_at_first = stop_at_first
        self._stopped = False
        self._warned: list[warnings.WarningMessage] = []
        self._uncollected: list[tuple[Plan, list[dict[str, Any]]]] = []
        self._targets: dict[int, str] = {}
        self._tasks: set[str] = set()
        self._began = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[ExplorationReport]:
        """What holds while runs are made: warnings are collected, scopes numbered, garbage kept."""
        self._began = time.perf_counter()
        sink = trace.sink
        try:
            with collected_warnings() as self._warned, under_control(), deliberate_collection():
                yield self.report
                self._collect()
        finally:
            trace.sink = sink
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
        self._tasks |= survey.tasks
        for injection in self._affordable(injections):
            self.run(Plan((injection,), base.strategy, base.seed))
        if depth == 2 and survey.points <= PAIRS_UP_TO and CANCEL in faults:
            for first in survey.injections([CANCEL]):
                self._explore_pairs(base, first)

    def note_unmet(self, targets: Targets, faults: tuple[Fault, ...]) -> None:
        """Note in the report what was to be struck and was not there; a run that failed may have ended before that."""
        report = self.report
        if report.failures:
            return
        report.unmet = unmet(targets, self._targets.values(), self._tasks)
        if faults and not report.unmet and not (report.fired or report.missed or report.skipped):
            report.unmet = ["the faults have found no place where they could strike"]

    def _survey(self, base: Plan) -> Survey | None:
        """Run twice without a fault; unequal runs mean that something is not under our control."""
        first = self.run(base, survey=True)
        second = self.run(base, survey=True)
        if first is None or second is None or first.survey is None or second.survey is None:
            return None
        if first.trace != second.trace or first.survey.boundary != second.survey.boundary:
            raise self._not_deterministic()
        return second.survey

    def check_determinism(self, base: Plan) -> None:
        """Make one run twice, uncounted; unequal ones mean that something is not under our control.

        Raises:
            ReplayError: they took different steps.
        """
        first, second = (run_plan(self._scenario, base, self._rules, sites=False) for _ in range(2))
        self._warned.clear()
        if first.trace != second.trace:
            raise self._not_deterministic()

    def _not_deterministic(self) -> ReplayError:
        return ReplayError(
            f"{self.report.scenario} is not deterministic: two equal runs took different steps. Look for "
            "the real clock, threads, uuid or secrets, sets of strings (set PYTHONHASHSEED), state kept "
            "between runs"
        )

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
        drawn = sorted(random.Random(self._seed + len(injections)).sample(range(len(injections)), left))
        return [injections[index] for index in drawn]

    def run(self, plan: Plan, *, survey: bool = False) -> Outcome | None:
        """Make one run and take it into the report; None once the exploration has stopped."""
        if self._stopped:
            return None
        report = self.report
        outcome = run_plan(self._scenario, plan, self._rules, survey=survey, sites=False)
        self._take_warnings(outcome)
        if outcome.complaints:  # once more, equal to the step, for the sites
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
