"""What a fault of the database means: that it may pass, that it is the end, or that an operation was wrong."""

from __future__ import annotations

import enum
from typing import Final


class Fault(enum.Enum):
    """What is to be done after a fault."""

    PASSING = "wait"  #: the server restarts, is full, is elsewhere, or cannot be reached: the same may succeed later
    AGAIN = "again"  #: it came across what somebody else does: the same succeeds at once
    ALONE = "alone"  #: it goes further than it was thought: the same, while nobody else changes anything
    FINAL = "end"  #: it may not be used, or is not what it should be
    OWN = "refuse"  #: the operation was wrong by itself


NEEDS_ALONE: Final = "LC001"
NEEDS_READ_COMMITTED: Final = "LC002"

POOLED: Final = ("26000", "42P05")
"""A prepared statement is not there, or there already: a pooler has given us another connection in between."""

_AGAIN: Final = ("40",)  # serialization failures and deadlocks
# Connections, resources, the operator (who ends the server, or a statement), the system, and a server that only reads:
# one that is about to become the first.
_PASSING: Final = ("08", "53", "57", "58", "25006", "55000", "55P03", "XX", *POOLED)
_FINAL: Final = ("28", "3D", "3F", "42", "0A")  # not let in, no such database, schema, table or function


def fault_of(error: BaseException) -> Fault:
    """Return what a fault means."""
    state = getattr(error, "sqlstate", None)
    if not isinstance(state, str):
        # The driver's own: the connection is closed, or nothing came in time.
        return Fault.PASSING if is_of_connection(error) else Fault.OWN
    if state == NEEDS_ALONE:
        return Fault.ALONE
    if state.startswith(_AGAIN):
        return Fault.AGAIN
    if state.startswith(_PASSING):
        return Fault.PASSING
    return Fault.FINAL if state.startswith((NEEDS_READ_COMMITTED, *_FINAL)) else Fault.OWN


def is_twin(error: BaseException) -> bool:
    """Return whether somebody else has stored the same in the same moment: then it is found when it is looked for."""
    return getattr(error, "sqlstate", None) == "23505"


def is_of_connection(error: BaseException) -> bool:
    """Return whether the connection is lost, or of no use; the server has not just refused something."""
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(("08", "57P"))
    return isinstance(error, (OSError, TimeoutError)) or type(error).__name__ in (
        *("InterfaceError", "InternalClientError", "ConnectionDoesNotExistError"),
        "TargetServerAttributeNotMatched",  # one that only reads: it may be about to become the first
    )


def explain(shown: str, error: BaseException) -> str:
    """Return a fault in one line, as people read it."""
    text = str(error).strip() or type(error).__name__
    return f"{shown}: {text.splitlines()[0]}"
