"""The proof: run a scenario in virtual time, interrupt it everywhere, and show that nothing stays behind."""

from ._bubble import Bubble, run_virtual
from ._clock import VirtualClock
from ._errors import DeadlockError, LivelockError, ReplayError
from ._explore import explore_cancellation, explore_schedules, replay
from ._faults import (
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
from ._ledger import Ledger, Token
from ._loop import VirtualIOLoop, VirtualLoop
from ._network import FaultPlan, MemoryNetwork
from ._report import ExplorationReport, Failure
from ._strategies import FIFO, PCT, Choices, DelayBounded, RandomWalk, Strategy

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
    "ExplorationReport",
    "Failure",
    "Fault",
    "FaultPlan",
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
    "replay",
    "run_virtual",
]
