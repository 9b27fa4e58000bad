"""The logs of all containers of a job, as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import anyio

from lifecycle import TaskGroup

from .._ground.bridge import Bell
from . import _ends
from ._log import TAIL, ContainerLog
from ._view import View

LATE: Final = 4.0
"""Seconds after the end of a job in which the first is heard of a container of it: pods are watched by themselves."""

LOOK: Final = 1.0
"""Seconds after which it is looked again for room."""


class Slots:
    """Bounds how many logs are read at once, over all jobs: of containers that run, and of those that have ended.

    Those that have ended do not wait for others that run: whoever waits for a job waits for its log as well.
    """

    def __init__(self, most: int) -> None:
        self.running = anyio.CapacityLimiter(most)
        self.ended = anyio.CapacityLimiter(most)


class Logs:
    """Follows the logs of all containers of a job, each from when it runs.

    Args:
        name: the Job's.
        namespace: where it is.
        say: gets each line, with the container's name before it where there are several.
        slots: bounds how many streams there are at once, over all jobs.
        adopted: whether the job ran before: then only the end of what it has said so far is read.

    Attributes:
        complete: whether the last line of the last container was handed on.
    """

    def __init__(self, name: str, namespace: str, say: Callable[[str], None], slots: Slots, *, adopted: bool) -> None:
        self.complete = False
        self._name = name
        self._namespace = namespace
        self._say = say
        self._slots = slots
        self._tail = TAIL if adopted else None
        self._logs: dict[tuple[str, str], ContainerLog] = {}
        self._running: set[tuple[str, str]] = set()
        self._was_seen = False  # whether there was a Job: a view may be behind its creation
        self._ended_at: float | None = None  # while its pods do not tell so

    async def follow(self, view: View) -> None:
        """Hand over all lines, and return when the job has ended and there are no more; may be called once more.

        Cancellation: ends it.

        Raises:
            ClientStale: the view has come to its end; follow on with another one.
        """
        self._running.clear()
        with view.following(self._name) as bell:
            async with TaskGroup() as group:
                while True:
                    if view.failure is not None:
                        raise view.failure
                    for key in self._begun(view):
                        if key not in self._logs or (key not in self._running and not self._logs[key].complete):
                            self._running.add(key)
                            group.start_soon(self._follow, view, key, bell, name=f"log of {'/'.join(key)}")
                    if self._over(view) and not self._running:
                        self.complete = True
                        return
                    await bell.wait(None if self._ended_at is None else LATE)

    async def _follow(self, view: View, key: tuple[str, str], bell: Bell) -> None:
        pod, container = key
        if (log := self._logs.get(key)) is None:
            several = sum(len(one["spec"]["containers"]) for one in view.of(self._name).pods.values()) > 1
            say = partial(self._say_of, f"{container}: ") if several else self._say
            log = self._logs[key] = ContainerLog(self._namespace, pod, container, say)
        try:
            slots = await self._take_slot(view, key)
            try:
                await log.follow(view.client, lambda: self._ended(view, key), self._tail)
            finally:
                slots.release()
        finally:
            self._running.discard(key)
            bell.ring()

    async def _take_slot(self, view: View, key: tuple[str, str]) -> anyio.CapacityLimiter:
        """Wait until there is room among the logs of those that run, or the container has ended."""
        with view.following(self._name) as bell:
            while not self._ended(view, key):
                with contextlib.suppress(anyio.WouldBlock):
                    self._slots.running.acquire_nowait()
                    return self._slots.running
                await bell.wait(LOOK)
        await self._slots.ended.acquire()
        return self._slots.ended

    def _say_of(self, prefix: str, line: str) -> None:
        self._say(prefix + line)

    def _begun(self, view: View) -> list[tuple[str, str]]:
        return [
            (name, status["name"])
            for name, pod in view.of(self._name).pods.items()
            for status in _ends.statuses(pod)
            if "running" in (status.get("state") or {}) or _has_run(status)
        ]

    def _ended(self, view: View, key: tuple[str, str]) -> bool:
        pod = view.of(self._name).pods.get(key[0])
        if pod is None:
            return True
        return any(status["name"] == key[1] and _has_run(status) for status in _ends.statuses(pod))

    def _over(self, view: View) -> bool:
        """Return whether no further container begins."""
        seen = view.of(self._name)
        self._was_seen = self._was_seen or seen.job is not None
        gone = view.synchronous and self._was_seen and seen.job is None  # before, its creation may not be seen yet
        finished = seen.job is not None and _ends.is_finished(seen.job)
        if not gone and not finished and not view.has_ended(self._name):
            self._ended_at = None
            return False
        now = anyio.current_time()
        self._ended_at = self._ended_at or now
        return gone or _ends.is_told(seen) or now - self._ended_at >= LATE


def _has_run(status: Mapping[str, Any]) -> bool:
    state = (status.get("state") or {}).get("terminated") or {}
    return bool(state.get("containerID"))
