"""What a scope owns, in order, and the account of all that came and went."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from .._ground import kernel, trace
from .._ground.roots import Thing
from .._task.first_steps import next_sweep, sweep
from .entries import CallbackRun, OwnTask, count_calls, count_kinds, describe
from .statistics import ScopeStatistics

_ABSENT = object()

_FIRST_SWEEP = next_sweep(0)


class ScopeBooks(dict[Any, None]):
    """The ledger of a scope, newest entry last, and its account: opened equals released plus live, at every await.

    A dict, because it keeps the order and gives up any entry at once: what ends by itself leaves. It is one itself,
    and does not have one, because there are many scopes, and one object costs half of two.

    Attributes:
        run: the callbacks on top of the ledger, while callbacks can simply be appended there.
        releasing: what is being released now, and no longer in the ledger.
        opened: how many things have come in, without the callbacks that are in the ledger now.
        released: how many of them are gone.
        since: the loop time at which the first came in.
        account: what is reported while tracing.
    """

    __slots__ = ("account", "opened", "released", "releasing", "run", "since", "sweep_at")

    def __init__(self) -> None:
        self.run: list[Any] | None = None
        self.releasing: Any = None
        self.opened = 0
        self.released = 0
        self.since: float | None = None
        self.account: trace.Account | None = None
        self.sweep_at = _FIRST_SWEEP

    def own(self, entry: Any) -> None:
        """Put *entry* on top of the ledger; sweep now and then."""
        self[entry] = None
        self.opened += 1
        self.run = None
        if self.since is None and kernel.has_loop():  # what is registered before there is one has no time
            self.since = kernel.clock()()
        if len(self) > self.sweep_at:
            self.sweep()
            self.sweep_at = next_sweep(len(self))

    def top(self) -> Any:
        """Return the newest entry; there is one.

        It is taken out and put back. To look from the end would be to walk over all the holes that entries have left
        there, every time again: closing a large scope would take the square of its size.
        """
        entry, _ = self.popitem()
        self[entry] = None
        return entry

    def newest(self, but_for: Container[Any]) -> Any:
        """Return the newest entry, but for tasks that are among these; None where there is none."""
        entry = self.top() if self else None
        passed_over = []
        while entry is not None and entry.leaves and getattr(entry, "_task", None) in but_for:
            passed_over.append(entry)
            del self[entry]
            entry = self.top() if self else None
        while passed_over:
            self[passed_over.pop()] = None
        return entry

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
        return run.calls

    def forget(self, entry: Any) -> bool:
        """Take an entry that has ended by itself out of the ledger; return whether it was still in it."""
        if self.pop(entry, _ABSENT) is _ABSENT:
            return False
        self.released += 1
        if self.account is not None:
            self.account.leave(entry)
        return True

    def replace(self, entry: Any, successor: Any) -> None:
        """Put *successor* on top of the ledger in place of *entry*, which it continues."""
        del self[entry]
        self[successor] = None
        self.run = None
        if self.account is not None:
            self.account.replace(entry, successor)

    def hand_over(self, heir: ScopeBooks) -> None:
        """Move all that is owned to the new books of *heir*; only the account of what is gone stays."""
        heir.update(self)
        self.clear()
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
