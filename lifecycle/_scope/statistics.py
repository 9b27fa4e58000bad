"""What a scope owns at one moment, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScopeStatistics:
    """What a scope owns at one moment.

    The account closes at every await: ``opened == live + released``, where ``live`` is
    ``tasks + resources + children``.

    Attributes:
        name: the scope's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        tasks: tasks that have not ended.
        resources: callbacks, context managers and values that have not been released.
        children: child scopes that have not closed.
        opened: how many things the scope has ever taken in.
        released: how many of them are gone.
    """

    name: str
    state: str
    tasks: int
    resources: int
    children: int
    opened: int
    released: int

    @property
    def live(self) -> int:
        """How many things the scope owns now."""
        return self.tasks + self.resources + self.children
