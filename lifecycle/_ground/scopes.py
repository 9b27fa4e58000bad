"""Scopes: what is read off anyio's cancel scopes; the only file that knows their private parts.

anyio counts and repeats its cancellations by itself, from scopes that other tasks cannot see. An owner has to see them:
to keep out of shields, and to tell a cancellation by a scope from a native one.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import CancelledError, Task
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast
from weakref import ref

from anyio import CancelScope

_task_states: Any = None


def innermost_scope(task: Task[Any]) -> CancelScope | None:
    """Return the anyio scope that *task* has entered last, and not left yet."""
    global _task_states
    if _task_states is None:
        backend = sys.modules.get("anyio._backends._asyncio")
        if backend is None:
            return None  # anyio's scopes are not loaded, so there are none
        _task_states = backend._task_states.data  # of a WeakKeyDictionary, whose own method takes twice as long
    state = _task_states.get(ref(task))
    return None if state is None else state.cancel_scope


def native_requests(task: Task[Any]) -> int:
    """Return how many cancellations of *task* have been requested and not taken back, without those by anyio scopes.

    ``Task.cancelling()`` counts both, and a scope takes its own back when it is left.
    """
    requests = task.cancelling()
    return requests - sum(scope._pending_uncancellations or 0 for scope in _scopes_of(task)) if requests else 0


def is_folded(task: Task[Any]) -> bool:
    """Return whether a cancellation of *task* by an anyio scope that it is in stands for a native request as well.

    asyncio makes one exception of two requests in one step. The scope, too, goes by what it found when it was entered.
    One that has been left already has let it pass for the native request alone.
    """
    cancelled = [scope for scope in _scopes_of(task) if scope.cancel_called]
    found: int = cancelled[-1]._cancelling_at_enter if cancelled else 0
    return native_requests(task) > found


def _scopes_of(task: Task[Any]) -> Iterator[Any]:
    """Yield the anyio scopes that *task* has entered and not left, the innermost first."""
    scope: Any = innermost_scope(task)
    while scope is not None:
        if scope._host_task is task:
            yield scope
        scope = scope._parent_scope


def hosts_around(task: Task[Any]) -> list[Task[Any]]:
    """Return the tasks whose scopes *task* is in: the host of its task group is one, and cannot go before it ends."""
    hosts = []
    scope: Any = innermost_scope(task)
    while scope is not None:
        host = scope._host_task
        if host is not None and host is not task:
            hosts.append(host)
        scope = scope._parent_scope
    return hosts


def scope_of_caller() -> CancelScope | None:
    """Return the anyio scope that the calling task has entered last; None also where no task calls."""
    loop = asyncio._get_running_loop()
    task = asyncio.current_task(loop) if loop is not None else None
    return innermost_scope(task) if task is not None else None


def is_scope_cancellation(error: BaseException) -> bool:
    """Return whether *error* is a cancellation by an anyio scope, which anyio itself repeats and takes back."""
    return (
        isinstance(error, CancelledError)
        and bool(error.args)
        and isinstance(error.args[0], str)
        and error.args[0].startswith(("Cancelled via cancel scope ", "Cancelled by cancel scope "))
    )


#: The class of the shields of ours that only keep scopes from repeating themselves: a native cancellation passes them.
_passed: Any = None


def in_shielded_section(task: Task[Any], around: CancelScope | None = None) -> bool:
    """Return whether *task* is now inside an ``anyio.CancelScope(shield=True)`` that it entered inside of *around*.

    One that `shield_from_scopes` lets native cancellations pass does not count.
    """
    scope: Any = innermost_scope(task)
    while scope is not None and scope is not around:
        if scope.shield and type(scope) is not _passed:
            return True
        scope = scope._parent_scope
    return False


def shield_from_scopes(*, passed: bool = False) -> AbstractContextManager[object]:
    """Return a shield where the calling task is inside an anyio scope; elsewhere nothing can be redelivered.

    Args:
        passed: whether our own cancellations pass it, as every native one does.
    """
    if not in_scope(cast("Task[Any]", asyncio.current_task())):
        return nullcontext()
    return passed_shield() if passed else shield()


def in_scope(task: Task[Any]) -> bool:
    """Return whether *task* is inside an anyio scope at this moment."""
    return innermost_scope(task) is not None


def shield() -> CancelScope:
    """Return an anyio shield, to be entered in the calling task."""
    return CancelScope(shield=True)


def passed_shield() -> CancelScope:
    """Return an anyio shield that our own cancellations pass."""
    global _passed
    if _passed is None:
        _passed = type("PassedShield", (type(shield()),), {"__slots__": ()})
    return cast("CancelScope", _passed(shield=True))
