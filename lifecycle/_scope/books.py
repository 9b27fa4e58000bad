"""What a scope owns, in order, and the account of all that came and went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .._ground import kernel, trace
from .._ground.roots import Thing
from .._task.first_steps import next_sweep, sweep
from .entries import CallbackRun, OwnTask, count_calls, count_kinds, describe
from .statistics import ScopeStatistics

_ABSENT = object()

_FIRST_SWEEP = next_sweep(0)


class Place(Protocol):
    """What the books of a child scope need of its place in the parent's ledger."""

    def keep(self) -> None:
        """Keep the child: it owns something."""

    def let_go(self, account: trace.Account | None) -> None:
        """Keep it no longer: it is empty."""


class ScopeBooks(dict[Any, Any]):
    """The ledger of a scope, newest entry last, and its account: opened equals released plus live, at every await.

    With an entry stands its release before its turn, if one is under way, otherwise None.

    A dict, because it keeps the order and gives up any entry at once: what ends by itself leaves. It is one itself,
    and does not have one, because there are many scopes, and one object costs half of two.

    Attributes:
        run: the callbacks on top of the ledger, while callbacks can simply be appended there.
        releasing: what is being released now, and no longer in the ledger.
        opened: how many things have come in, without the callbacks that are in the ledger now.
        released: how many of them are gone.
        since: the loop time at which the first came in.
        account: what is reported while tracing.
        places: what is noted of who stands where, once it has been asked for; see `entry_of`.
        place: of a child, its place in the ledger of its parent, which keeps it only while there is something in here.
    """

    __slots__ = ("account", "opened", "place", "places", "released", "releasing", "run", "since", "sweep_at")

    places: Any

    def __init__(self) -> None:
        self.run: list[Any] | None = None
        self.releasing: Any = None
        self.opened = 0
        self.released = 0
        self.since: float | None = None
        self.account: trace.Account | None = None
        self.place: Place | None = None
        self.sweep_at = _FIRST_SWEEP

    def be_child(self, place: Place) -> None:
        """Belong to a child scope, at this place in its parent's ledger."""
        self.place = place
        self._let_go()

    def own(self, entry: Any) -> None:
        """Put *entry* on top of the ledger; sweep now and then."""
        self[entry] = None
        self.opened += 1
        self.run = None
        if self.since is None and kernel.has_loop():  # what is registered before there is one has no time
            self.since = kernel.clock()()
        if len(self) > self.sweep_at:
            self._grow()

    def top(self) -> Any:
        """Return the newest entry; there is one.

        It is taken out and put back. To look from the end would be to walk over all the holes that entries have left
        there, every time again: closing a large scope would take the square of its size.
        """
        entry, early = self.popitem()
        self[entry] = early
        return entry

    def newest(self, is_spared: Callable[[Any], bool]) -> Any:
        """Return the newest entry that is not spared, or its release before its turn; None where there is none."""
        passed_over = []
        found = None
        while self:
            entry, early = self.popitem()
            if not is_spared(early or entry):
                found = early or entry
                self[entry] = early
                break
            passed_over.append((entry, early))
        while passed_over:
            entry, early = passed_over.pop()
            self[entry] = early
        return found

    def cut(self, run: CallbackRun, size: int) -> CallbackRun:
        """Make the newest *size* callbacks of the newest entry an entry of their own, and return it."""
        newest = CallbackRun()
        newest.calls = run.calls[-size:]
        del run.calls[-size:]
        self[newest] = None
        return newest

    def begin_run(self) -> list[Any]:
        """Put a run of callbacks on top of the ledger, until something else is put on it."""
        run = CallbackRun()
        self[run] = None
        self.run = run.calls
        if self.sweep_at < 0:
            self._grow()
        return run.calls

    def forget(self, entry: Any) -> bool:
        """Take an entry that has ended by itself out of the ledger; return whether it was still in it."""
        if self.pop(entry, _ABSENT) is _ABSENT:
            return False
        self.released += 1
        if self.account is not None:
            self.account.leave(entry)
        if self.place is not None and not self:
            self._let_go()
        return True

    def _grow(self) -> None:
        """Have the parent keep what is not empty any more; sweep."""
        if self.sweep_at < 0 and self.place is not None:
            self.place.keep()
            self.sweep_at = _FIRST_SWEEP
        else:
            self.sweep()
            self.sweep_at = next_sweep(len(self))

    def _let_go(self) -> None:
        """Have the parent keep what is empty no longer, until something is owned."""
        assert self.place is not None
        self.place.let_go(self.account)
        self.sweep_at = -1  # so that `own` notices

    def replace(self, entry: Any, successor: Any) -> None:
        """Put *successor* on top of the ledger in place of *entry*, which it continues."""
        del self[entry]
        self[successor] = None
        self.run = None
        if self.account is not None:
            self.account.replace(entry, successor)

    def hand_over(self, owner: Any, heir: ScopeBooks) -> None:
        """Move all that is owned to the new books of *owner*; only the account of what is gone stays."""
        heir.update(self)
        for entry, early in heir.items():
            for owned in (entry, early):
                if isinstance(owned, OwnTask):
                    owned._owner = owner
                elif hasattr(owned, "_scope"):
                    owned._scope = owner
        self.clear()
        if self.place is not None:
            self._let_go()
        heir.account, self.account = self.account, None
        heir.run, self.run = self.run, None
        heir.opened = count_kinds(heir).total() - count_calls(heir)
        self.opened -= heir.opened

    def sweep(self) -> None:
        """End the tasks that a foreign cancellation ended before their first step: their wrapper never ran."""
        sweep(entry for entry in self if isinstance(entry, OwnTask))

    def things(self) -> list[Thing]:
        """Return what is owned, for a snapshot."""
        self.sweep()
        return [describe(entry, self.account) for entry in self]

    def statistics(self, name: str, state: str) -> ScopeStatistics:
        """Return the account as a record; costs a look at every entry."""
        self.sweep()
        kinds = count_kinds(self)
        tasks, children = kinds["task"], kinds["scope"]
        return ScopeStatistics(
            name=name,
            state=state,
            tasks=tasks,
            resources=kinds.total() - tasks - children + (self.releasing is not None),
            children=children,
            opened=self.opened + count_calls(self),
            released=self.released,
        )
