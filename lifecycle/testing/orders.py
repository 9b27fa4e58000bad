"""Orders of ready tasks: the strategies by which ``explore_schedules`` and ``run_virtual`` choose who steps next."""

from ._loop.strategies import FIFO, DelayBounded, Deviations, PriorityChanges, RandomWalk, Strategy

__all__ = ["FIFO", "DelayBounded", "Deviations", "PriorityChanges", "RandomWalk", "Strategy"]

for _public in (FIFO, DelayBounded, Deviations, PriorityChanges, RandomWalk, Strategy):
    _public.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
