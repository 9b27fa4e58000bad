"""Contention scenarios for everything that we ship: holders, waiters, a late arrival, a closer.

A primitive joins by a function in one of these files, marked ``@scenario``. What a scenario opens it enters into the
bubble's ledger, in the step in which it exists, so that the exploration sees what is left.
"""

from . import groups, manager, pool, registry, scope, timers
from ._table import SCENARIOS

__all__ = ["SCENARIOS", "groups", "manager", "pool", "registry", "scope", "timers"]
