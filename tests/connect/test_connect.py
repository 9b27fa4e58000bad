"""connect: the ways to take its value, and who owns what afterwards."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from lifecycle import ConnectError, ConnectTimeout, Pool, Retry, Scope, Stages, connect
from lifecycle.testing import Bubble
from lifecycle.types import AttemptState, ConnectAttempt

from ..collection import without_collection
from ..loops import on_every_loop, run_on, virtual
from .peer import Peer


@virtual
async def test_the_block_has_the_value_and_its_end_releases_in_reverse(bubble: Bubble) -> None:
    """Three stages are made in order, used, and undone in reverse at the end of the block."""
    peer = Peer()
    async with connect(peer.connector, "ab", timeout=5) as value:
        assert value == "connected to ab"
        assert peer.events == ["made a", "made b"]
    assert peer.events[2:] == ["released b", "released a"]


@virtual
async def test_awaited_the_scope_of_the_connection_releases(bubble: Bubble) -> None:
    """Closing the attempt after success does nothing; closing its scope undoes all of it."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    assert await attempt == await attempt == "connected to ab"
    await attempt.aclose()
    attempt.cancel("too late")
    assert peer.live == ["a", "b"]
    assert attempt.state is AttemptState.CONNECTED
    await attempt.scope.aclose()
    assert peer.live == []


@virtual
async def test_a_scope_takes_a_connect_as_a_context_manager(bubble: Bubble) -> None:
    """It is released at its place, from whichever task closes the scope."""
    peer = Peer()
    scope = Scope()
    scope.callback(peer.events.append, "older")
    assert await scope.enter(connect(peer.connector, "a")) == "connected to a"
    scope.callback(peer.events.append, "younger")
    await asyncio.create_task(scope.aclose())
    assert peer.events == ["made a", "younger", "released a", "older"]


@virtual
async def test_a_value_that_is_all_that_was_acquired_may_be_closed_by_itself(bubble: Bubble) -> None:
    """No warning, and no second release, for `value = await connect(...)` where closing the value is enough."""
    peer = Peer()

    async def connector(stages: Stages) -> str:
        return await stages.acquire(peer.make, "only", release=peer.release)

    value = await connect(connector)
    await asyncio.sleep(0)
    gc.collect()
    await peer.release(value)
    assert peer.events == ["made only", "released only"]


@virtual
async def test_a_pool_takes_a_connect_as_creation(bubble: Bubble) -> None:
    """The pool awaits it, and destroys what it got."""
    peer = Peer()

    async def connector(stages: Stages) -> str:
        return await stages.acquire(peer.make, "only", release=peer.release)

    async with Pool(lambda: connect(connector), peer.release, max_size=1) as pool, pool.acquire() as value:
        assert value == "only"
    gc.collect()
    assert peer.live == []


@virtual
async def test_a_connection_that_nobody_can_release_any_more_is_a_warning(bubble: Bubble) -> None:
    """More than the value was acquired, and the attempt is dropped: the scope says so."""
    peer = Peer()
    attempt: ConnectAttempt[str] | None = connect(peer.connector, "ab", name="lost")
    assert attempt is not None
    await attempt
    kept = attempt._connecting.connection
    assert kept is not None
    await asyncio.sleep(0)
    attempt = None
    gc.collect()
    assert kept.statistics().resources == 2, "what was acquired besides the value has been let go of"
    with pytest.warns(ResourceWarning, match="'lost' was dropped with 2 things in it"):
        del kept
        gc.collect()
    for token in reversed(bubble.ledger.live):
        token.release()


@virtual
async def test_an_attempt_leaves_nothing_in_memory(bubble: Bubble) -> None:
    """Ended in whatever way, attempt, connector and arguments are gone without the garbage collector's help."""

    class Argument:
        pass

    async def connector(stages: Stages, argument: Argument, ending: str) -> str:
        await stages.acquire(str, "value", release=id, name="open")
        if ending == "fails":
            raise OSError("planned")
        await stages.step(asyncio.sleep(100 if ending == "slow" else 0.01), name="hello")
        return "value"

    for ending in ("succeeds", "slow", "is closed"):
        argument = Argument()
        gone = weakref.ref(argument)
        attempt = connect(connector, argument, ending, timeout=1)
        with without_collection():
            try:
                if ending == "is closed":
                    attempt.poll()
                    await attempt.aclose()
                else:
                    await attempt
                    await attempt.scope.aclose()
            except ConnectError:
                assert ending == "slow"
            del attempt, argument
            await asyncio.sleep(0.01)
            assert gone() is None or ending == "slow", f"an attempt that {ending} leaves a cycle behind"
        gc.collect()
        assert gone() is None


@virtual
async def test_a_success_that_nobody_took_belongs_to_the_attempt(bubble: Bubble) -> None:
    """Connected, but neither awaited nor polled: closing the attempt undoes it."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    assert attempt.poll() is False
    await asyncio.sleep(5)
    assert attempt.state is AttemptState.CONNECTED
    await attempt.aclose()
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])
    with pytest.raises(ConnectError, match="it was closed"):
        attempt.poll()


@virtual
async def test_an_awaiter_cancelled_in_the_step_of_the_success_gets_nothing_and_nothing_stays(bubble: Bubble) -> None:
    """The value is there, its awaiter has not resumed yet, and is cancelled: everything is undone."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")

    async def awaits() -> None:
        await attempt

    task = asyncio.create_task(awaits())
    while attempt.state is not AttemptState.CONNECTED:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])


@virtual
async def test_a_second_block_on_one_attempt_is_refused(bubble: Bubble) -> None:
    """An attempt is entered once."""
    attempt = connect(Peer().connector, "a")
    async with attempt:
        with pytest.raises(RuntimeError, match="entered before"):
            await attempt.__aenter__()


@on_every_loop
def test_it_works_on_every_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Awaited, as a block, polled, failing and cancelled, on real loops."""

    async def main() -> None:
        peer = Peer(seconds=0.001)
        async with connect(peer.connector, "ab"):
            assert peer.live == ["a", "b"]
        attempt = connect(peer.connector, "ab")
        while not attempt.poll():
            await asyncio.sleep(0)
        await attempt.scope.aclose()
        with pytest.raises(ConnectTimeout):
            await connect(Peer(seconds=100).connector, "ab", timeout=0.01)
        slow = connect(Peer(seconds=100).connector, "ab")
        slow.poll()
        await slow.aclose()
        assert peer.live == []
        await asyncio.sleep(0)  # the loop's own callbacks of the last task

    run_on(new_loop, main())


@on_every_loop
def test_a_connector_that_never_waits(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It succeeds or fails within its first step, which on an eager loop is made before the poll returns."""

    async def succeeds(stages: Stages) -> str:
        await stages.acquire(str, "value", release=released.append)
        return "value"

    async def fails(stages: Stages) -> None:
        await stages.acquire(str, "value", release=released.append)
        raise OSError(f"attempt {stages.attempt}")

    released: list[str] = []

    async def main() -> None:
        for _ in range(2):
            async with connect(succeeds) as value:
                assert value == "value"
        with pytest.raises(ConnectError, match="attempt 2"):
            await connect(fails, retry=Retry(attempts=2, backoff=(0.0, 0.0)))
        attempt = connect(succeeds)
        while not attempt.poll():
            await asyncio.sleep(0)
        attempt._check_invariants()
        await attempt.scope.aclose()
        closed = connect(succeeds)
        if not closed.poll():
            await closed.aclose()
        else:
            await closed.scope.aclose()
        await asyncio.sleep(0)

    run_on(new_loop, main())
    assert released.count("value") >= 5
