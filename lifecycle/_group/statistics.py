"""What a task group has done and what it holds, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskGroupStatistics:
    """What a task group has done, and what it holds at one moment.

    The account closes at every await:
    ``created == running + pending + finished + failed + cancelled + abandoned``.

    Attributes:
        name: the group's name.
        state: ``"open"`` in its body, ``"closing"`` while it joins, ``"closed"``.
        policy: ``"fail_fast"``, ``"collect"`` or ``"race"``.
        limit: how many tasks may run at once, None for no bound.
        running: tasks that have not ended and wait for no slot.
        pending: tasks that wait for a slot.
        created: tasks ever taken in.
        finished: tasks that returned.
        failed: tasks that raised.
        cancelled: tasks that ended cancelled, or were dropped before they had a slot.
        abandoned: tasks that ignored their cancellations, and still run.
    """

    name: str
    state: str
    policy: str
    limit: int | None
    running: int
    pending: int
    created: int
    finished: int
    failed: int
    cancelled: int
    abandoned: int
