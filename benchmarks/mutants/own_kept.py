"""The table of mutants, continued: what is kept for too long, or not long enough."""

from __future__ import annotations

from .own_table import OwnMutant

CHILDREN, DROPPED, LOOPS, EARLY, MANY, WAITS = (
    ("kept_children",),
    ("kept_by_their_tasks",),
    ("kept_for_the_next_loop",),
    ("kept_until_released",),
    ("kept_among_many",),
    ("kept_waits",),
)

KEPT = [
    # Children.
    OwnMutant(
        "a child is kept before it owns anything", "ScopeBooks.be_child", "self._let_go()", "place.keep()", CHILDREN
    ),
    OwnMutant("a child that is empty again is kept", "ScopeBooks.forget", "self._let_go()", "pass", CHILDREN),
    OwnMutant("a child in use is not kept", "Child.keep", "self._held = self._reference()", "pass", CHILDREN),
    # Owners that were dropped.
    OwnMutant(
        "a dropped manager goes with its tasks",
        "TaskBooks._bind",
        "keep_tasks_of(self, self._running)",
        "pass",
        DROPPED,
    ),
    OwnMutant(
        "a dropped scope goes with its task", "TaskScope._launch_first", "self._alive[handle] = None", "pass", DROPPED
    ),
    # A second loop.
    OwnMutant("a manager stays in a loop that is closed", "TaskBooks._is_unbound", "loop.is_closed()", "False", LOOPS),
    OwnMutant(
        "a place in a loop that is closed",
        "TaskBooks._place",
        "self._come_in()",
        "self._loop is not None or self._bind()",
        LOOPS,
    ),
    OwnMutant(
        "a slot in a loop that is closed",
        "TaskManager.spawn",
        "self._come_in()",
        "self._loop is not None or self._bind()",
        LOOPS,
    ),
    # Releases before their turn.
    OwnMutant(
        "what was released early stays owned",
        "EarlyRelease.run",
        "self._scope._books.forget(entry)",
        "self._scope._books[entry] = None",
        EARLY,
    ),
    OwnMutant("released by each who asks", "Scope.release", "if under_way is not None:", "if False:", EARLY),
    OwnMutant(
        "a second caller does not wait", "EarlyRelease.join", "await kernel.wait_shielded(self._over)", "pass", EARLY
    ),
    OwnMutant("what is spared is disowned", "EarlyRelease.run", "if entry in self._books:", "if False:", EARLY),
    OwnMutant("what is owned twice is found once", "Places._note", "self._doubled = True", "pass", MANY),
    OwnMutant("what has come in since is not found", "Places.find", "newer.append(entry)", "pass", MANY),
    OwnMutant("what has gone is found", "stands_for", "entry in books and ", "", MANY),
    # Waits that are over.
    OwnMutant(
        "a wait that is over counts", "Waiting.over", "self._until is not None and self._until.done()", "False", WAITS
    ),
    OwnMutant("a wait stays noted", "Waiting.__exit__", "del waits[self]", "return", WAITS),
    OwnMutant(
        "who has closed a scope closes it for ever", "EndingScope._unwind", "self._closing_in = None", "pass", WAITS
    ),
]
