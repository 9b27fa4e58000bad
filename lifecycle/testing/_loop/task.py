"""Tasks and futures numbered by their loop, so that sets of them have the same order in every run.

asyncio and anyio keep tasks in sets hashed by address: 200 identical runs of an aborted task group gave 175
to 196 different cancellation orders. The number as hash gives one.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import base_events
from typing import TYPE_CHECKING, Any, TypeVar

from ..._ground.frames import Frames
from .._sites import made_by_anyio, made_by_user, raw_frames

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context

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
        by_user: whether user code asked for it; None where that was not looked for.
    """

    __slots__ = ("by_user", "number", "site")

    def __init__(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        loop: NumberingLoop,
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
        loop.tasks_made.append(weakref.ref(self))  # only now: a task that could not be made crashes when it is asked

    def __hash__(self) -> int:
        return self.number


def virtual_task_factory(loop: Any, coro: Any, **options: Any) -> VirtualTask[Any]:
    """Make a numbered task; the factory of every virtual loop."""
    return VirtualTask(coro, loop=loop, **options)


def eager_virtual_task_factory(loop: Any, coro: Any, **options: Any) -> VirtualTask[Any]:
    """Make a numbered task that takes its first step at once, as ``asyncio.eager_task_factory`` does."""
    options.setdefault("eager_start", True)
    return VirtualTask(coro, loop=loop, **options)


_eager_factory = getattr(asyncio, "eager_task_factory", None)


class NumberingLoop(base_events.BaseEventLoop):
    """A loop that numbers its tasks and futures.

    Attributes:
        site_depth: how many frames to keep of where a task was made.
        watch_makers: whether tasks find out if user code asked for them.
        targets: the faults that wait for a task, by the number it will have.
        tasks_made: every task made so far.
    """

    def _begin_numbering(self) -> None:
        self.site_depth = 3
        self.watch_makers = False
        self.targets: dict[int, list[tuple[Any, Any]]] = {}
        # Weak, so that a lost task is still lost. asyncio's own register is shared by all loops, and slow.
        self.tasks_made: list[weakref.ref[asyncio.Task[Any]]] = []
        self._numbers = 0
        self._own_factory: Any = virtual_task_factory

    def next_number(self) -> int:
        """Number the next task or future of this loop."""
        self._numbers += 1
        return self._numbers

    def adopt(self, task: Any, coro: Any) -> Any:
        """Return the coroutine that a task about to be made shall run, wrapped where a fault needs it."""
        for fault, target in self.targets.get(task.number, ()):
            target.task = task
            target.is_group_child = made_by_anyio(sys._getframe(2))
            coro = fault.wrap(coro, target)
        return coro

    def create_future(self) -> asyncio.Future[Any]:
        future: VirtualFuture[Any] = VirtualFuture(loop=self)
        self._numbers = future.number = self._numbers + 1
        return future

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None, **options: Any) -> Any:
        self._check_closed()  # type: ignore[attr-defined]
        if context is not None:
            options["context"] = context
        task: asyncio.Task[Any] = self._own_factory(self, coro, **options)
        if name is not None:
            task.set_name(name)
        return task

    def set_task_factory(self, factory: Any) -> None:
        super().set_task_factory(factory)
        if factory is None:
            factory = virtual_task_factory
        elif factory is _eager_factory:
            factory = eager_virtual_task_factory
        self._own_factory = factory
