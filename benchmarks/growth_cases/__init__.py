"""What `benchmarks.growth` measures, and tests/growth counts: every operation of every owner, with n of a kind.

A case is an async function of a size and a `Laps`; what a lap encloses is one row, and the rest of the case is not
measured. A lap says how many operations it holds: by default as many as the size.
"""

from __future__ import annotations

from . import (
    again,
    broadcasts,
    connects,
    flows,
    groups,
    held_back,
    kept,
    lenders,
    limits,
    mailboxes,
    managers,
    nesting,
    others,
    process,
    scopes,
    servers,
    stores,
    terms,
    timers,
)
from ._kinds import CASES, Case, Laps, silence

__all__ = [
    "CASES", "Case", "Laps", "again", "broadcasts", "connects", "flows", "groups", "held_back", "kept", "lenders",
    "limits", "mailboxes", "managers", "nesting", "others", "process", "scopes", "servers", "silence", "stores",
    "terms", "timers",
]  # fmt: skip
