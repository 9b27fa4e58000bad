"""The control server: a RESP server, so that every Redis client is a client of the scheduler."""

from ._limits import Limits
from ._server import ControlServer, ControlStatistics

__all__ = ["ControlServer", "ControlStatistics", "Limits"]
