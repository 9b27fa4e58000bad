"""The proof: run a scenario in virtual time, interrupt it everywhere, and show that nothing stays behind.

Names are imported when they are first used: the pytest plugin lives in this package, and a test run that does not use
the kit must not pay for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._errors import DeadlockError, LeakWarning, LivelockError, ReplayError
    from ._explore.explore import explore_cancellation, explore_schedules, replay
    from ._explore.faults import (
        CANCEL,
        CANCEL_BEFORE_START,
        CANCEL_SCOPE,
        CANCEL_TWICE,
        CANCELS,
        DEFAULT_FAULTS,
        KILL_TRANSPORT,
        RAISE_BASE_EXCEPTION,
        RAISE_EXCEPTION,
        RAISE_OS_ERROR,
        RAISE_RESET,
        RAISE_TIMEOUT,
        RAISES,
        TIMEOUT,
        Fault,
        Raise,
    )
    from ._explore.report import ExplorationReport, Failure
    from ._look.bubble import Bubble, no_busy_loop, run_virtual
    from ._look.ledger import Ledger, Token
    from ._loop.clock import VirtualClock
    from ._loop.loops import VirtualIOLoop, VirtualLoop
    from ._loop.strategies import FIFO, PCT, Choices, DelayBounded, Deviations, RandomWalk, Strategy
    from ._network import FaultPlan, MemoryNetwork

_HOME = {
    "_errors": "DeadlockError LeakWarning LivelockError ReplayError",
    "_explore.explore": "explore_cancellation explore_schedules replay",
    "_explore.faults": "CANCEL CANCELS CANCEL_BEFORE_START CANCEL_SCOPE CANCEL_TWICE DEFAULT_FAULTS Fault "
    "KILL_TRANSPORT RAISES RAISE_BASE_EXCEPTION RAISE_EXCEPTION RAISE_OS_ERROR RAISE_RESET RAISE_TIMEOUT Raise TIMEOUT",
    "_explore.report": "ExplorationReport Failure",
    "_look.bubble": "Bubble no_busy_loop run_virtual",
    "_look.ledger": "Ledger Token",
    "_loop.clock": "VirtualClock",
    "_loop.loops": "VirtualIOLoop VirtualLoop",
    "_loop.strategies": "Choices DelayBounded Deviations FIFO PCT RandomWalk Strategy",
    "_network": "FaultPlan MemoryNetwork",
}
_home_of = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "CANCEL",
    "CANCELS",
    "CANCEL_BEFORE_START",
    "CANCEL_SCOPE",
    "CANCEL_TWICE",
    "DEFAULT_FAULTS",
    "FIFO",
    "KILL_TRANSPORT",
    "PCT",
    "RAISES",
    "RAISE_BASE_EXCEPTION",
    "RAISE_EXCEPTION",
    "RAISE_OS_ERROR",
    "RAISE_RESET",
    "RAISE_TIMEOUT",
    "TIMEOUT",
    "Bubble",
    "Choices",
    "DeadlockError",
    "DelayBounded",
    "Deviations",
    "ExplorationReport",
    "Failure",
    "Fault",
    "FaultPlan",
    "LeakWarning",
    "Ledger",
    "LivelockError",
    "MemoryNetwork",
    "Raise",
    "RandomWalk",
    "ReplayError",
    "Strategy",
    "Token",
    "VirtualClock",
    "VirtualIOLoop",
    "VirtualLoop",
    "explore_cancellation",
    "explore_schedules",
    "no_busy_loop",
    "replay",
    "run_virtual",
]


def __getattr__(name: str) -> Any:
    module = _home_of.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{module}", __name__), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
