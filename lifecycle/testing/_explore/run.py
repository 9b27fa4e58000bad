"""One run of a scenario under a plan: strike where the plan says, then look at everything that is left."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._errors import DeadlockError, LivelockError
from .._look.bubble import Bubble, open_bubble
from .._look.residue import describe_problem
from .._sites import call_chain
from .faults import CANCEL_BEFORE_START, Fault, Raise, Target, without_wrapper
from .survey import Survey, Targets

if TYPE_CHECKING:
    import asyncio
    from types import CodeType

    from .plan import Plan

Scenario = Callable[[Bubble], Coroutine[Any, Any, Any]]
Check = Callable[[Bubble], Coroutine[Any, Any, Any]]
Invariant = Callable[[Bubble], object]


@dataclass(frozen=True)
class Rules:
    """What holds for all runs of one exploration.

    Attributes:
        then: a check that runs in the same bubble after the scenario, and is never struck.
        invariants: questions asked after each run; a string, False or an AssertionError is a complaint.
        may_swallow: names of tasks that are allowed to end their own way when they are cancelled.
        io: whether real descriptors are allowed.
        max_steps: step budget of one run.
    """

    then: Check | None = None
    invariants: tuple[Invariant, ...] = ()
    may_swallow: frozenset[str] = frozenset()
    targets: Targets = "user"
    io: bool = False
    max_steps: int = 50_000
    patience: float = 5.0


@dataclass
class Outcome:
    """What one run has shown.

    Attributes:
        fired: how many of the plan's injections struck.
        check: hash of all steps before the first strike, or of all without one; tells whether runs were equal so far.
        trace: hash of all steps.
        chain: where the target stood when it was first struck.
        complaints: everything that is wrong; empty for a good run.
        survey: what a surveying run saw.
        problems: the loop's list of unhandled problems; late ones still arrive in it.
    """

    fired: int = 0
    check: int = 0
    trace: int = 0
    target: str = ""
    chain: list[tuple[CodeType, int]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    survey: Survey | None = None
    problems: list[dict[str, Any]] = field(default_factory=list)


class Striker:
    """Counts boundaries and strikes where the plan says."""

    def __init__(self, plan: Plan, bubble: Bubble, outcome: Outcome, survey_after: Targets | None) -> None:
        self._bubble = bubble
        self._loop = bubble.loop
        self._outcome = outcome
        self._survey_after = survey_after
        self._boundary = -1
        self.strikes = [(injection, Target(injection.target)) for injection in plan.injections]
        self._waiting = iter(self.strikes)
        self._next = next(self._waiting, None)
        self._at = self._next[0].boundary if self._next else -1
        self._again: tuple[Fault, Target] | None = None
        self._again_stepped = False
        for injection, target in self.strikes:
            self._loop.targets.setdefault(injection.target, []).append((injection.fault, target))

    def observe(self, handle: Any, task: asyncio.Task[Any] | None) -> None:
        """Called before every step of the loop."""
        self._boundary = boundary = self._boundary + 1
        if boundary == self._at:
            self._strike()
        elif self._again is not None:
            self._strike_again(task)
        else:
            return
        if self._at < 0 and self._again is None:
            self._finish(handle, task)

    def _strike(self) -> None:
        assert self._next is not None
        injection, target = self._next
        task = target.task
        if task is not None and not task.done():
            if not self._outcome.fired:
                self._outcome.check = self._loop.trace
                self._outcome.chain = without_wrapper(call_chain(task))
                self._outcome.target = task.get_name()
            injection.fault.strike(target, self._bubble)
            self._outcome.fired += 1
            if injection.fault.again:
                self._again, self._again_stepped = (injection.fault, target), False
        self._next = next(self._waiting, None)
        self._at = self._next[0].boundary if self._next else -1

    def _strike_again(self, task: asyncio.Task[Any] | None) -> None:
        """Strike the second time when the target has run one step of its clean-up."""
        assert self._again is not None
        fault, target = self._again
        if target.task is None or target.task.done():
            self._again = None
        elif self._again_stepped:
            fault.strike(target, self._bubble)
            self._again = None
        elif task is target.task:
            self._again_stepped = True

    def _finish(self, handle: Any, task: asyncio.Task[Any] | None) -> None:
        """Nothing more to strike: stop counting, or survey what follows."""
        if self._survey_after is None:
            self._loop.observer = None
            return
        survey = Survey(self._bubble, self._survey_after, start=self._boundary)
        self._outcome.survey = survey
        self._loop.observer = survey.observe


def run_plan(
    scenario: Scenario,
    plan: Plan,
    rules: Rules,
    *,
    survey: bool = False,
    sites: bool = True,
) -> Outcome:
    """Run a scenario once under a plan and judge what is left.

    Args:
        scenario: the scenario.
        plan: what strikes, and the schedule.
        rules: what holds for all runs.
        survey: note the points; after the last injection, where there is one.
        sites: capture where things are made; a run that goes well does not need them.
    """
    outcome = Outcome()
    with open_bubble(seed=plan.seed, io=rules.io, max_steps=rules.max_steps, patience=rules.patience) as bubble:
        loop = bubble.loop
        loop.chooser = plan.strategy.chooser(plan.seed)
        loop.watch_makers = survey
        if not sites:
            loop.site_depth = bubble.ledger.depth = 0
        striker = Striker(plan, bubble, outcome, rules.targets if survey else None)
        if plan.injections:
            loop.observer = striker.observe
        elif survey:
            outcome.survey = Survey(bubble, rules.targets)
            loop.observer = outcome.survey.observe
        _run_and_judge(scenario, rules, bubble, striker, outcome)
    outcome.trace = loop.trace
    if not plan.injections:
        outcome.check = outcome.trace
    if not outcome.complaints:  # what is killed while the bubble is taken down only repeats what was said
        outcome.complaints += [describe_problem(problem) for problem in outcome.problems]
    outcome.problems.clear()
    return outcome


def _run_and_judge(scenario: Scenario, rules: Rules, bubble: Bubble, striker: Striker, outcome: Outcome) -> None:
    loop = bubble.loop
    complaints = outcome.complaints
    main: asyncio.Task[Any] = loop.create_task(scenario(bubble), name="main")
    try:
        loop.run_main(main)
        loop.observer = None
        loop.settle()
        complaints += _judge_main(main, striker)
        complaints += _judge_targets(striker, rules)
        if rules.then is not None and _began(main, striker):
            _run_check(rules.then, bubble)
        complaints += bubble.residue()
        for invariant in rules.invariants:
            complaints += _ask(invariant, bubble)
    except (DeadlockError, LivelockError) as error:
        loop.observer = None
        complaints.append(f"{type(error).__name__}: {error}")
    except AssertionError as error:
        complaints.append(f"the check after the scenario failed: {_words(error)}")
    except Exception as error:
        complaints.append(f"the check after the scenario raised {error!r}")
    finally:
        outcome.problems = loop.problems = []


def _began(main: asyncio.Task[Any], striker: Striker) -> bool:
    """Whether the scenario's body ever ran: one that was cancelled before its start left nothing to check."""
    number = getattr(main, "number", 0)
    return not any(
        injection.fault is CANCEL_BEFORE_START and injection.target == number for injection, _ in striker.strikes
    )


def _judge_main(main: asyncio.Task[Any], striker: Striker) -> list[str]:
    """The scenario may fail because of a fault, but never by an assertion, and never without a fault."""
    if main.cancelled():
        return [] if striker.strikes else ["the scenario was cancelled although no fault was injected"]
    error = main.exception()
    if error is None:
        return []
    if not striker.strikes:
        return [f"the scenario fails without any fault: {error!r}"]
    own = [injection.fault.error for injection, _ in striker.strikes if isinstance(injection.fault, Raise)]
    return [f"an assertion of the scenario failed: {_words(found)}" for found in _assertions(error, tuple(own))]


def _assertions(error: BaseException, own: tuple[type[BaseException], ...]) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [found for inner in error.exceptions for found in _assertions(inner, own)]
    return [error] if isinstance(error, AssertionError) and not isinstance(error, own) else []


def _judge_targets(striker: Striker, rules: Rules) -> list[str]:
    found = []
    for injection, target in striker.strikes:
        if target.task is None or target.task.get_name() in rules.may_swallow:
            continue
        verdict = injection.fault.verdict(target)
        if verdict is not None and verdict not in found:
            found.append(verdict)
    return found


def _run_check(check: Check, bubble: Bubble) -> None:
    task = bubble.loop.create_task(check(bubble), name="check")
    bubble.loop.run_main(task)
    bubble.loop.settle()
    task.result()


def _ask(invariant: Invariant, bubble: Bubble) -> list[str]:
    name = getattr(invariant, "__name__", repr(invariant))
    try:
        answer = invariant(bubble)
    except AssertionError as error:
        return [f"invariant {name}: {_words(error)}"]
    if answer is False or isinstance(answer, str):
        return [f"invariant {name}: {answer or 'does not hold'}"]
    return []


def _words(error: BaseException) -> str:
    return str(error) or repr(error)
