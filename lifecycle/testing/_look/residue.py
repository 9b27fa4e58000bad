"""What a run has left behind, in words, and how to take it all down again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from .._network import MemoryTransport
from .._sites import describe_task
from .tracking import open_descriptors

if TYPE_CHECKING:
    from .._loop.turns import VirtualMixin
    from .bubble import Bubble


def find_residue(bubble: Bubble) -> list[str]:
    """Name everything that should not be there once the main task has ended."""
    loop = bubble.loop
    residue = [describe_task(task).strip() for task in loop.live_tasks() if not bubble.is_outside(task)]
    if bubble.has_network():
        residue += bubble.network.residue()
        bubble.network.end_peers()
        loop.settle()
    residue += [f"timer at {timer.when():g} s: {timer!r}" for timer in loop.live_timers() if not _is_wire(timer)]
    residue += bubble.ledger.residue()
    if bubble.descriptors is not None:
        residue += _new_descriptors(bubble.descriptors)
    residue += [describe_problem(problem) for problem in loop.problems]
    return residue


def no_busy_loop(bubble: Bubble) -> str | None:
    """An invariant: nobody waits by running in circles, as a task that takes a re-sent cancellation and goes on."""
    times = bubble.loop.jumps_while_busy
    return f"busy loop: {times} time(s) tasks ran in circles until the clock was moved" if times else None


def _new_descriptors(before: dict[str, str]) -> list[str]:
    now = open_descriptors()
    return [f"file descriptor {name} to {now[name]}" for name in now if now[name] != before.get(name)]


def _is_wire(timer: Any) -> bool:
    """Whether a timer is data under way in the memory network: the network's own, not the scenario's."""
    return isinstance(getattr(timer._callback, "__self__", None), MemoryTransport)


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
        if loop._default_executor is not None:  # type: ignore[attr-defined]
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
