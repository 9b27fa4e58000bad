r"""AttemptState: where a connect is, and which moves there are.

::

    NEW --> CONNECTING --> CONNECTED
     |        |   ^  \        |
     |        |   |   \       | the value was not taken
     |        v   |    v      v
     |    WAITING<---ROLLING_BACK --> FAILED
     |        |           |
     +--------+-----------+--> CANCELLED

``ROLLING_BACK`` is passed on every way but success, also when there is nothing to undo: in ``WAITING``,
``FAILED`` and ``CANCELLED`` the attempt before it has ended completely.
"""

from __future__ import annotations

import enum


class AttemptState(enum.Enum):
    """Where a `ConnectAttempt` is in its life."""

    NEW = "new"  #: made, not started
    CONNECTING = "connecting"  #: the connector runs
    ROLLING_BACK = "rolling back"  #: what the connector had made is being undone
    WAITING = "waiting"  #: everything is undone; another attempt follows after a pause
    CONNECTED = "connected"  #: the value is there
    FAILED = "failed"  #: everything is undone, for good
    CANCELLED = "cancelled"  #: everything is undone, because it was cancelled or closed


NEW, CONNECTING, ROLLING_BACK, WAITING, CONNECTED, FAILED, CANCELLED = AttemptState

#: From each state to those that may follow it.
MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    NEW: frozenset({CONNECTING, CANCELLED}),
    CONNECTING: frozenset({CONNECTED, ROLLING_BACK}),
    ROLLING_BACK: frozenset({WAITING, FAILED, CANCELLED}),
    WAITING: frozenset({CONNECTING, CANCELLED}),
    CONNECTED: frozenset({ROLLING_BACK}),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}

#: Nothing more happens by itself.
SETTLED = frozenset({CONNECTED, FAILED, CANCELLED})


def moved(state: AttemptState, to: AttemptState) -> AttemptState:
    """Return *to*, if it may follow *state*.

    Raises:
        AssertionError: it may not.
    """
    if to not in MOVES[state]:
        raise AssertionError(f"no connect moves from {state.value!r} to {to.value!r}")
    return to
