"""Contention scenarios for everything that we ship: holders, waiters, a late arrival, a closer.

A primitive joins by a file in this directory with functions marked ``@scenario``. What a scenario opens it enters into
the bubble's ledger, in the step in which it exists, so that the exploration sees what is left.
"""

import importlib
import pkgutil

from ._table import SCENARIOS, unreported

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = ["SCENARIOS", "unreported"]
