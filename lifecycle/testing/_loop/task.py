"""Tasks and futures of a virtual loop: numbered, so that sets of them have the same order in every run.

asyncio and anyio keep tasks in sets hashed by address: 200 identical runs of an aborted task group gave 175
to 196 different cancellation orders. The number as hash gives one.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from ..._ground.frames import Frames
from .._sites import made_by_user, raw_frames

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context

    from .turns import VirtualMixin

T = TypeVar("T")


class VirtualFuture(asyncio.Future[T]):
    """A future that hashes by its number within its loop."""

    __slots__ = ("number",)

    # Set by the loop that makes it; an __init__ of its own would cost as much as the future.
    number: int

    def __hash__(self) -> int:
        return self.number


class VirtualTask(asyncio.Task[T]):
    """A task that hashes by its number within its loop and knows where it was made.

    Attributes:
        number: how many tasks and futures its loop had made before.
        site: raw frames of the code that made it, formatted only when printed.
        by_user: whether user code asked for it; None where nobody wanted to know.
    """

    __slots__ = ("by_user", "number", "site")

    def __init__(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        loop: VirtualMixin,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool = False,
    ) -> None:
        self.number = loop.next_number()
        self.site: Frames = raw_frames(loop.site_depth, 2)
        self.by_user: bool | None = None
        if loop.watch_makers:
            self.by_user = made_by_user(sys._getframe(1))
        if self.number in loop.targets:
            coro = loop.adopt(self, coro)
        if name is None:
            name = f"Task-{self.number}"
        if eager_start:
            super().__init__(coro, loop=loop, name=name, context=context, eager_start=True)  # type: ignore[call-arg,unused-ignore]
        else:
            super().__init__(coro, loop=loop, name=name, context=context)
        loop.tasks_made.append(weakref.ref(self))  # only now: half a task, of what is no coroutine, crashes who asks it

    def __hash__(self) -> int:
        return self.number


def virtual_task_factory(loop: Any, coro: Any, **options: Any) -> VirtualTask[Any]:
    """Make a numbered task; the factory of every virtual loop."""
    return VirtualTask(coro, loop=loop, **options)


def eager_virtual_task_factory(loop: Any, coro: Any, **options: Any) -> VirtualTask[Any]:
    """Make a numbered task that takes its first step at once, as ``asyncio.eager_task_factory`` does."""
    options.setdefault("eager_start", True)
    return VirtualTask(coro, loop=loop, **options)
