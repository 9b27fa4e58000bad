"""Which callables every owner takes, and what is said where something else was given: before anything has run."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from lifecycle import (
    Pool,
    Registry,
    Scope,
    Stages,
    TaskGroup,
    TaskManager,
    amap,
    background,
    cached,
    connect,
    create_background_task,
    cron,
    dial,
    fixed_delay,
    fixed_rate,
    gather,
    link,
    once,
    race,
    run,
    serve_tcp,
)
from lifecycle.testing import Bubble

from .loops import virtual

ran: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


async def job() -> str:
    ran.append("job")
    return "done"


async def greet(name: str) -> str:
    ran.append(name)
    return f"hello {name}"


class Worker:
    """Calls of all kinds."""

    async def __call__(self) -> str:
        return await job()

    async def method(self) -> str:
        return await job()

    @staticmethod
    async def static() -> str:
        return await job()

    @classmethod
    async def of_class(cls) -> str:
        return await job()


def retried(fn: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    """Decorate without a word about it, as many do."""

    def call() -> Awaitable[str]:
        return fn()

    return call


@functools.wraps(job)
def wrapped() -> Awaitable[str]:
    return job()


def as_task() -> Awaitable[str]:
    return asyncio.ensure_future(job())


CALLABLES: dict[str, Callable[[], Awaitable[str]]] = {
    "function": job,
    "partial": functools.partial(job),
    "partial of an object": functools.partial(Worker()),
    "method": Worker().method,
    "static method": Worker.static,
    "class method": Worker.of_class,
    "object": Worker(),
    "decorated": retried(job),
    "wrapped": wrapped,
    "lambda": lambda: job(),
    "returns a task": as_task,
    "returns a gathering": lambda: asyncio.gather(job()),  # type: ignore[dict-item, return-value]
}


async def in_scope(fn: Callable[[], Awaitable[str]]) -> None:
    async with Scope() as scope:
        await scope.start_soon(fn)


async def in_manager(fn: Callable[[], Awaitable[str]]) -> None:
    async with TaskManager() as manager:
        manager.start_soon(fn)


async def in_full_manager(fn: Callable[[], Awaitable[str]]) -> None:
    async with TaskManager(limit=1) as manager:
        await manager.spawn(fn)


async def in_group(fn: Callable[[], Awaitable[str]]) -> None:
    async with TaskGroup() as group:
        group.start_soon(fn)


async def in_race(fn: Callable[[], Awaitable[str]]) -> None:
    await race(fn)


async def by_rate(fn: Callable[[], Awaitable[str]]) -> None:
    async with TaskManager() as manager:
        await manager.start_soon(fixed_rate(fn, 1, max_runs=1, on_error="raise"))


async def by_delay(fn: Callable[[], Awaitable[str]]) -> None:
    async with TaskManager() as manager:
        await manager.start_soon(once(fn, 1, on_error="raise", run_timeout=3))


async def at_connect(fn: Callable[[], Awaitable[str]]) -> None:
    async def session(stages: Stages) -> None:
        await stages.start_soon(fn)

    async with connect(session):
        pass


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
@pytest.mark.parametrize(
    "start", [in_scope, in_manager, in_full_manager, in_group, in_race, by_rate, by_delay, at_connect]
)
def test_every_owner_takes_the_same_callables(start: Any, fn: Any) -> None:
    """Whatever returns an awaitable when it is called is an async function to all of them."""

    @virtual
    async def check(bubble: Bubble) -> None:
        await start(fn)
        assert ran == ["job"]

    check()


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
def test_background_takes_them_too(fn: Any) -> None:
    """Decorated, and called: its handle has the function's name and value."""

    async def main() -> None:
        handle = background(fn)()
        assert (await handle) in ("done", ["done"])

    run(main)
    assert ran == ["job"]


@virtual
async def test_a_task_is_named_after_its_function(bubble: Bubble) -> None:
    """Also where the function returned something else than a coroutine."""
    async with TaskManager() as manager:
        handles = [manager.start_soon(fn) for fn in (job, Worker().method, as_task)]
    assert [handle.name for handle in handles] == ["job", "Worker.method", "as_task"]


# Mistakes


def tick() -> None:
    ran.append("tick")


def note(what: str) -> None:
    ran.append(what)


class Ticker:
    def tick(self) -> None:
        ran.append("tick")

    def __call__(self) -> None:
        ran.append("tick")


async def numbers() -> Any:
    ran.append("numbers")
    yield 1


async def offer_to_scope(offer: Any) -> None:
    async with Scope() as scope:
        scope.start_soon(offer, "x")


async def offer_to_group(offer: Any) -> None:
    group = TaskGroup()
    async with group:
        try:
            group.start_soon(offer, "x")
        except TypeError as error:
            refused = error
    raise refused


async def offer_to_manager(offer: Any) -> None:
    async with TaskManager(limit=3) as manager:
        manager.start_soon(offer, "x")


async def offer_from_thread(offer: Any) -> None:
    async with TaskManager() as manager:
        await asyncio.to_thread(manager.start_soon_threadsafe, offer, "x")


async def offer_to_spawn(offer: Any) -> None:
    async with TaskManager(limit=3) as manager:
        await manager.spawn(offer, "x")


async def offer_to_start(offer: Any) -> None:
    async with TaskManager() as manager:
        await manager.start(offer, "x")


async def offer_to_acquire(offer: Any) -> None:
    async with Scope() as scope:
        await scope.acquire(offer, "x")


async def offer_as_release(offer: Any) -> None:
    async with Scope() as scope:
        await scope.acquire(object, release=offer)


async def offer_to_race(offer: Any) -> None:
    await race(job, offer, job())  # type: ignore[arg-type]


async def offer_to_amap(offer: Any) -> None:
    await amap(offer, ["x"])


async def offer_to_link(offer: Any) -> None:
    await link(offer)


async def offer_to_registry(offer: Any) -> None:
    async with Registry[str, str]() as registry:
        await registry.get_or_create("x", offer)


def use(thing: AbstractAsyncContextManager[Any]) -> Callable[[], Any]:
    async def enter() -> None:
        async with thing:
            pass

    return enter


TAKERS: dict[str, Callable[[Any], Any]] = {
    "scope.start_soon": offer_to_scope,
    "group.start_soon": offer_to_group,
    "manager.start_soon": offer_to_manager,
    "manager.start_soon_threadsafe": offer_from_thread,
    "manager.spawn": offer_to_spawn,
    "manager.start": offer_to_start,
    "scope.acquire": offer_to_acquire,
    "release": offer_as_release,
    "race": offer_to_race,
    "amap": offer_to_amap,
    "link": offer_to_link,
    "registry factory": offer_to_registry,
    "registry finalizer": lambda offer: Registry(finalizer=offer),
    "pool create": lambda offer: Pool(offer, print, max_size=1),
    "pool destroy": lambda offer: Pool(job, offer, max_size=1),
    "pool check": lambda offer: Pool(job, print, check=offer, max_size=1),
    "connect": lambda offer: connect(offer, "x"),
    "serve": lambda offer: serve_tcp(offer),
    "fixed_rate": lambda offer: fixed_rate(offer, 1),
    "fixed_delay": lambda offer: fixed_delay(offer, 1),
    "cron": lambda offer: cron(offer, "* * * * *", timezone="UTC"),
    "once": lambda offer: once(offer, 1),
    "decorator of a timer": lambda offer: fixed_rate(1.0)(offer),
    "background": background,
    "cached": lambda offer: cached()(offer),
    "dial": dial,
    "on_error": lambda offer: TaskManager(on_error=offer),
}


async def attempt(taker: Callable[[Any], Any], offer: Any) -> BaseException:
    """Return the error that *taker* answers *offer* with."""
    with pytest.raises(TypeError) as caught:
        answer = taker(offer)
        if asyncio.iscoroutine(answer):
            await answer
    return caught.value


@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)
def test_a_coroutine_in_place_of_a_function_is_refused_at_once(taker: Any) -> None:
    """It is closed, so that nobody hears that it was never awaited; the message says what to pass. Nothing has run."""

    @virtual
    async def check(bubble: Bubble) -> None:
        error = await attempt(taker, greet("ann"))
        assert "got a coroutine of greet(); pass greet itself, without calling it" in str(error)
        assert ran == []

    check()


SYNCHRONOUS = {"function": tick, "method": Ticker().tick, "object": Ticker(), "partial": functools.partial(tick)}
ASYNCHRONOUS_ONLY = (
    "race",
    "amap",
    "connect",
    "serve",
    "fixed_rate",
    "once",
    "cron",
    "background",
    "cached",
    "link",
    "manager.start",
    "manager.start_soon_threadsafe",
)
AT_A_HIGH_RATE = ("scope.start_soon", "group.start_soon", "manager.start_soon", "manager.spawn")


@pytest.mark.parametrize("taker", ASYNCHRONOUS_ONLY)
@pytest.mark.parametrize(
    "offer", [*SYNCHRONOUS.values(), numbers, print, dict], ids=[*SYNCHRONOUS, "generator", "built in", "class"]
)
def test_a_synchronous_function_is_refused_before_it_runs(offer: Any, taker: str) -> None:
    """As far as it can be seen without a call that it returns nothing to await; the message says what to write."""

    @virtual
    async def check(bubble: Bubble) -> None:
        error = await attempt(TAKERS[taker], offer)
        assert "async function" in str(error)
        assert "make it `async def`, or run it in a thread with anyio.to_thread.run_sync" in str(error)
        assert ran == []

    check()


@pytest.mark.parametrize("taker", AT_A_HIGH_RATE)
@pytest.mark.parametrize("offer", [print, str, ran.append, time.sleep], ids=["print", "class", "method", "sleep"])
def test_what_is_built_in_is_refused_before_it_runs(offer: Any, taker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The likeliest mistakes are seen by their type, where tasks are started at a high rate as well."""

    @virtual
    async def check(bubble: Bubble) -> None:
        error = await attempt(TAKERS[taker], offer)
        assert "expected an async function, got" in str(error)
        assert "make it `async def`, or run it in a thread with anyio.to_thread.run_sync" in str(error)

    check()
    assert (ran, capsys.readouterr().out) == ([], "")


@pytest.mark.parametrize("taker", AT_A_HIGH_RATE)
def test_a_plain_function_is_refused_by_what_it_returns(taker: str) -> None:
    """To look at each before its call would cost all the right ones; the message says what to write."""

    @virtual
    async def check(bubble: Bubble) -> None:
        error = await attempt(TAKERS[taker], note)
        assert "note() has returned None, and no coroutine; pass the function itself, made `async def`" in str(error)
        assert ran == ["x"]

    check()


def test_run_says_what_to_write() -> None:
    """For the commonest mistake of all, and with nothing but the mistake on stderr."""
    with pytest.raises(
        TypeError, match=r"got a coroutine of job\(\); pass job itself, without calling it: its arguments"
    ):
        run(job())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"run\(\) takes an async function, got .*tick.*; make it `async def`"):
        run(tick)  # type: ignore[arg-type]
    assert ran == []


def test_a_function_where_a_coroutine_belongs_says_to_call_it() -> None:
    """The opposite mistake."""

    async def main() -> None:
        async with TaskManager() as manager, Scope() as scope:
            for take in (manager.create_task, scope.create_task, create_background_task):
                with pytest.raises(TypeError, match=r"got <function job.*; call it: job\(\.\.\.\)"):
                    take(job)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="call the function to get its coroutine"):
            await gather(job)  # type: ignore[call-overload]

    run(main)
    assert ran == []


def test_a_timer_refuses_a_function_that_needs_arguments() -> None:
    """When it is made, and not at its first run; what decorates a function may give it some."""

    def injected(fn: Any) -> Any:
        @functools.wraps(fn)
        async def call(*args: Any) -> Any:
            return await fn("ann", *args)

        return call

    match = r"a timer .* without arguments, and greet\(.*\) needs some .*; give them with functools.partial\(greet, "
    with pytest.raises(TypeError, match=match):
        fixed_rate(greet, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs some"):
        once(Worker.method, 1)  # type: ignore[arg-type]
    fixed_rate(functools.partial(greet, "ann"), 1)
    fixed_rate(injected(greet), 1)


class Mute:
    """Refuses to be shown, as a large or broken object may."""

    def __repr__(self) -> str:
        raise AssertionError("shown")

    async def serve(self, *others: Mute, task_status: Any) -> None:
        task_status.started(len(others))


@virtual
async def test_start_shows_none_of_its_arguments(bubble: Bubble) -> None:
    """They may be large, or not fit to be shown."""
    asyncio.get_running_loop().set_debug(True)
    async with TaskManager() as manager, Scope() as scope, TaskGroup() as group:
        for owner in (manager, scope, group):
            assert await owner.start(Mute().serve, Mute(), Mute()) == 2
