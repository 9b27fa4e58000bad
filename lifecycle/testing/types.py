"""Types for annotations: what the test kit hands out and its users do not make themselves."""

from ._explore.report import Failure
from ._look.ledger import Token
from ._loop.loops import VirtualIOLoop, VirtualLoop

__all__ = ["Failure", "Token", "VirtualIOLoop", "VirtualLoop"]

for _public in (Failure, Token, VirtualIOLoop, VirtualLoop):
    _public.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
