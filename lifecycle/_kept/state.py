r"""KeptState: where a kept connection is, and which moves there are.

::

    NEW --> CONNECTING --> UP --> DOWN
             ^    |               |
             |    v               |
             +-- WAITING <--------+

    CONNECTING, DOWN, WAITING --> GIVEN_UP
    CONNECTING, UP, DOWN, WAITING --> CLOSING --> CLOSED

``DOWN`` is passed on every way from ``UP`` to a further attempt: in ``WAITING`` and ``CONNECTING`` nothing is left of
what was connected before.
"""

from __future__ import annotations

import enum


class KeptState(enum.Enum):
    """Where a `KeptConnection` is in its life."""

    NEW = "new"  #: made, not started
    CONNECTING = "connecting"  #: an attempt is in progress, the replay included
    UP = "up"  #: there is a connection
    DOWN = "down"  #: it is lost, and what it was made of is being released
    WAITING = "waiting"  #: nothing is left of it; another attempt follows after a pause
    GIVEN_UP = "given up"  #: nothing more is tried
    CLOSING = "closing"  #: it was asked to end
    CLOSED = "closed"  #: everything is released, because it was closed


NEW, CONNECTING, UP, DOWN, WAITING, GIVEN_UP, CLOSING, CLOSED = KeptState

#: From each state to those that may follow it.
MOVES: dict[KeptState, frozenset[KeptState]] = {
    NEW: frozenset({CONNECTING, CLOSED}),
    CONNECTING: frozenset({UP, WAITING, GIVEN_UP, CLOSING}),
    UP: frozenset({DOWN, CLOSING}),
    DOWN: frozenset({WAITING, GIVEN_UP, CLOSING}),
    WAITING: frozenset({CONNECTING, GIVEN_UP, CLOSING}),
    GIVEN_UP: frozenset(),
    CLOSING: frozenset({CLOSED}),
    CLOSED: frozenset(),
}

#: Nobody will ever get a connection.
ENDED = frozenset({GIVEN_UP, CLOSING, CLOSED})


def moved(state: KeptState, to: KeptState) -> KeptState:
    """Return *to*, if it may follow *state*.

    Raises:
        AssertionError: it may not.
    """
    if to not in MOVES[state]:
        raise AssertionError(f"no kept connection moves from {state.value!r} to {to.value!r}")
    return to
