"""Case A, DynamicTp: hooks that kept a record per task in a map keyed by the task's callable.

The miniature below is written the way the original was: ``submit`` and ``schedule`` put the callable into maps for the
statistics and the alarms, the executor wraps it, and the hooks after the run look for what they were given. One look
at what is left, the same for both, finds its leaks on every exit, and nothing of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import re
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from lifecycle import LifecycleError, TaskHandle, TaskManager
from lifecycle._manager.overdue import QueueAlarm, RunAlarm
from lifecycle.testing import Bubble, run_virtual

TASKS = 20


class Payload:
    """What a task is given; it must be gone afterwards."""


class Failure(Exception):
    """What a task raises."""


# Callables of all kinds

Work = Callable[[Payload], Coroutine[Any, Any, None]]


async def work(payload: Payload, *, ending: Exception | None = None) -> None:
    """Work for a second, and end in the given way."""
    await asyncio.sleep(1)
    if ending is not None:
        del payload
        raise ending


class Equal:
    """A callable that equals all of its kind."""

    def __init__(self, ending: Exception | None) -> None:
        self.ending = ending

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return 1

    async def __call__(self, payload: Payload) -> None:
        """Work."""
        await work(payload, ending=self.ending)


class Unhashable(Equal):
    """A callable that can be in no map."""

    __hash__ = None  # type: ignore[assignment]


class Service:
    """Has a method, which is another object, equal to the last, each time one looks."""

    def __init__(self, ending: Exception | None) -> None:
        self.ending = ending

    async def method(self, payload: Payload) -> None:
        """Work."""
        await work(payload, ending=self.ending)


def plain(ending: Exception | None) -> Work:
    """Return a function."""

    async def function(payload: Payload) -> None:
        await work(payload, ending=ending)

    return function


def wrapped(ending: Exception | None) -> Work:
    """Return a function in two wrappers."""

    @functools.wraps(work)
    async def wrapper(payload: Payload) -> None:
        await functools.partial(work, ending=ending)(payload)

    return functools.partial(wrapper)


def rebuilt(ending: Exception | None) -> Work:
    """Return a bound method."""
    return Service(ending).method


KINDS: dict[str, Callable[[Exception | None], Work]] = {
    "plain": plain,
    "wrapped": wrapped,
    "rebuilt": rebuilt,
    "unhashable": Unhashable,
    "equal": Equal,
}


# The look at what is left


def containers(root: object, seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Yield each container that holds something, of an owner and of all that belongs to it."""
    seen = set() if seen is None else seen
    if id(root) in seen or not re.match(rf"lifecycle(?!\.testing)|{__name__}", type(root).__module__):
        return
    seen.add(id(root))
    names = [name for cls in type(root).__mro__ for name in getattr(cls, "__slots__", ())]
    for name in [*getattr(root, "__dict__", ()), *names]:
        value = getattr(root, name, None)
        if isinstance(value, (dict, set, list, OrderedDict, deque)) and value:
            yield f"{type(root).__name__}.{name}", len(value)
        yield from containers(value, seen)
        if isinstance(value, tuple):  # the hooks of a manager
            for part in value:
                yield from containers(part, seen)


def left_in(root: object) -> dict[str, int]:
    """Return the containers of an owner that are not empty."""
    return dict(containers(root))


# The miniature, as it was


class LeakyExecutor:
    """A dynamic pool with "aware" hooks, whose maps are keyed by the callable that was submitted."""

    def __init__(self, limit: int, capacity: int) -> None:
        self.limit = limit
        self.capacity = capacity
        self.queue: deque[tuple[Any, Any]] = deque()
        self.running: set[asyncio.Task[None]] = set()
        self.start_times: dict[Any, float] = {}
        self.queue_timers: dict[Any, Any] = {}

    def schedule(self, fn: Work, payload: Payload) -> None:
        """Tell the hooks of the callable, wrap it, and run the wrapper: the hooks get to see the wrapper."""
        self._tell_hooks(fn)
        self._offer(functools.partial(fn), payload)

    def submit(self, fn: Work, payload: Payload) -> None:
        """Tell the hooks of the callable, and run it."""
        self._tell_hooks(fn)
        self._offer(fn, payload)

    def _tell_hooks(self, fn: Work) -> None:
        loop = asyncio.get_running_loop()
        self.start_times[fn] = loop.time()
        self.queue_timers[fn] = loop.call_later(60, str)

    def _offer(self, fn: Work, payload: Payload) -> None:
        if len(self.running) < self.limit:
            self._start(fn, payload)
        elif len(self.queue) < self.capacity:
            self.queue.append((fn, payload))
        else:
            raise OverflowError("rejected")  # and the maps keep what the hooks put there

    def _start(self, fn: Work, payload: Payload) -> None:
        task = asyncio.create_task(self._run(fn, payload))
        self.running.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, fn: Work, payload: Payload) -> None:
        timer = self.queue_timers.pop(fn, None)
        if timer is not None:
            timer.cancel()
        try:
            await fn(payload)
        finally:
            self.start_times.pop(fn, None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if not task.cancelled():
            task.exception()
        if self.queue:
            self._start(*self.queue.popleft())

    def shutdown_now(self) -> None:
        """Forget the queue, and cancel what runs."""
        self.queue.clear()
        for task in self.running:
            task.cancel()

    async def join(self) -> None:
        """Wait for all that runs."""
        while self.running:
            await asyncio.wait(self.running)
            await asyncio.sleep(0)


class LeakyHouse:
    """The six exits of the miniature."""

    def __init__(self) -> None:
        self.owner = LeakyExecutor(limit=2, capacity=TASKS)
        self.start = self.owner.submit

    async def end_by_themselves(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Run all."""
        for fn, payload in offers:
            self.start(fn, payload)
        await self.owner.join()

    async def cancel(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Cancel each while it runs."""
        for fn, payload in offers:
            self.start(fn, payload)
            await asyncio.sleep(0)
            for task in self.owner.running:
                task.cancel()
            await self.owner.join()

    async def reject(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Offer one too many, again and again."""
        self.owner.limit = self.owner.capacity = 0
        for fn, payload in offers:
            with contextlib.suppress(OverflowError):
                self.start(fn, payload)

    async def discard(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Shut down with all in the queue."""
        self.owner.limit = 0
        for fn, payload in offers:
            self.start(fn, payload)
        self.owner.shutdown_now()

    async def never_start(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Cancel each before its first step."""
        for fn, payload in offers:
            self.start(fn, payload)
            for task in self.owner.running:
                task.cancel()
            await self.owner.join()


# Ours


class Notes:
    """A statistics hook with a record per live task, which belongs to the handle."""

    def __init__(self) -> None:
        self.live: dict[TaskHandle[Any], float] = {}

    def before(self, handle: TaskHandle[Any]) -> None:
        """Take a task in."""
        self.live[handle] = asyncio.get_running_loop().time()

    def after(self, handle: TaskHandle[Any]) -> None:
        """Let it go."""
        self.live.pop(handle, None)


class OurHouse:
    """The six exits of a task manager with a statistics hook and both alarms."""

    def __init__(self) -> None:
        self.told: list[str] = []
        hooks = [Notes(), QueueAlarm(60, self.tell), RunAlarm(60, self.tell)]
        self.owner = TaskManager(
            "ours", limit=2, hooks=hooks, pending_limit=TASKS, drain_timeout=0, on_error=lambda handle, error: None
        )

    def tell(self, handle: TaskHandle[Any]) -> None:
        """Take note of an alarm; there is none."""
        self.told.append(handle.name)

    async def end_by_themselves(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Run all."""
        for fn, payload in offers:
            self.owner.start_soon(fn, payload)
        await self.owner.drain()

    async def cancel(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Cancel each while it runs."""
        for fn, payload in offers:
            handle = self.owner.start_soon(fn, payload)
            await asyncio.sleep(0)
            handle.cancel()
            await handle.wait()

    async def reject(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Offer one too many, again and again, and to a closed manager."""
        full = TaskManager("full", limit=1, pending_limit=0, hooks=[Notes()])
        blocker = full.start_soon(asyncio.sleep, 1)
        self.owner.close()
        for fn, payload in offers:
            for owner in (full, self.owner):
                with contextlib.suppress(LifecycleError):
                    owner.start_soon(fn, payload)
        await blocker
        await full.aclose()
        assert not left_in(full)

    async def discard(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Close with all in line."""
        for _ in range(2):
            self.owner.start_soon(asyncio.sleep, 9)
        for fn, payload in offers:
            self.owner.start_soon(fn, payload)
        assert self.owner.statistics().pending == TASKS
        report = await self.owner.aclose()
        assert len(report.discarded) == TASKS

    async def never_start(self, offers: Iterator[tuple[Work, Payload]]) -> None:
        """Cancel each in line, or from outside before its first step."""
        self.owner.start_soon(asyncio.sleep, 2)
        for fn, payload in offers:
            outside = self.owner.start_soon(fn, payload)
            inside = self.owner.start_soon(fn, payload)
            assert outside._task is not None
            outside._task.cancel()
            inside.cancel()
            await outside.wait()


EXITS = ["success", "failure", "cancel", "reject", "discard", "never started"]


async def take_exit(house: Any, exit_: str, kind: str) -> list[weakref.ref[Any]]:
    """Send twenty callables of a kind through an exit; return weak references to their payloads."""
    gone: list[weakref.ref[Any]] = []

    def offers() -> Iterator[tuple[Work, Payload]]:
        for _ in range(TASKS):
            payload = Payload()
            gone.append(weakref.ref(payload))
            yield KINDS[kind](Failure() if exit_ == "failure" else None), payload
            del payload

    ways = {"cancel": house.cancel, "reject": house.reject, "discard": house.discard}
    ways["never started"] = house.never_start
    await ways.get(exit_, house.end_by_themselves)(offers())
    return gone


def test_the_look_sees_what_ours_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would find something; also in a class that names its public face as its module."""
    monkeypatch.setattr(TaskManager, "__module__", "lifecycle")

    async def scenario(bubble: Bubble) -> None:
        async with TaskManager(limit=1) as manager:
            for _ in range(2):
                manager.start_soon(work, Payload())
            assert set(left_in(manager).values()) == {1}
            assert len(left_in(manager)) >= 2

    run_virtual(scenario)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exit_", EXITS)
def test_ours_keeps_nothing(exit_: str, kind: str) -> None:
    """After each exit every container and counter of live things is at zero, and what tasks were given is gone.

    The look is made while the manager still lives; the bubble looks for tasks and timers afterwards.
    """

    async def scenario(bubble: Bubble) -> None:
        house = OurHouse()
        gone = await take_exit(house, exit_, kind)
        if exit_ == "never started":
            await house.owner.drain()
        await asyncio.sleep(0)
        assert left_in(house.owner) == {}
        assert len(house.owner) == 0
        statistics = house.owner.statistics()
        assert (statistics.running, statistics.pending, statistics.abandoned) == (0, 0, 0)
        house.owner._check_invariants()
        gc.collect()
        assert [ref() for ref in gone] == [None] * TASKS
        await house.owner.aclose()
        assert left_in(house.owner) == {}
        assert not house.told

    run_virtual(scenario)


# What the look finds in the miniature: exit, kind, and whether the callable was scheduled rather than submitted.
LEAKS = [
    ("success", "plain", True),
    ("failure", "wrapped", True),
    ("cancel", "plain", True),
    ("reject", "plain", False),
    ("reject", "rebuilt", False),
    ("discard", "plain", False),
    ("never started", "plain", False),
    ("never started", "equal", False),
]


@pytest.mark.parametrize(("exit_", "kind", "scheduled"), LEAKS)
def test_the_miniature_is_caught(exit_: str, kind: str, scheduled: bool) -> None:
    """The same look finds what its maps keep."""

    async def scenario(bubble: Bubble) -> dict[str, int]:
        house = LeakyHouse()
        if scheduled:
            house.start = house.owner.schedule
        await take_exit(house, exit_, kind)
        left = left_in(house.owner)
        for timer in house.owner.queue_timers.values():
            timer.cancel()
        return left

    left = run_virtual(scenario, check=False)
    lost = 1 if kind == "equal" else TASKS  # equal callables share one entry, each taking the other's
    assert left.get("LeakyExecutor.start_times") == lost
    if exit_ in ("reject", "discard", "never started"):
        assert left.get("LeakyExecutor.queue_timers") == lost


def test_the_miniature_takes_one_callable_for_another() -> None:
    """With equal callables the record of one is removed for the other; an unhashable one cannot even be submitted."""

    async def scenario(bubble: Bubble) -> None:
        owner = LeakyExecutor(limit=2, capacity=1)
        owner.submit(Equal(None), Payload())
        await asyncio.sleep(0.5)
        owner.submit(Equal(None), Payload())
        await asyncio.sleep(0.7)
        assert len(owner.running) == 1
        assert not owner.start_times  # the first one's end removed the record of the second
        with pytest.raises(TypeError, match="unhashable"):
            owner.submit(Unhashable(None), Payload())
        await owner.join()

    run_virtual(scenario)


def test_the_miniature_is_clean_where_the_original_was() -> None:
    """Plain callables, submitted, that end by themselves: so the look does not cry for nothing."""

    async def scenario(bubble: Bubble) -> None:
        house = LeakyHouse()
        await take_exit(house, "success", "plain")
        await asyncio.sleep(0)
        assert left_in(house.owner) == {}

    run_virtual(scenario)
