"""Awaiters: which tasks wait for the end of another, as far as asyncio and anyio themselves know it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from asyncio import Future, Task
from collections.abc import Iterable, Iterator
from functools import partial
from types import FunctionType
from typing import Any, cast

from .scopes import hosts_around

#: Who waits: a task, and whether it is bound to: no cancellation makes it stop waiting.
Waiter = tuple[Task[Any], bool]

#: Stands, among those who wait, for somebody who has waited for several things and was woken by another: as long
#: as it has not gone on, nothing tells who it is, nor whether it waits for the rest again. ``asyncio.as_completed``
#: looks so also while the task that goes through it does something else, and ``gather`` once it has failed.
BETWEEN: Waiter = (cast("Task[Any]", None), False)


def awaiters_of(task: Task[Any]) -> list[Waiter]:
    """Return each task that waits for the end of *task*.

    Bound is the host of a task group, asyncio's or anyio's, and who awaits the task itself or through ``gather``, which
    pass their own cancellation on and wait. Who awaits it through a plain future, as in ``asyncio.wait`` or
    ``asyncio.as_completed``, is not. `BETWEEN` may be among them.
    """
    awaiters = awaiters_of_future(task)
    for host in hosts_around(task):
        awaiters.append((host, True))
    return awaiters


def awaiters_of_future(future: Future[Any]) -> list[Waiter]:
    """Return the tasks that are woken when *future* is done; see `awaiters_of`."""
    awaiters: list[Waiter] = []
    _add_woken(future, awaiters, None)
    return awaiters


def _add_woken(future: Any, awaiters: list[Waiter], seen: set[Any] | None) -> None:
    for callback in _callbacks_of(future):
        if type(callback) is FunctionType:
            if callback.__closure__ is not None:
                seen = seen or {future}
                for other in _futures_in(callback):
                    if other is None or other.done():
                        awaiters.append(BETWEEN)
                    elif other not in seen:
                        seen.add(other)
                        _add_woken(other, awaiters, seen)
        elif type(callback) is partial:  # wait_for before Python 3.12: it waits for what it has cancelled
            for waiter in callback.args:
                if isinstance(waiter, Future):
                    awaiters += ((task, True) for task in _woken_by(waiter))
        else:
            target = getattr(callback, "__self__", None)
            if isinstance(target, Task):
                awaiters.append((target, type(future).cancel is not Future.cancel))
            elif (host := getattr(target, "_parent_task", None)) is not None:  # a task group
                awaiters.append((host, True))
            elif type(target) is _ITERATOR:
                for getter in _getters_of(target._done):  # type: ignore[union-attr]
                    if getter is None:
                        awaiters.append(BETWEEN)
                    else:
                        _add_woken(getter, awaiters, seen)


def _woken_by(waiter: Future[Any]) -> Iterator[Task[Any]]:
    """Yield who waits for *waiter*, also where that is done already, and the task has only not gone on yet."""
    if waiter.done():
        yield from (task for task in asyncio.all_tasks() if getattr(task, "_fut_waiter", None) is waiter)
    else:
        yield from (woken[0] for woken in awaiters_of_future(waiter) if woken is not BETWEEN)


#: What ``asyncio.as_completed`` returns from Python 3.13 on; before that it is a function with a queue in its closure.
_ITERATOR: Any = getattr(asyncio.tasks, "_AsCompletedIterator", None)


def _callbacks_of(future: Any) -> list[Any]:
    """Return what is called when *future* is done, which may be one of a thread, by which two of a loop are chained."""
    if isinstance(future, concurrent.futures.Future):
        return list(future._done_callbacks)  # type: ignore[attr-defined]
    return [callback for callback, _ in future._callbacks or ()]


def _futures_in(callback: FunctionType) -> Iterator[Any]:
    """Yield the futures that a function closes over, as those of ``gather`` and ``wait`` do; see `_getters_of`."""
    for cell in callback.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not set yet
            continue
        if asyncio.isfuture(content) or isinstance(content, concurrent.futures.Future):
            yield content
        elif type(content) is asyncio.Queue and callback.__module__ == asyncio.tasks.__name__:
            yield from _getters_of(content)


def _getters_of(queue: Any) -> Iterable[Any]:
    """Return the futures of those who wait at *queue*; None alone where nobody does."""
    return queue._getters or (None,)
