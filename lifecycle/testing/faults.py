"""What an exploration injects: ``faults.CANCEL`` and its kind, groups of them, and ``Raise`` for one of your own."""

from ._explore.faults import (
    CANCEL,
    CANCEL_BEFORE_START,
    CANCEL_SCOPE,
    CANCEL_TWICE,
    CANCELS,
    DEFAULT,
    KILL_TRANSPORT,
    RAISE_BASE_EXCEPTION,
    RAISE_EXCEPTION,
    RAISE_OS_ERROR,
    RAISE_RESET,
    RAISE_TIMEOUT,
    RAISES,
    TIMEOUT,
    Fault,
    Raise,
)

__all__ = [
    "CANCEL",
    "CANCELS",
    "CANCEL_BEFORE_START",
    "CANCEL_SCOPE",
    "CANCEL_TWICE",
    "DEFAULT",
    "KILL_TRANSPORT",
    "RAISES",
    "RAISE_BASE_EXCEPTION",
    "RAISE_EXCEPTION",
    "RAISE_OS_ERROR",
    "RAISE_RESET",
    "RAISE_TIMEOUT",
    "TIMEOUT",
    "Fault",
    "Raise",
]

Fault.__module__ = Raise.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
