"""The proof: run a scenario in virtual time, interrupt it everywhere, and show that nothing stays behind."""

from ._bubble import Bubble, run_virtual
from ._clock import VirtualClock
from ._errors import DeadlockError, LivelockError, ReplayError
from ._ledger import Ledger, Token
from ._loop import VirtualIOLoop, VirtualLoop

__all__ = [
    "Bubble",
    "DeadlockError",
    "Ledger",
    "LivelockError",
    "ReplayError",
    "Token",
    "VirtualClock",
    "VirtualIOLoop",
    "VirtualLoop",
    "run_virtual",
]
