"""A network in memory: unmodified clients and servers talk over it, and it fails as it is told to."""

from ._faults import NetworkFaults
from ._network import MemoryNetwork
from ._transport import MemoryTransport

__all__ = ["MemoryNetwork", "MemoryTransport", "NetworkFaults"]
