"""The proof: run a scenario in virtual time, interrupt it everywhere, and show that nothing stays behind.

What to inject is in ``faults``, in which order tasks run in ``orders``, what only annotations need in ``types``, and
state machines for Hypothesis in ``machines``.

Names are imported when they are first used: the pytest plugin lives in this package, and a test run that does not use
the kit must not pay for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import faults as faults
    from . import machines as machines
    from . import orders as orders
    from . import types as types
    from ._errors import DeadlockError, LeakError, LeakWarning, LivelockError, ReplayError
    from ._explore.explore import explore_cancellation, explore_schedules, replay
    from ._explore.report import ExplorationReport
    from ._look.bubble import Bubble, no_busy_loop, run_virtual
    from ._look.ledger import Ledger
    from ._loop.clock import VirtualClock
    from ._network import MemoryNetwork, NetworkFaults

_HOME = {
    "_errors": "DeadlockError LeakError LeakWarning LivelockError ReplayError",
    "_explore.explore": "explore_cancellation explore_schedules replay",
    "_explore.report": "ExplorationReport",
    "_look.bubble": "Bubble no_busy_loop run_virtual",
    "_look.ledger": "Ledger",
    "_loop.clock": "VirtualClock",
    "_network": "MemoryNetwork NetworkFaults",
}
_home_of = {name: module for module, names in _HOME.items() for name in names.split()}
_rooms = ("faults", "machines", "orders", "types")

__all__ = [
    "Bubble",
    "DeadlockError",
    "ExplorationReport",
    "LeakError",
    "LeakWarning",
    "Ledger",
    "LivelockError",
    "MemoryNetwork",
    "NetworkFaults",
    "ReplayError",
    "VirtualClock",
    "explore_cancellation",
    "explore_schedules",
    "no_busy_loop",
    "replay",
    "run_virtual",
]


def __getattr__(name: str) -> Any:
    if name in _rooms:
        return importlib.import_module(f".{name}", __name__)
    if name not in _home_of:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_home_of[name]}", __name__), name)
    value.__module__ = __name__
    return value


def __dir__() -> list[str]:
    return [*__all__, *_rooms]
