"""Work that runs elsewhere and outlives this process: started once, taken up again, followed, and cleared away."""

from .._ground.errors import RemoteFailed, RemoteLost
from .._ground.names import show_at
from ._end import RemoteEnd
from ._host import Over, RemoteHost, Say
from ._running import run_remote
from ._ticket import Ticket

__all__ = ["Over", "RemoteEnd", "RemoteFailed", "RemoteHost", "RemoteLost", "Say", "Ticket", "run_remote"]

show_at(globals(), set(__all__) - {"Over", "Say"})  # these two are types of functions


def __dir__() -> list[str]:
    return [*__all__]
