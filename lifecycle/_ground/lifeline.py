"""Lifelines: a task that is alive keeps its owner alive, and so itself, as long as its event loop is there."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, MutableMapping
from typing import Any

from . import kernel
from .links import Link
from .per_loop import kept_by_loop

#: Returns what a loop keeps alive, by whatever keys. An owner that has its tasks among other things keeps those there
#: that are alive.
lifeline: Callable[[AbstractEventLoop], dict[Any, Any]] = kept_by_loop("_lifecycle_lifelines", dict)


def keep_tasks_of(owner: object, tasks: MutableMapping[Any, Any]) -> None:
    """Keep what is in *tasks*, at any time from now on, until *owner* is gone.

    asyncio refers to its tasks weakly: one that waits for something that only it knows is collected together with it,
    in the middle of its work. What is kept refers to its owner, which is therefore not gone before its tasks are. An
    owner without tasks goes as ever, so this costs nothing per task.
    """
    lifelines = lifeline(kernel.running_loop())
    lifelines[Link(owner, lifelines.pop)] = tasks
