"""Flights: what one creation means to those who wait for it, when it fails, is given up, or waits for itself."""

import asyncio
import weakref
from collections.abc import Iterator

import pytest

from lifecycle import OwnerClosed, Registry
from lifecycle._registry.flights import awaited_in
from lifecycle.testing import Bubble

from ..collection import without_collection
from ..loops import on_every_loop, run_on, virtual


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Whatever goes without the garbage collector goes by itself."""
    with without_collection():
        yield


@virtual
async def test_a_factory_that_asks_for_its_own_key_is_told(bubble: Bubble) -> None:
    """At once, instead of waiting for itself until its time is up."""

    async def make() -> int:
        return await registry.get_or_create("a", make)

    async with Registry[str, int]() as registry:
        with pytest.raises(RuntimeError, match="would wait for ever"):
            await registry.get_or_create("a", make)
        assert bubble.clock.now == 0.0
        assert await registry.get_or_create("a", lambda: 1) == 1


@virtual
async def test_factories_that_ask_in_a_circle_are_told(bubble: Bubble) -> None:
    """Whichever closes the circle; others that wait for any of them get the same error."""

    async def first() -> int:
        return await registry.get_or_create("b", second)

    async def second() -> int:
        await asyncio.sleep(1)
        async with registry.lease("c", third) as value:
            return value

    async def third() -> int:
        return await registry.get_or_create("a", first)

    async with Registry[str, int]() as registry:
        answers = await asyncio.gather(
            *(registry.get_or_create(*asked) for asked in (("a", first), ("b", second))), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [RuntimeError, RuntimeError]
        assert bubble.clock.now == 1.0
        assert not awaited_in(asyncio.get_running_loop())


@virtual
async def test_a_factory_may_ask_for_another_key(bubble: Bubble) -> None:
    """Also for one that another task is creating, and that needs longer."""

    async def slow() -> int:
        await asyncio.sleep(2)
        return 1

    async def needs_slow() -> int:
        return 1 + await registry.get_or_create("slow", slow)

    async with Registry[str, int]() as registry:
        asked = [("slow", slow), ("a", needs_slow), ("b", needs_slow), ("a", needs_slow)]
        assert await asyncio.gather(*(registry.get_or_create(*key) for key in asked)) == [1, 2, 2, 2]
        assert registry.statistics().loads == 3


@virtual
async def test_what_callers_add_to_a_traceback_does_not_add_up(bubble: Bubble) -> None:
    """A hundred callers get one error; each sees where it was made, and none the frames of the others."""

    async def fail() -> int:
        await asyncio.sleep(1)
        raise OSError("planned")

    async def ask() -> BaseException:
        with pytest.raises(OSError, match="planned") as caught:
            await registry.get_or_create("a", fail)
        return caught.value

    async with Registry[str, int]() as registry:
        error, *_ = await asyncio.gather(*(ask() for _ in range(100)))
        frames = []
        step = error.__traceback__
        while step is not None:
            frames.append(step.tb_frame.f_code.co_name)
            step = step.tb_next
        assert frames == ["ask", "get_or_create", "obtain", "join", "fail"]


class Local:
    """Something that a caller has in its hands."""


@pytest.mark.usefixtures("no_collection")
@on_every_loop
def test_a_failed_creation_leaves_no_cycle(new_loop: object) -> None:
    """What a caller held when it got the error is gone with the caller, without a collection."""
    held = []

    async def fail() -> int:
        await asyncio.sleep(0)
        raise OSError("planned")

    async def main() -> None:
        async def ask() -> None:
            local = Local()
            held.append(weakref.ref(local))
            with pytest.raises(OSError, match="planned"):
                await registry.get_or_create("a", fail)
            with pytest.raises(OSError, match="planned"):
                await registry.get_or_create("b", fail)
            del local

        async with Registry[str, int]() as registry:
            await asyncio.gather(ask(), ask())
            assert [reference() for reference in held] == [None, None]

    run_on(new_loop, main())  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_collection")
@on_every_loop
def test_a_value_that_has_gone_is_not_kept_by_its_creation(new_loop: object) -> None:
    """Neither by the task that made it nor by the one that finalized it."""

    async def make() -> Local:
        await asyncio.sleep(0)
        return Local()

    async def end(value: Local) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        async with Registry[str, Local](finalizer=end) as registry:
            value = weakref.ref(await registry.get_or_create("a", make))
            await registry.clear()
            await asyncio.sleep(0.01)
            assert value() is None

    run_on(new_loop, main())  # type: ignore[arg-type]


@virtual
async def test_an_error_in_giving_up_is_reported(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """A factory that fails in its clean-up, after all have left, is logged, or raised by a close that waits for it."""

    async def make() -> int:
        try:
            await asyncio.sleep(10)
        finally:
            raise OSError("the rollback failed")

    async with Registry[str, int]("clients") as registry:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await registry.get_or_create("a", make)
        (record,) = caplog.records
        assert record.getMessage() == "creation failed"
        assert (record.__dict__["owner"], record.__dict__["key"]) == ("clients", "'a'")
    registry = Registry[str, int]("closing")
    asking = asyncio.create_task(registry.get_or_create("a", make))
    await asyncio.sleep(1)
    with pytest.raises(OSError, match="the rollback failed"):
        await registry.aclose()
    with pytest.raises(OwnerClosed, match="closed while it created"):
        await asking


@virtual
async def test_an_error_that_meets_only_cancelled_callers_is_reported(
    bubble: Bubble, caplog: pytest.LogCaptureFixture
) -> None:
    """It arrived in the step in which the last of them was cancelled."""
    asking: list[asyncio.Task[int]] = []

    async def make() -> int:
        await asyncio.sleep(1)
        asyncio.get_running_loop().call_soon(lambda: [task.cancel() for task in asking])
        raise OSError("planned")

    async with Registry[str, int]("clients") as registry:
        asking += [asyncio.create_task(registry.get_or_create("a", make)) for _ in range(2)]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(answer) for answer in answers] == [asyncio.CancelledError] * 2
        (record,) = caplog.records
        assert record.getMessage() == "creation failed"
        assert (record.__dict__["owner"], record.__dict__["key"]) == ("clients", "'a'")
