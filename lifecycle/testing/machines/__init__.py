"""Hypothesis state machines to subclass for a resource, a registry, a pool or a pair of your own.

Hypothesis has no asynchronous rules. These rules are plain functions that drive a virtual loop which stays open over
the whole machine: an action starts a task, ``let_run`` makes turns, ``let_time_pass`` moves the clock, and at the end
nothing may be left. Run one as a test with ``TestMine = MyMachine.TestCase``. Needs the ``testing`` extra.
"""

from ._base import LoopMachine
from ._pair import PairMachine
from ._pool import PoolMachine
from ._registry import RegistryMachine
from ._resource import ResourceMachine
from ._schedules import schedules

__all__ = ["LoopMachine", "PairMachine", "PoolMachine", "RegistryMachine", "ResourceMachine", "schedules"]

for _public in (LoopMachine, PairMachine, PoolMachine, RegistryMachine, ResourceMachine, schedules):
    _public.__module__ = __name__
    if "__firstlineno__" in vars(_public):  # of their homes: `inspect` would take it for a line of this file
        del _public.__firstlineno__  # type: ignore[union-attr]


def __dir__() -> list[str]:
    return __all__
