"""What a registry tells of the values that have left it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import pytest

from lifecycle import Registration, Registry, RemovalCause
from lifecycle.testing import Bubble

from ..loops import LOOPS, run_on, some_turns, virtual
from .clients import Client, close

Told = list[tuple[str, RemovalCause | None, int]]


class Listener:
    """Notes what it is told, and how often the value was leased then."""

    def __init__(self) -> None:
        self.told: Told = []

    def __call__(self, registration: Registration[str, Any]) -> None:
        self.told.append((registration.key, registration.cause, registration.leases))


@pytest.mark.parametrize("finalizer", [None, close])
@virtual
async def test_every_way_out_is_told_with_its_cause(bubble: Bubble, finalizer: Any) -> None:
    """Once each, in the order of leaving."""
    listener = Listener()
    causes: list[RemovalCause | None] = []
    async with Registry[str, Client](max_size=2, idle_ttl=50.0, finalizer=finalizer, on_removed=listener) as registry:
        registry.put("a", Client("a"), ttl=1.0)
        await asyncio.sleep(2.0)
        causes.append(RemovalCause.EXPIRED)
        registry.put("a", Client("a"))
        await asyncio.sleep(60.0)
        causes.append(RemovalCause.IDLE)
        registry.put("a", Client("a"))
        registry.put("a", Client("b"))
        causes.append(RemovalCause.REPLACED)
        registry.discard("a")
        causes.append(RemovalCause.EXPLICIT)
        registry.put("a", Client("a"))
        registry.pop("a")
        causes.append(RemovalCause.EXPLICIT)
        for name in "abc":
            registry.put(name, Client(name))
        causes.append(RemovalCause.SIZE)
        await registry.clear()
        causes += [RemovalCause.EXPLICIT] * 2
        assert [cause for _, cause, _ in listener.told] == causes
        registry.put("a", Client("a"))
    causes.append(RemovalCause.CLOSED)
    assert [cause for _, cause, _ in listener.told] == causes
    assert registry.statistics().opened == len(causes)


@virtual
async def test_it_is_told_before_the_leases_are_back_and_before_the_finalizer(bubble: Bubble) -> None:
    """In the turn after the removal."""
    order: list[str] = []
    listener = Listener()

    def removed(registration: Registration[str, str]) -> None:
        listener(registration)
        order.append(f"told of {registration.value}")

    def end(value: str) -> None:
        order.append(f"ended {value}")

    async with Registry[str, str](finalizer=end, on_removed=removed) as registry:
        registry.put("a", "first")
        async with registry.lease("a"):
            registry.put("a", "second")
            assert not listener.told
            await some_turns()
            assert listener.told == [("a", RemovalCause.REPLACED, 1)]
        registry.discard("a")
        await registry.drain()
    assert order[0] == "told of first"
    assert order.index("told of second") < order.index("ended second")
    assert len(order) == 4


class Quits(BaseException):
    """Neither an error nor what ends the process."""


@pytest.mark.parametrize("error", [OSError("no"), asyncio.CancelledError(), Quits()])
@virtual
async def test_its_errors_are_logged_and_do_not_matter(
    bubble: Bubble, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor do those at the close."""

    def fails(_: Registration[str, Client]) -> None:
        raise error

    clients = [Client("a"), Client("b")]
    with caplog.at_level(logging.ERROR, "lifecycle.registry"):
        async with Registry[str, Client]("mine", finalizer=close, on_removed=fails) as registry:
            registry.put("a", clients[0])
            registry.put("a", clients[1])
            await registry.drain()
    assert [client.closes for client in clients] == [1, 1]
    assert [record.message for record in caplog.records] == ["removal hook failed"] * 2
    assert {(record.owner, record.key) for record in caplog.records} == {("mine", "'a'")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("factory", LOOPS.values(), ids=LOOPS)
def test_it_may_use_the_registry(factory: Any) -> None:
    """Whatever it does there, the step that has removed the value is over."""

    async def main() -> None:
        clients: list[Client] = []

        def make() -> Client:
            clients.append(Client("more"))
            return clients[-1]

        def removed(registration: Registration[str, Client]) -> None:
            if len(clients) < 20:
                registry.put(registration.key, make())
                registry.discard("b")
                registry._check_invariants()

        registry = Registry[str, Client](max_size=2, finalizer=close, on_removed=removed)
        async with registry:
            for _ in range(3):
                for name in "abc":
                    registry.put(name, make())
            registry._check_invariants()
            await registry.clear()
            registry._check_invariants()
        assert [client.closes for client in clients] == [1] * len(clients)
        assert len(clients) >= 20

    run_on(factory, main())


where = contextvars.ContextVar("where", default="nowhere")


@virtual
async def test_it_runs_in_the_context_of_the_registry(bubble: Bubble) -> None:
    """Not in that of whoever has removed the value."""
    found: list[str] = []
    where.set("owner")
    async with Registry[str, int](on_removed=lambda _: found.append(where.get())) as registry:

        async def replaces() -> None:
            where.set("caller")
            registry.put("a", 1)
            registry.put("a", 2)

        await asyncio.create_task(replaces())
    assert found == ["owner", "owner"]


def test_what_leaves_before_there_is_a_loop_is_told_in_it() -> None:
    """And what a loop that ends has left is told in the next one, or when it ends."""
    listener = Listener()
    registry = Registry[str, int](on_removed=listener)
    registry.put("a", 1)
    registry.put("a", 2)
    assert not listener.told

    async def main() -> None:
        registry.put("b", 3)
        await asyncio.sleep(0)
        assert listener.told == [("a", RemovalCause.REPLACED, 0)]

    asyncio.run(main())

    async def again() -> None:
        await registry.aclose()

    asyncio.run(again())
    assert [(key, cause) for key, cause, _ in listener.told[1:]] == [
        ("a", RemovalCause.CLOSED),
        ("b", RemovalCause.CLOSED),
    ]


def test_an_async_one_is_refused() -> None:
    """Nobody would await it."""

    async def removed(_: object) -> None:
        pass

    with pytest.raises(TypeError, match="on_removed must be a synchronous function"):
        Registry[str, int](on_removed=removed)
    with pytest.raises(TypeError, match="on_removed"):
        Registry[str, int](on_removed=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="finalizer"):
        Registry[str, int](finalizer=5, on_removed=print)  # type: ignore[arg-type]
