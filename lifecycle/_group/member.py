"""One member of a task group: a native task, or the handle of one."""

from __future__ import annotations

from asyncio import CancelledError, Task
from typing import Any

from .._ground import kernel
from .._ground.frames import coroutine_of
from .._task.handle import TaskHandle
from .._task.startup import Startup

#: A native task, made by ``create_task``, or the handle of one, made by ``start_soon``.
Member = Task[Any] | TaskHandle[Any]


class CancellationAfterFirstStep(kernel.Cancellation):
    """A request to cancel a native task that may not have begun: it is let in first, so that it can clean up."""

    __slots__ = ()

    def _try_to_deliver(self, _: object = None) -> None:
        if self._task is not None and awaits_first_step(self._task):
            self._look = self._task.get_loop().call_soon(self._try_to_deliver)
        else:
            super()._try_to_deliver()


def awaits_first_step(task: Task[Any]) -> bool:
    """Return whether *task* runs a coroutine that has not begun; False where that cannot be seen."""
    coro: Any = coroutine_of(task)
    return getattr(coro, "cr_suspended", True) is False and not coro.cr_running and coro.cr_frame is not None


def name_of_member(member: Member) -> str:
    """Return the name of the task of *member*."""
    return member.name if isinstance(member, TaskHandle) else member.get_name()


def native_task_of(member: Member) -> Task[Any]:
    """Return the native task of *member*, which has not ended."""
    task = member._task if isinstance(member, TaskHandle) else member
    assert task is not None
    return task


def was_cancelled(member: Member) -> bool:
    """Return whether an ended *member* had been cancelled before."""
    if isinstance(member, TaskHandle):
        return member._cancellation is not None and member._cancellation.delivered
    return member.cancelling() > 0


async def run_startup(startup: Startup) -> Any:
    """Run what `TaskGroup.start` starts; a failed start ends cancelled, because its starter has the error."""
    result = await startup.run()
    if startup._error is not None:
        raise CancelledError("it never started")
    return result
