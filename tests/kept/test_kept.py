"""A connection that is made again whenever it is lost: the block, the accounts, and how it is given up."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars

import pytest

from lifecycle import (
    ConnectError,
    ConnectionLost,
    NotConnected,
    OwnerClosed,
    Retry,
    Scope,
    Stages,
    keep_connected,
    take_snapshot,
)
from lifecycle.testing import Bubble
from lifecycle.types import ConnectionDown, ConnectionUp, KeptState, RetryFailure

from ..loops import some_turns, virtual
from .peer import STEADY, Peer, Session, until


@virtual
async def test_it_connects_again_when_the_connection_is_lost(bubble: Bubble) -> None:
    """By a clean end as by an error; what was there before is gone when the next attempt begins."""
    peer = Peer(seconds=0.5)
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        assert await kept.get() is peer.session
        peer.session.hang_up()
        await until(kept, KeptState.DOWN)
        await until(kept, KeptState.UP)
        assert await kept.get() is peer.session
        peer.session.hang_up(ConnectionResetError("gone"))
        await until(kept, KeptState.WAITING)
        assert not peer.live
        assert (await kept.get()).number == 3 == kept.generation
        statistics = kept.statistics()
        assert (statistics.attempts, statistics.ups, statistics.losses, statistics.failures) == (3, 3, 2, 0)
        assert statistics.last_error == "ConnectionResetError('gone')"
    assert not peer.live
    assert kept.closed
    assert kept.state is KeptState.CLOSED
    assert kept.statistics().state == "closed"


@virtual
async def test_it_works_without_a_block(bubble: Bubble) -> None:
    """The first `get` begins it, `aclose` ends it from any task."""
    peer = Peer()
    kept = keep_connected(peer.connector)
    assert kept.state is KeptState.NEW
    assert await kept.get() is peer.session
    await asyncio.create_task(kept.aclose())
    await kept.wait()
    assert kept.closed
    assert not peer.live
    await kept.aclose()
    with pytest.raises(OwnerClosed, match="closed"):
        await kept.get()


@virtual
async def test_one_that_was_never_begun_is_closed_at_once(bubble: Bubble) -> None:
    """Nothing was connected, and nothing will be."""
    peer = Peer()
    kept = keep_connected(peer.connector)
    await kept.aclose()
    assert kept.closed
    assert kept.state is KeptState.CLOSED
    with pytest.raises(OwnerClosed):
        await kept.get()
    with pytest.raises(OwnerClosed):
        async with kept:
            raise AssertionError("unreachable")
    assert not peer.asked_at


@virtual
async def test_attempts_bound_the_failures_in_a_row(bubble: Bubble) -> None:
    """The body is interrupted, the error names the last failure, and whoever asks later gets one like it."""
    peer = Peer(refusals=99)
    with pytest.raises(ConnectError, match=r"given up after 3 failures in a row.*stage 'accept'") as info:
        async with keep_connected(peer.connector, retry=Retry(attempts=3, backoff=(1.0, 16.0), jitter=0.0)) as kept:
            with pytest.raises(ConnectError, match="given up"):
                await kept.get()
            await asyncio.sleep(1000.0)
            raise AssertionError("unreachable")
    assert isinstance(info.value.__cause__, ConnectionRefusedError)
    assert (info.value.stage, info.value.attempts) == ("accept", 3)
    assert len(peer.asked_at) == 3
    assert kept.state is KeptState.GIVEN_UP
    assert kept.closed
    for _ in range(2):
        with pytest.raises(ConnectError, match="given up") as again:
            await kept.get()
        assert isinstance(again.value.__cause__, ConnectionRefusedError)
    with pytest.raises(ConnectError):
        kept.get_nowait()
    with pytest.raises(ConnectError):
        kept.reconnect()
    with pytest.raises(ConnectError):
        await kept.__aenter__()
    await kept.aclose()
    assert kept.state is KeptState.GIVEN_UP
    kept._check_invariants()


@virtual
async def test_given_up_without_a_block_is_raised_by_the_close(bubble: Bubble) -> None:
    """And by every waiter."""
    peer = Peer(refusals=99)
    kept = keep_connected(peer.connector, retry=Retry(attempts=1))
    with pytest.raises(ConnectError, match="given up after one failure"):
        await kept.get()
    await kept.wait()
    with pytest.raises(ConnectError, match="given up"):
        await kept.aclose()


@pytest.mark.parametrize("minutes", [0.001, 60.0])
@virtual
async def test_a_defect_ends_it(bubble: Bubble, minutes: float) -> None:
    """An error that the retry does not cover is not tried again, however long the connection had lived."""
    peer = Peer()
    with pytest.raises(ConnectError, match="it was lost by LookupError") as info:
        async with keep_connected(peer.connector, retry=STEADY) as kept:
            session = await kept.get()
            await asyncio.sleep(minutes * 60.0)
            session.hang_up(LookupError("a defect"))
            await asyncio.sleep(1000.0)
            raise AssertionError("unreachable")
    assert isinstance(info.value.__cause__, LookupError)
    assert len(peer.asked_at) == 1
    assert not peer.live


@virtual
async def test_a_peer_that_hangs_up_is_no_defect(bubble: Bubble) -> None:
    """Whatever the retry covers: a task that just ends has met no error."""
    peer = Peer()
    async with keep_connected(peer.connector, retry=Retry(retry_on=LookupError, attempts=3)) as kept:
        (await kept.get()).hang_up()
        assert (await wait_for_generation(kept.get, 2)).number == 2


async def wait_for_generation(get: object, number: int) -> Session:
    """Ask until the connection of that number is there."""
    while True:
        session: Session = await get()  # type: ignore[operator]
        if session.number >= number:
            return session
        await asyncio.sleep(0.1)


@virtual
async def test_what_ignores_its_end_is_said_to(bubble: Bubble) -> None:
    """No attempt begins beside what has been abandoned: it is given up, with the error, and does not sit there."""
    stop = asyncio.Event()

    async def stubborn(session: Session) -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()

    downs: list[ConnectionDown[Session]] = []
    peer = Peer()

    async def connector(stages: Stages) -> Session:
        session = await peer.connector(stages)
        stages.start_soon(stubborn, session, name="stubborn")
        return session

    with pytest.raises(ConnectError, match="ignored its end and still runs"):
        async with keep_connected(connector, on_down=downs.append, close_timeout=2.0) as kept:
            (await kept.get()).hang_up()
            await asyncio.sleep(1000.0)
            raise AssertionError("unreachable")
    assert len(peer.asked_at) == 1
    assert [down.generation for down in downs] == [1]
    stop.set()
    await some_turns()


@virtual
async def test_what_ends_during_the_connect_is_a_failed_attempt(bubble: Bubble) -> None:
    """The connector waits for an answer that a reader would bring, which has met the end: it is interrupted."""
    peer = Peer(hangs_up=True)

    async def connector(stages: Stages) -> Session:
        session = await peer.connector(stages)
        await stages.step(asyncio.sleep(1000.0), name="welcome")
        return session

    async with keep_connected(connector, retry=STEADY) as kept:
        await asyncio.sleep(8.0)
        assert peer.asked_at == [0.0, 1.0, 3.0, 7.0]
        statistics = kept.statistics()
        assert (statistics.failures, statistics.ups, statistics.short_lives) == (4, 0, 0)
        assert "reader" in str(statistics.last_error)


@virtual
async def test_a_context_manager_that_ends_is_a_loss(bubble: Bubble) -> None:
    """What a stage has entered may fail while it is held, as a task group with a reader does."""
    ends = asyncio.Event()

    @contextlib.asynccontextmanager
    async def session() -> object:  # type: ignore[misc]
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            yield group

    async def fails() -> None:
        await ends.wait()
        raise ConnectionResetError("gone")

    async def connector(stages: Stages) -> object:
        return await stages.enter(session())

    async with keep_connected(connector, retry=STEADY) as kept:
        first = await kept.get()
        ends.set()
        await until(kept, KeptState.WAITING)
        ends.clear()
        assert await kept.get() is not first


@virtual
async def test_release_errors_of_a_lost_connection_are_counted(bubble: Bubble) -> None:
    """The peer is gone, so a goodbye fails: no reason to give up."""
    peer = Peer()

    async def connector(stages: Stages) -> Session:
        session = await peer.connector(stages)
        await stages.acquire(say, "hello", release=goodbye)
        return session

    async def say(word: str) -> str:
        return word

    async def goodbye(word: str) -> None:
        raise BrokenPipeError("nobody listens")

    kept = keep_connected(connector, retry=STEADY)
    (await kept.get()).hang_up()
    await until(kept, KeptState.WAITING)
    assert kept.statistics().release_errors == 1
    await kept.get()
    with pytest.raises(BrokenPipeError):
        await kept.aclose()
    assert kept.closed
    assert kept.state is KeptState.CLOSED


@virtual
async def test_it_can_be_held_by_a_scope(bubble: Bubble) -> None:
    """Giving up interrupts the scope that holds it."""
    peer = Peer(refusals=99)
    with pytest.raises(ConnectError, match="given up"):
        async with Scope("service") as scope:
            kept = await scope.enter(keep_connected(peer.connector, retry=Retry(attempts=2)))
            assert kept.state is KeptState.CONNECTING
            await asyncio.sleep(1000.0)
            raise AssertionError("unreachable")


@virtual
async def test_a_foreign_cancellation_of_its_task_is_not_slept_through(bubble: Bubble) -> None:
    """As at the end of `asyncio.run`: everything is released, and the state says that nothing follows."""
    peer = Peer()
    kept = keep_connected(peer.connector)
    await kept.get()
    keeper = next(task for task in asyncio.all_tasks() if task.get_name().startswith("keeper"))
    keeper.cancel()
    await until(kept, KeptState.GIVEN_UP)
    assert not peer.live
    with pytest.raises(ConnectError, match="cancelled"):
        await kept.get()
    with pytest.raises(ConnectError, match="cancelled"):
        await kept.aclose()


@virtual
async def test_the_hook_of_the_retry_is_told_of_failed_attempts(bubble: Bubble) -> None:
    """Before the pause, which it may hold up; what it raises, and what a judge raises, ends it."""
    peer = Peer(refusals=3)
    failures: list[tuple[int, float | None]] = []

    async def told(failure: RetryFailure) -> None:
        assert isinstance(failure.error, ConnectionRefusedError)
        failures.append((failure.attempt, failure.pause))
        await asyncio.sleep(0.5)
        if len(failures) == 4:
            raise LookupError("enough")

    retry = Retry(backoff=(1.0, 16.0), jitter=0.0, on_failure=told)
    with pytest.raises(ConnectError, match="on_failure of its retry has met LookupError") as info:
        async with keep_connected(peer.connector, retry=retry) as kept:
            session = await kept.get()
            assert peer.asked_at == [0.0, 1.5, 4.0, 8.5]
            assert failures == [(1, 1.0), (2, 2.0), (3, 4.0)]
            peer.refusals = 1
            session.hang_up()
            await asyncio.sleep(100.0)
            raise AssertionError("unreachable")
    assert isinstance(info.value.__cause__, LookupError)


@pytest.mark.parametrize("lives", [0, 1])
@virtual
async def test_a_judge_that_raises_ends_it(bubble: Bubble, lives: int) -> None:
    """After a failed attempt as after a loss: the error is told, and nothing is stranded."""

    def judge(error: Exception) -> bool:
        raise LookupError("cannot say")

    peer = Peer(refusals=1 - lives)
    with pytest.raises(ConnectError, match="deciding whether it is tried again has met LookupError"):
        async with keep_connected(peer.connector, retry=Retry(retry_on=judge)) as kept:
            session = await kept.get()
            session.hang_up(ConnectionResetError("gone"))
            await asyncio.sleep(100.0)
            raise AssertionError("unreachable")
    assert kept.state is KeptState.GIVEN_UP


@virtual
async def test_an_attempt_has_the_shorter_of_its_bounds(bubble: Bubble) -> None:
    """That of the retry counts as well."""
    peer = Peer(seconds=1000.0)
    retry = Retry(attempts=2, attempt_timeout=2.0, backoff=(1.0, 1.0), jitter=0.0)
    with pytest.raises(ConnectError):
        async with keep_connected(peer.connector, retry=retry, timeout=5.0):
            await asyncio.sleep(1000.0)
            raise AssertionError("unreachable")
    assert asyncio.get_running_loop().time() == 5.0


request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="nobody's")


@virtual
async def test_everything_runs_in_the_context_of_the_owner(bubble: Bubble) -> None:
    """Connector, replay, hooks and releases: not in that of whoever asked first, reported the loss, or closes."""
    seen: dict[str, set[str]] = {}

    def note(where: str) -> None:
        seen.setdefault(where, set()).add(request.get())

    async def connector(stages: Stages) -> Session:
        note("connector")
        session = Session(1)
        stages.start_soon(reads, session)
        await stages.acquire(say, release=lambda _: note("release"))
        return session

    async def say() -> str:
        return "hello"

    async def reads(session: Session) -> None:
        note("reader")
        await session.read()

    request.set("the owner's")
    kept = keep_connected(
        connector,
        replay=lambda _: note("replay"),
        on_up=lambda _: note("on_up"),
        on_down=lambda _: note("on_down"),
        retry=STEADY,
    )

    async def asks() -> None:
        request.set("a caller's")
        kept.report_lost(await kept.get(), OSError("planned"))
        await kept.get()
        kept.reconnect()
        await kept.get()
        await kept.aclose()

    await asyncio.create_task(asks())
    assert set(seen) == {"connector", "reader", "replay", "on_up", "on_down", "release"}
    assert {name: values for name, values in seen.items() if values != {"the owner's"}} == {}


@virtual
async def test_a_snapshot_shows_it_with_all_that_is_its(bubble: Bubble) -> None:
    """The task that keeps it, and the connection or the attempt."""
    peer = Peer(seconds=1.0)
    async with keep_connected(peer.connector, name="broker") as kept:
        await some_turns()
        shown = str(take_snapshot())
        assert "kept connection 'broker', connecting" in shown
        assert "attempt 'broker'" in shown
        await kept.get()
        shown = str(take_snapshot())
        assert "kept connection 'broker', up" in shown
        assert "reader" in shown
        assert repr(kept) == "<KeptConnection 'broker' up, generation 1>"
    assert "broker" not in str(take_snapshot())


def test_a_second_loop_is_refused() -> None:
    """It belongs to the loop in which it was begun, whose end has ended it."""
    peer = Peer()
    kept = keep_connected(peer.connector)

    async def first() -> None:
        await kept.get()

    async def second() -> None:
        for _ in range(2):
            with pytest.raises(ConnectError, match=r"given up: .*cancelled"):
                await kept.get()
        with pytest.raises(ConnectError):
            async with kept:
                raise AssertionError("unreachable")

    asyncio.run(first())
    asyncio.run(second())


@virtual
async def test_events_are_records(bubble: Bubble) -> None:
    """What a hook is told does not change with what happens later."""
    peer = Peer()
    told: list[ConnectionUp[Session] | ConnectionDown[Session]] = []
    async with keep_connected(peer.connector, on_up=told.append, on_down=told.append, retry=STEADY) as kept:
        first = await kept.get()
        await asyncio.sleep(20.0)
        first.hang_up(ConnectionResetError("gone"))
        await until(kept, KeptState.UP if kept.state is KeptState.WAITING else KeptState.WAITING)
        second = await kept.get()
        await asyncio.sleep(1.0)
    up, down, again, end = told
    assert isinstance(up, ConnectionUp)
    assert (up.value, up.generation, up.gap) == (first, 1, None)
    assert isinstance(down, ConnectionDown)
    assert (down.value, down.generation, down.uptime) == (first, 1, 20.0)
    assert isinstance(down.error, ConnectionResetError)
    assert isinstance(again, ConnectionUp)
    assert (again.value, again.generation, again.gap) == (second, 2, 1.0)
    assert isinstance(end, ConnectionDown)
    assert (end.error, end.reason, end.uptime) == (None, "it was closed", 1.0)


@virtual
async def test_a_clean_end_is_told_as_an_error_of_the_family(bubble: Bubble) -> None:
    """It names the task that has ended."""
    peer = Peer()
    told: list[ConnectionDown[Session]] = []
    async with keep_connected(peer.connector, on_down=told.append, retry=STEADY, name="broker") as kept:
        (await kept.get()).hang_up()
        await until(kept, KeptState.WAITING)
        with pytest.raises(NotConnected, match="no connection at this moment"):
            kept.get_nowait()
        assert kept.current is None
    assert isinstance(told[0].error, ConnectionLost)
    assert "its task 'reader' has returned" in str(told[0].error)
