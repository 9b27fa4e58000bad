"""Owners of classes that users make of ours, with an ``__eq__`` of their own: each is still itself, and works."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import Pool, ReaderWorker, Registry, Scope, TaskGroup, TaskManager, take_snapshot
from lifecycle.testing import Bubble

from .loops import on_every_loop, run_on, some_turns, virtual


async def reader(send: Callable[[Any], Awaitable[None]]) -> None:
    """Read nothing."""
    await asyncio.Event().wait()


async def worker(receive: Any) -> None:
    """Work until nothing comes any more."""
    async for _ in receive:
        pass


CLASSES: dict[Any, Callable[[Any], Any]] = {
    Scope: lambda cls: cls("odd"),
    TaskManager: lambda cls: cls("odd"),
    TaskGroup: lambda cls: cls(name="odd"),
    Registry: lambda cls: cls("odd"),
    Pool: lambda cls: cls(object, lambda value: None, max_size=1, name="odd"),
    ReaderWorker: lambda cls: cls(reader, worker, name="odd"),
}


def odd(cls: Any, *, hashed: bool = False) -> Any:
    """Return a class whose objects are all equal, and cannot be hashed, or all to the same."""
    return type(
        f"Odd{cls.__name__}", (cls,), {"__eq__": lambda *_: True, "__hash__": (lambda _: 7) if hashed else None}
    )


every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
hashed_or_not = pytest.mark.parametrize("hashed", [False, True], ids=["unhashable", "one hash"])


@every_class
@hashed_or_not
@on_every_loop
def test_every_owner_is_known_by_itself(new_loop: Any, cls: Any, hashed: bool) -> None:
    """Two that are equal are two in a snapshot, and each goes when it is gone."""

    def count() -> int:
        return sum(root.name == "odd" for root in take_snapshot().roots)

    async def main() -> None:
        before = count()
        async with CLASSES[cls](odd(cls, hashed=hashed)) as one:
            async with CLASSES[cls](odd(cls, hashed=hashed)) as two:
                assert one == two
                assert count() == before + 2
            del two
            gc.collect()
            assert count() == before + 1
        del one
        gc.collect()
        assert count() == before

    run_on(new_loop, main())


@hashed_or_not
def test_a_scope_of_such_a_class(hashed: bool) -> None:
    """It is entered by another, has tasks, children and an heir, and is closed from inside."""

    @virtual
    async def test(bubble: Bubble) -> None:
        log: list[str] = []
        async with odd(Scope, hashed=hashed)() as outer:
            inner = await outer.enter(odd(Scope, hashed=hashed)())
            inner.callback(log.append, "inner")
            child = inner.child()
            child.callback(log.append, "child")
            child.start_soon(child.aclose)
            outer.start_soon(asyncio.sleep, 1)
            heir = outer.pop_all()
            assert outer.statistics().live == 0
            waiter = asyncio.create_task(heir.wait())
            await asyncio.sleep(2)
            await heir.aclose()
            await waiter
        assert log == ["child", "inner"]

    test()


@hashed_or_not
@on_every_loop
def test_who_waits_for_one_does_not_wait_for_its_equal(new_loop: Any, hashed: bool) -> None:
    """A task of the one that closes the other is waited for by the one; one that closes its own is not."""

    async def main() -> None:
        make = odd(TaskManager, hashed=hashed)
        async with make("one") as one, make("two", drain_timeout=5) as two:
            gate = asyncio.Event()
            two.start_soon(gate.wait)
            own = two.start_soon(two.aclose)
            closing = one.start_soon(two.aclose)
            drained = asyncio.create_task(one.drain())
            await some_turns()
            assert not drained.done()
            gate.set()
            assert (await drained).finished == 1
            assert closing.result().finished == 1
            assert own.result().clean

    run_on(new_loop, main())


@hashed_or_not
def test_the_notes_of_such_an_owner_go(hashed: bool) -> None:
    """What is noted while somebody waits is taken back."""

    @virtual
    async def test(bubble: Bubble) -> None:
        async with odd(TaskManager, hashed=hashed)(limit=1) as manager:
            for _ in range(3):
                manager.start_soon(asyncio.sleep, 1)
            assert (await manager.drain()).finished == 3
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    manager.start_soon(asyncio.sleep, 9)
                    await manager.drain()

    test()
