"""What is left in a loop when a run has ended, in words, and how to take it all down again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from .._network import MemoryTransport

if TYPE_CHECKING:
    from .._loop.turns import VirtualMixin


def describe_timers(loop: VirtualMixin) -> list[str]:
    """One line for each timer that is set, without those of data under way in the memory network."""
    return [
        f"timer at {timer.when():g} s: {timer!r}"
        for timer in loop.live_timers()
        if not isinstance(getattr(timer._callback, "__self__", None), MemoryTransport)  # type: ignore[attr-defined]
    ]


def describe_problem(problem: dict[str, Any]) -> str:
    """One line for what the loop's exception handler was told."""
    error = problem.get("exception")
    message = problem.get("message", "unhandled problem")
    return f"in the loop's exception handler: {message}" + (f": {error!r}" if error is not None else "")


def end_everything(loop: VirtualMixin) -> None:
    """Cancel what is left, let it end, and close the loop; nothing of a run may reach the next one."""
    loop.chooser = None
    loop.observer = None
    loop.max_steps = loop.steps + 20_000
    with contextlib.suppress(Exception, asyncio.CancelledError):
        _end_tasks(loop)
    network = getattr(loop, "network", None)
    if network is not None:
        network.abort_all()
        with contextlib.suppress(Exception):
            loop.settle()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        if loop._asyncgens:  # type: ignore[attr-defined]
            loop.run_until_complete(loop.shutdown_asyncgens())
        if loop._default_executor is not None:
            loop.run_until_complete(loop.shutdown_default_executor())
    for task in loop.live_tasks():
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


def _end_tasks(loop: VirtualMixin) -> None:
    """Cancel every task, three times: one that swallows the first must not keep the others."""
    for _ in range(3):
        left = loop.live_tasks()
        if not left:
            return
        for task in left:
            task.cancel()
        loop.settle()
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()
