"""Mutants of limits by key and in a time; see ``benchmarks.mutants.own``."""

from __future__ import annotations

from .own_table import OwnMutant

ALL = ("limits",)

LIMITS = [
    OwnMutant("who ends keeps its key", "Turns.release", "share.held -= 1", "pass", ALL),
    OwnMutant("what was granted to who leaves is lost", "Turns.give_up", "self.release(place.share)", "pass", ALL),
    OwnMutant("whose turn it is is not told", "Turns.serve", "place.admit()", "pass", ALL),
    OwnMutant("a full key lets one more in", "Share.lets_begin", "return False", "pass", ALL),
    OwnMutant("a key is kept for who has left", "Turns.leave", "self.drop(place.share)", "pass", ALL),
    OwnMutant("a task that ends keeps its key", "Quotas.end", "self.turns.release(share)", "pass", ALL),
    OwnMutant("a rate that nobody waits for", "Turns._arm", "self._loop.call_later(seconds, self._tick)", "None", ALL),
    OwnMutant("a rate is paid when who pays has gone", "Turns.leave", "self.left += 1", "place.share.take(0.0)", ALL),
]
