"""One word, one meaning: what all owners answer alike, whatever they own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import (
    OwnerClosed,
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    TaskGroup,
    TaskManager,
    connect,
    link,
    serve_tcp,
    serve_unix,
)
from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.control import ControlServer
from lifecycle.scheduler.web import WebServer
from lifecycle.types import AttemptState, ConnectAttempt

from .loops import virtual


async def reader(send: Callable[[Any], Awaitable[None]]) -> None:
    await asyncio.Event().wait()


async def worker(receive: Any) -> None:
    async for _ in receive:
        pass


async def handler(stream: Any) -> None:
    await stream.receive()


async def connector(stages: Any) -> str:
    return "connected"


Make = Callable[..., Any]

OWNERS: dict[str, Make] = {
    "Scope": Scope,
    "TaskManager": TaskManager,
    "TaskGroup": TaskGroup,
    "Registry": Registry,
    "Pool": lambda **options: Pool(object, lambda value: None, max_size=1, **options),
    "ReaderWorker": lambda **options: ReaderWorker(reader, worker, **options),
    "Server": lambda **options: serve_tcp(handler, "127.0.0.1", 0, **options),
    "connect": lambda **options: connect(connector, **options),
    "Scheduler": Scheduler,
    "ControlServer": lambda **options: ControlServer(Scheduler(), port=0, **options),
    "WebServer": lambda **options: WebServer(Scheduler(), password=None, **options),
}

#: Owners that code outside of their block gives work to.
SERVING = ("TaskManager", "Registry", "Pool", "Server", "Scheduler", "ControlServer")

#: Owners that need real sockets.
LISTENING = ("Server", "ControlServer", "WebServer")

#: Owners whose end is awaited for its own sake: the `wait` of a pair is its outcome, and a connect is awaited itself.
AWAITED = [make for name, make in OWNERS.items() if name not in ("ReaderWorker", "connect")]

#: Owners that are made of nothing: their name is their first argument.
MADE_OF_NOTHING = (Scope, TaskManager, TaskGroup, Registry)

#: Owners that are made of something, which comes first.
MADE_OF_SOMETHING = (Pool, ReaderWorker, serve_tcp, serve_unix, connect, link, Scheduler, ControlServer, WebServer)

every_owner = pytest.mark.parametrize("make", OWNERS.values(), ids=OWNERS)


@every_owner
def test_a_name_is_a_string(make: Make) -> None:
    """Anything else is refused when it is given."""
    with pytest.raises(TypeError, match=r"^name must be a string or None, got 3"):
        make(name=3)


@pytest.mark.parametrize("make", MADE_OF_NOTHING)
def test_a_name_may_be_the_only_argument(make: Make) -> None:
    """And may be given by its keyword; all that follows has a keyword of its own."""
    assert make("mine").name == make(name="mine").name == "mine"
    first, *others = inspect.signature(make).parameters.values()
    assert first.name == "name"
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)


@pytest.mark.parametrize("make", MADE_OF_SOMETHING)
def test_where_something_comes_first_a_name_has_its_keyword(make: Make) -> None:
    """So that it is never taken for one of the things that the owner is made of."""
    name = inspect.signature(make).parameters["name"]
    assert name.kind is name.KEYWORD_ONLY


async def entered_twice(make: Make) -> None:
    owner = make(name="mine")
    async with owner:
        with pytest.raises(OwnerClosed, match=r"mine"):
            await owner.__aenter__()
    with pytest.raises(OwnerClosed, match=r"mine"):
        await owner.__aenter__()
    assert issubclass(OwnerClosed, RuntimeError)


@pytest.mark.parametrize("make", [make for name, make in OWNERS.items() if name not in LISTENING])
@virtual
async def test_one_block_per_owner(bubble: Any, make: Make) -> None:
    """A second one, during the first or after it, is refused, with the owner's name."""
    await entered_twice(make)


@pytest.mark.parametrize("name", LISTENING)
def test_one_block_per_server(name: str) -> None:
    """A server as well, which needs real sockets."""
    asyncio.run(entered_twice(OWNERS[name]))


@every_owner
def test_an_owner_is_true(make: Make) -> None:
    """However little it owns: ``if manager:`` asks whether there is one."""
    assert make()


@pytest.mark.parametrize("name", SERVING)
def test_who_serves_others_has_the_same_four_words(name: str) -> None:
    """``close`` refuses, ``drain`` waits and leaves it open, ``aclose`` ends it, ``closed`` says so."""
    owner = OWNERS[name]()
    assert not inspect.iscoroutinefunction(owner.close)
    assert inspect.iscoroutinefunction(owner.drain)
    assert inspect.iscoroutinefunction(owner.aclose)
    assert owner.closed is False
    assert owner.statistics is not None


@every_owner
def test_the_end_is_called_aclose_and_closed_says_so(make: Make) -> None:
    """A group ends with its block and nowhere else; a connect has more states than two, and ``state`` says which."""
    owner = make()
    assert hasattr(owner, "aclose") is not isinstance(owner, TaskGroup)
    assert (owner.state is AttemptState.NEW) if isinstance(owner, ConnectAttempt) else (owner.closed is False)


@every_owner
def test_statistics_bear_the_name(make: Make) -> None:
    """Of every owner, at any time: before it is entered as well."""
    assert make(name="mine").statistics().name == "mine"


@pytest.mark.parametrize("make", AWAITED)
def test_whoever_waits_for_the_end_sees_it(make: Make) -> None:
    """Before its block, in it and after it; one that is cancelled changes nothing for the others."""

    async def main() -> None:
        owner = make()
        early = asyncio.create_task(owner.wait())
        async with owner:
            leaves = asyncio.create_task(owner.wait())
            stays = asyncio.create_task(owner.wait())
            await asyncio.sleep(0)
            leaves.cancel()
            done, _ = await asyncio.wait((early, leaves, stays), timeout=0.001)
            assert done == {leaves}
        assert owner.closed
        await asyncio.wait_for(asyncio.gather(early, stays), 10)
        await owner.wait()

    asyncio.run(main())
