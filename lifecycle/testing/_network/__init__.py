"""A network in memory: unmodified clients and servers talk over it, and it fails as it is told to."""

from ._network import MemoryNetwork
from ._plan import FaultPlan
from ._transport import MemoryTransport

__all__ = ["FaultPlan", "MemoryNetwork", "MemoryTransport"]
