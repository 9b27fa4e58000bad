"""Runs the jobs of a subflow inside one job: each when those that it needs have ended, the most urgent first."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import anyio

from .._ground.errors import HandlerError
from .._ground.values import Kept
from .._work.crew import run_members
from .again import run_again

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._work.frame import Frame
    from .flow import Flow, JobSpec


class Order:
    """The jobs of a flow that can start, those that still wait, and the outputs of those that have ended.

    Args:
        flow: the flow; its needs have no cycle.
        label: names the outputs in the error if their total is too large.
    """

    def __init__(self, flow: Flow, label: str) -> None:
        self.outputs: dict[str, Any] = {}
        self.left = len(flow.jobs)
        self._jobs = flow.jobs
        self._places = {name: place for place, name in enumerate(flow.jobs)}
        self._missing = {name: len(spec.needs) for name, spec in flow.jobs.items()}
        self._needed_by: dict[str, list[str]] = {}
        for name, spec in flow.jobs.items():
            for needed in spec.needs:
                self._needed_by.setdefault(needed, []).append(name)
        self._ready: list[tuple[int, int, str]] = []
        self._startable = anyio.Semaphore(0)
        self._kept = Kept(label)
        for name, count in self._missing.items():
            if not count:
                self._make_ready(name)

    async def next(self) -> JobSpec | None:
        """Return the most urgent job that can start, as soon as there is one; None when no more will come.

        Cancellation: takes no job.
        """
        await self._startable.acquire()
        if not self.left:
            self._startable.release()  # for the next task that waits: all jobs have been taken
            return None
        self.left -= 1
        if not self.left:
            self._startable.release()
        return self._jobs[heapq.heappop(self._ready)[2]]

    def ended(self, name: str, output: Any) -> None:
        """Keep the output of a job that has succeeded, and make ready the jobs that waited for it.

        Raises:
            OutputTooLarge: all outputs together are too large.
        """
        self._kept.add(output)
        self.outputs[name] = output
        for other in self._needed_by.get(name, ()):
            self._missing[other] -= 1
            if not self._missing[other]:
                self._make_ready(other)

    def _make_ready(self, name: str) -> None:
        heapq.heappush(self._ready, (-self._jobs[name].priority, self._places[name], name))
        self._startable.release()


async def run_jobs(frame: Frame, flow: Flow, names: Mapping[str, Any], *, width: int, path: str) -> dict[str, Any]:
    """Run all jobs of a flow, at most *width* at once, and return their outputs by name; the first failure stops all.

    Args:
        frame: where they belong.
        flow: the flow.
        names: the root names for its expressions, without ``blocks``.
        width: how many tasks are made.
        path: the path of the block that runs the flow.
    """
    order = Order(flow, path)

    async def member(own: Frame) -> None:
        while (spec := await order.next()) is not None:
            if spec.delay:
                await anyio.sleep(spec.delay)
            outputs = {name: {"output": order.outputs[name]} for name in spec.uses}
            inner = own.renamed({**names, "blocks": outputs})
            order.ended(spec.name, await run_again(inner, spec.block, spec.retries + 1, spec.backoff))
            frame.count_done(path, len(flow.jobs))

    await run_members(frame, member, count=min(width, len(flow.jobs)), path=path)
    if missing := [name for name in flow.jobs if name not in order.outputs]:  # whatever became of its task
        raise HandlerError(f"{path}: job {missing[0]!r} has neither a result nor an error")
    return order.outputs
