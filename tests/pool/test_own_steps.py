"""What users' functions do in the middle of a pool's steps, in which context they run, and what never starts."""

import asyncio
import contextlib
import contextvars
import gc
import warnings
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lifecycle import OwnerClosed, Pool, PoolFull
from lifecycle.testing import Bubble

from ..loops import some_turns, virtual
from .connections import Server, use

CALLS: dict[str, Callable[[Pool[Any]], object]] = {
    "expire": lambda pool: pool.expire(),
    "shrink": lambda pool: pool.resize(1),
    "grow": lambda pool: pool.resize(8),
    "borrow": lambda pool: try_it(pool),
    "statistics": lambda pool: pool.statistics(),
    "raise": lambda pool: 1 / 0,
}


def try_it(pool: Pool[Any]) -> None:
    try:
        with pool.try_acquire():
            pass
    except (PoolFull, OwnerClosed):
        pass


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("step", ["create", "destroy", "check", "reset"])
@pytest.mark.parametrize("cause", ["idle", "lifetime", "expire", "resize", "loans"])
@virtual
async def test_a_step_that_calls_back_into_the_pool_changes_nothing(
    bubble: Bubble, call: str, step: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every value is ended once, and the upkeep goes on: the step has written its books before."""
    caplog.set_level("CRITICAL", "lifecycle.pool")
    alive: set[int] = set()
    made = calls = 0

    def called_back(name: str) -> None:
        nonlocal calls
        if name == step and calls < 3:
            calls += 1
            pool._check_invariants()
            CALLS[call](pool)
            pool._check_invariants()

    def create() -> int:
        nonlocal made
        called_back("create")
        made += 1
        alive.add(made)
        return made

    def destroy(value: int) -> None:
        alive.remove(value)
        called_back("destroy")

    times = {"idle": {"max_idle": 0.5}, "lifetime": {"max_lifetime": 0.5}}.get(cause, {})
    pool = Pool(
        create,
        destroy,
        max_size=4,
        check=lambda value: called_back("check"),
        check_bypass=0.0,
        reset=lambda value: called_back("reset"),
        **times,
    )
    async with raising_only(ZeroDivisionError), pool:
        for _ in range(6):
            await asyncio.gather(*(hold_one(pool) for _ in range(3)))
            if cause == "expire":
                pool.expire()
            if cause == "resize":
                pool.resize(2)
                pool.resize(4)
            await asyncio.sleep(1.0 if times else 0.1)
            pool._check_invariants()
            assert len(alive) == len(pool)
            assert not times or not alive
    assert not alive


@contextlib.asynccontextmanager
async def raising_only(error: type[Exception]) -> AsyncIterator[None]:
    """Let one kind of error pass, alone or in groups; any other is raised."""
    try:
        yield
    except* error:
        pass


async def hold_one(pool: Pool[Any]) -> None:
    try:
        async with pool.acquire(timeout=5.0):
            await asyncio.sleep(0.05)
    except ZeroDivisionError:
        pass


request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="nobody")


@pytest.mark.parametrize("asynchronous", [False, True])
@virtual
async def test_everything_runs_in_the_context_of_the_pool(bubble: Bubble, asynchronous: bool) -> None:
    """Not in that of the borrower that happened to be there, which nothing keeps alive either."""
    seen: set[tuple[str, str]] = set()

    def step(name: str) -> Callable[..., Any]:
        def now(*_: object) -> object:
            seen.add((name, request.get()))
            request.set("the step before")
            return object()

        async def later(*_: object) -> object:
            await asyncio.sleep(0.01)
            return now()

        return later if asynchronous else now

    class Request:
        pass

    of_request: contextvars.ContextVar[Request] = contextvars.ContextVar("of_request")
    request.set("the owner")
    pool = Pool(
        step("create"),
        step("destroy"),
        check=step("check"),
        reset=step("reset"),
        max_size=3,
        min_size=1,
        check_bypass=0.0,
        max_idle=0.5,
        max_lifetime=2.0,
    )
    request.set("the block")
    kept: list[weakref.ref[Request]] = []

    async def serve(name: str) -> None:
        request.set(name)
        here = Request()
        of_request.set(here)
        kept.append(weakref.ref(here))
        for _ in range(3):
            async with pool.acquire(timeout=50.0), pool.acquire(timeout=50.0):
                await asyncio.sleep(0.05)
        with pytest.raises(KeyError):
            async with pool.acquire():
                raise KeyError

    async with pool:
        for number in range(3):
            await asyncio.create_task(serve(f"request {number}"))
            await asyncio.sleep(0.2)
        gc.collect()
        assert not [one for one in kept if one() is not None]
        await asyncio.sleep(5)
    assert seen == {(name, "the owner") for name in ("create", "destroy", "check", "reset")}


@pytest.mark.parametrize("step", ["create", "destroy", "check", "reset"])
def test_a_task_that_cannot_be_started_breaks_no_slot(step: str, caplog: pytest.LogCaptureFixture) -> None:
    """The borrower is told, or the value is replaced; then the pool is as good as new."""
    caplog.set_level("CRITICAL", "lifecycle.pool")
    refuses = False

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        if refuses and coro.__qualname__.startswith("Chore."):
            raise RuntimeError("no task now")
        return asyncio.Task(coro, loop=loop, **options)

    async def later(*_: object) -> object:
        await asyncio.sleep(0)
        return object()

    async def main() -> None:
        nonlocal refuses
        asyncio.get_running_loop().set_task_factory(factory)
        functions: dict[str, Any] = {"create": object, "destroy": lambda value: None, step: later}
        async with Pool(max_size=1, check_bypass=0.0, acquire_timeout=5.0, **functions) as pool:
            for _ in range(4):
                async with pool.acquire():
                    pass
                if step == "destroy":
                    pool.expire()
                    await some_turns()
                if step == "create":
                    pool.expire()
                refuses = True
                with pytest.raises(RuntimeError, match="no task now") if step == "create" else contextlib.nullcontext():
                    async with pool.acquire():
                        pass
                    pool.expire()
                refuses = False
                pool._check_invariants()
            async with pool.acquire():
                assert pool.statistics().lent == 1
        assert not len(pool)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()


@virtual
async def test_values_whose_class_cannot_be_asked_about_are_lent(bubble: Bubble) -> None:
    """One whose attributes raise is a value like any other, and one that cannot be told is an error of its creation."""

    class Hostile:
        @property
        def __class__(self) -> Any:
            raise ValueError("no class")

    made: list[Callable[[], Any]] = [Hostile, object]
    async with Pool(lambda: made.pop(0)(), lambda value: None, max_size=1) as pool:
        try:
            async with pool.acquire(timeout=1.0):
                pass
        except ValueError:
            async with pool.acquire(timeout=1.0):
                pass
        pool._check_invariants()


@virtual
async def test_an_error_that_cannot_be_put_into_words_is_told(bubble: Bubble) -> None:
    """Its words are not needed to tell it."""

    class Wordless(Exception):
        def __repr__(self) -> str:
            raise ValueError("no words")

        __str__ = __repr__

    def refuse(*_: object) -> None:
        raise Wordless

    async with Pool(refuse, refuse, max_size=1) as pool:
        with pytest.raises(Wordless):
            async with pool.acquire(timeout=1.0):
                pytest.fail("was lent")
    server = Server(seconds=0.0)
    async with server.pool(max_size=1, check=refuse, reset=refuse, check_bypass=0.0) as pool:
        for _ in range(3):
            await use(pool, 0.0, timeout=1.0)
        assert pool.statistics().discarded == 3
