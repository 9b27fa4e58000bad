"""A RESP server, with which every Redis client is a client of the scheduler."""

from ._limits import Limits
from ._server import ControlServer, ControlStatistics

__all__ = ["ControlServer", "ControlStatistics", "Limits"]

for _public in (ControlServer, ControlStatistics, Limits):
    _public.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
