"""Who waits for whom, so that no close waits for itself.

Theory of operation
-------------------

*The rule*: who waits, in a close, leaves out every task that itself waits for the waiting one, whatever it is that lies
between them: releases, other closes, held context managers, half-made values, task groups, plain awaits. So the last
wait of a circle is the one that gives way, and no circle ever closes whose last wait is that of a close. A plain await
of the closing task, or of its handle, asks nobody: one that begins while that waits already, in the ``finally`` of what
it stops, is bounded by its owner's timeouts.

*The graph* is made of waits that exist at this moment, and of nothing else: a task that a release has started and that
lives on is waited for by nobody. It is not kept, but read off the state of things when somebody asks: a task of ours
says whom it works for, see `work`, and that one who waits for it; asyncio and anyio say it of theirs, see `awaiters`.
Only a wait that is not to be seen in this way is noted, while it lasts: for a task of somebody else's, or for all tasks
of an owner. Each event loop has its own `Notes`, and they go with it, whatever it has left unfinished.

*Bound* is a task whose wait no cancellation ends: it has to be left alone. One that is not bound can still be stopped.

*The host* of an owner's block stands behind all that the owner runs: it goes on when the owner has closed.

*An eager start* comes before the wait for it: who starts a task waits for it in what is left of the same step, if at
all. So a close that asks in such a first step gives the loop a turn before.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, Task
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._ground import kernel
from .._ground.awaiters import BETWEEN, Waiter, awaiters_of, awaiters_of_future
from .._ground.per_loop import kept_by_loop
from .._ground.starts import is_in_step_of_starter
from .work import employer_of, handle_at, starter_of, work_in

Tasks = frozenset[Task[Any]]

NOBODY: Tasks = frozenset()

#: So many who wait for a task are not looked for more often than has to be.
MANY = 16


class Notes:
    """What is noted in one event loop.

    Attributes:
        waits: the waits that had to be noted, by the identity of what they are for, which they keep. Owners may be of a
            class that a user has made, with an ``__eq__`` of its own.
        ends: what else waits can be for: the ends that a task is about to bring about.
        begun: how many waits have been noted ever.
    """

    __slots__ = ("begun", "ends", "waits")

    def __init__(self) -> None:
        self.waits: dict[int, dict[Waiting, None]] = {}
        self.ends: dict[Task[Any], list[Future[Any]]] = {}
        self.begun = 0


#: Returns what is noted in a loop.
notes_of = kept_by_loop("_lifecycle_waits", Notes)


def notes() -> Notes:
    """Return what is noted in the running loop."""
    return notes_of(kernel.running_loop())


def _asks_too_early(but_for: object) -> bool:
    """Return whether it may not be seen yet who waits for the calling task; those that wait for *but_for* are known."""
    return asks_before_starter_waits() or BETWEEN in _waiting_for(kernel.current_task(), but_for=but_for, telling=True)


def asks_before_starter_waits() -> bool:
    """Return whether the calling task may have been started eagerly by one who has yet to wait for it."""
    task: Task[Any] | None = kernel.current_task()
    while task is not None and is_in_step_of_starter(task):
        task = starter_of(task)
        if task is None:
            return True
    return False


async def until_seen(*, but_for: object = None) -> CancelledError | None:
    """Let it be seen who waits for the calling task; return the cancellation held back meanwhile.

    Nearly always it is to be seen already. If not, whoever has started the task gets the rest of its step.

    Args:
        but_for: see `closing_tasks`.
    """
    return await kernel.wait_through(kernel.next_turn()) if _asks_too_early(but_for) else None


async def let_be_seen(*, but_for: object = None) -> None:
    """Do the same before a wait that a cancellation ends; it ends this, too."""
    if _asks_too_early(but_for):
        await kernel.wait(kernel.next_turn())


def closing_tasks(*, but_for: object = None) -> Tasks:
    """Return the calling task and every task that waits for it, through whatever lies between.

    A wait that it begins must leave them out: it would be one for itself.

    Args:
        but_for: an owner, or an end; those that wait for it are not looked for, of which there may be many.
    """
    return frozenset(waiter for waiter, _ in _waiting_for(kernel.current_task(), but_for=but_for))


def bound_tasks(task: Task[Any]) -> Tasks:
    """Return *task* and, of those that wait for it, the ones that no cancellation frees: stopping them is in vain."""
    return frozenset(waiter for waiter, bound in _waiting_for(task) if bound)


def closing_tasks_with_bonds(*, but_for: object) -> Mapping[Task[Any], bool]:
    """Return the calling task and those that wait for it, each with whether it is bound; see `closing_tasks`."""
    return dict(_waiting_for(kernel.current_task(), but_for=but_for))


def waits_for(waiter: Task[Any], task: Task[Any], *, bound: bool = False) -> bool:
    """Return whether *waiter* is *task*, or waits for it, through whatever lies between.

    Args:
        waiter: of whom that is asked.
        task: whose end would have to come first.
        bound: whether only a wait counts that no cancellation ends.
    """
    return waiter is task or any(other is waiter and (is_bound or not bound) for other, is_bound in _waiting_for(task))


def anybody_awaits(task: Task[Any]) -> bool:
    """Return whether anybody may wait for *task*; if not, a look for who it is would find nothing but itself."""
    noted = notes()
    return id(task) in noted.waits or bool(_waiters_of(task, None, noted))


class WaitingFor:
    """Who waits for one task, asked again and again: once for each thing that it stops.

    What was found is looked up anew every time, but where it was much, only when another wait has been noted since.

    Args:
        task: that stops them, one after the other.
    """

    __slots__ = ("_begun", "_found", "_said_at", "_task", "_unsettled")

    def __init__(self, task: Task[Any]) -> None:
        self._task = task
        self._found: dict[Task[Any], bool] = {}
        self._begun = -1  # how many waits had begun when they were found
        self._unsettled = False  # whether the last look has met somebody between two waits
        self._said_at = -1

    def has(self, waiter: Task[Any], *, bound: bool) -> bool:
        """Return whether *waiter* is the task itself, or one that waits for it, which has to be *bound* to count."""
        begun = notes().begun
        if len(self._found) <= MANY or self._begun != begun or self._unsettled:
            self._found = dict(_waiting_for(self._task, telling=True))
            self._begun = begun
            self._unsettled = self._found.pop(BETWEEN[0], None) is not None
        return self._found.get(waiter, False) if bound else waiter in self._found

    def tells_more_later(self, progress: int) -> bool:
        """Return whether the last answer may be another one a turn later; once for each *progress* that was made."""
        if not self._unsettled or self._said_at == progress:
            return False
        self._said_at = progress
        return True


def _waiting_for(task: Task[Any], *, but_for: object = None, telling: bool = False) -> Iterator[Waiter]:
    """Yield *task* and each task that waits for it, the nearest first; a second time, if it then proves to be bound.

    Args:
        task: whose end is waited for.
        but_for: see `closing_tasks`.
        telling: whether `BETWEEN` is yielded, too.
    """
    found = {task: True}
    unseen = [task]
    yield task, True
    noted = notes()
    for each in unseen:
        for waiter, bound in _waiters_of(each, but_for, noted):
            if waiter is BETWEEN[0]:
                if telling:
                    yield BETWEEN
                continue
            if waiter not in found:
                unseen.append(waiter)
            elif found[waiter] or not bound:
                continue
            found[waiter] = bound
            yield waiter, bound


def _waiters_of(task: Task[Any], but_for: object, noted: Notes) -> list[Waiter]:
    """Return who waits for *task* itself."""
    work = work_in(task)
    handle = None if work is None else handle_at(work)
    # Nobody but its owner can wait for a task of ours without a handle.
    waiters = awaiters_of(task) if work is None or handle is not None else []
    if id(task) in noted.waits:
        waiters += _noted(noted, task)
    for end in noted.ends.get(task, ()):
        if end is not but_for:
            waiters += _noted(noted, end)
    if work is None:
        return waiters
    if handle is not None:
        for future in tuple(handle._waiters or ()):
            waiters += awaiters_of_future(future)
    employer: Any = employer_of(work) if handle is None else handle._owner
    if employer is not None:
        if employer is not but_for:
            waiters += _noted(noted, employer)
        waiters += employer._hosts(task)
    return waiters


class Waiting:
    """A wait of the calling task, noted while the block runs.

    A class, because an error that went through the frame of a function would keep what that had noted: a cycle.

    Args:
        awaited: what is waited for: tasks, or owners, which stands for all of their tasks, or what is `BringingAbout`.
        bound: whether no cancellation ends the wait.
        until: whose end is the end of the wait, although the task goes on only a turn later; who has brought it about
            goes on at once.
    """

    __slots__ = ("_awaited", "_notes", "_until", "waiter")

    def __init__(self, *awaited: object, bound: bool = True, until: Future[Any] | None = None) -> None:
        self._awaited: Iterable[object] = awaited
        self._notes = notes()  # which a block that is left behind its loop cannot ask for
        self._until = until
        self.waiter: Waiter = (kernel.current_task(), bound)

    @property
    def over(self) -> bool:
        """Whether nothing is waited for any more."""
        return self._until is not None and self._until.done()

    def __enter__(self) -> None:
        self._notes.begun += 1
        for awaited in self._awaited:
            self._notes.waits.setdefault(id(awaited), {})[self] = None

    def __exit__(self, *_: object) -> None:
        for awaited in self._awaited:
            waits = self._notes.waits[id(awaited)]
            del waits[self]
            if not waits:
                del self._notes.waits[id(awaited)]


def _noted(noted: Notes, awaited: object) -> list[Waiter]:
    """Return who has noted to wait for a task, or for all tasks of an owner."""
    return [waiting.waiter for waiting in noted.waits.get(id(awaited), ()) if not waiting.over]


class BringingAbout:
    """Something that the calling task brings about while the block runs: who waits for that waits for the task.

    Args:
        end: what it is about to bring about.
    """

    __slots__ = ("_end", "_notes", "_task")

    def __init__(self, end: Future[Any]) -> None:
        self._end = end
        self._notes = notes()
        self._task = kernel.current_task()

    def __enter__(self) -> None:
        self._notes.ends.setdefault(self._task, []).append(self._end)

    def __exit__(self, *_: object) -> None:
        ends = self._notes.ends[self._task]
        ends.remove(self._end)
        if not ends:
            del self._notes.ends[self._task]
