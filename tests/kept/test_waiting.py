"""Those who want a connection: who waits for the next one, who wants it now, and who wants each of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lifecycle import ConnectionLost, NotConnected, OwnerClosed, Retry, Stages, TimeoutExpired, keep_connected
from lifecycle.testing import Bubble
from lifecycle.types import KeptConnection, KeptState

from ..loops import on_every_loop, run_on, some_turns, virtual
from .peer import STEADY, Peer, Session, until


@virtual
async def test_waiters_get_a_connection_that_is_lost_at_once(bubble: Bubble) -> None:
    """Each is woken with its value: who looked a step later would miss every one of a peer that hangs up soon."""
    peer = Peer(hangs_up=True)
    peer.hangs_up = False
    async with keep_connected(peer.connector, retry=STEADY, on_up=lambda up: up.value.hang_up()) as kept:
        one, other = asyncio.create_task(kept.get()), asyncio.create_task(kept.get())
        assert await one is await other
        assert (await one).number == 1
        await until(kept, KeptState.WAITING)
        assert (await kept.get()).number == 2


@on_every_loop
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("ends", ["lost", "closed"])
def test_a_waiter_gets_its_connection_although_it_is_gone(new_loop: Any, turns: int, ends: str) -> None:
    """One of which nothing has to be released may have ended before those who wait have made their next step."""

    async def bare(stages: Stages) -> object:
        await asyncio.sleep(0)
        return object()

    def end(value: object) -> None:
        if ends == "lost":
            kept.report_lost(value)
        else:
            closing.append(asyncio.ensure_future(kept.aclose()))

    def later(value: object, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(later, value, turns - 1)
        else:
            end(value)

    async def use() -> object:
        async with kept.use(timeout=60.0) as value:
            return value

    async def main() -> None:
        nonlocal kept
        kept = keep_connected(bare, on_up=lambda up: later(up.value, turns), retry=STEADY)
        values = await asyncio.gather(kept.get(), kept.get(timeout=60.0), use(), anext(aiter(kept)))
        assert len(set(values)) == 1
        await kept.aclose()
        await asyncio.gather(*closing)

    kept: KeptConnection[object]
    closing: list[asyncio.Future[None]] = []
    run_on(new_loop, main())


@virtual
async def test_waiting_can_be_cancelled_and_bounded(bubble: Bubble) -> None:
    """It changes nothing for the others; the error is a TimeoutError that says for what."""
    peer = Peer(refusals=3)
    async with keep_connected(peer.connector, retry=STEADY, name="broker") as kept:
        cancelled, patient = asyncio.create_task(kept.get()), asyncio.create_task(kept.get(timeout=60.0))
        await some_turns()
        assert kept.statistics().waiting == 2
        cancelled.cancel()
        with pytest.raises(TimeoutExpired, match=r"the next connection of .*'broker'.* took longer than 2 s"):
            await kept.get(timeout=2.0)
        assert cancelled.cancelled()
        assert kept.statistics().waiting == 1
        assert await patient is peer.session
        assert kept.statistics().waiting == 0


@virtual
async def test_waiters_are_served_in_order(bubble: Bubble) -> None:
    """First come, first woken."""
    peer = Peer(seconds=1.0)
    order: list[int] = []

    async def asks(number: int) -> None:
        await kept.get()
        order.append(number)

    async with keep_connected(peer.connector) as kept:
        await asyncio.gather(*map(asks, range(5)))
        assert order == [0, 1, 2, 3, 4]


@virtual
async def test_who_does_not_wait_fails_at_once(bubble: Bubble) -> None:
    """With a ConnectionError, as a broken connection itself would."""
    peer = Peer(seconds=1.0)
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        with pytest.raises(ConnectionError):
            kept.get_nowait()
        assert kept.get_nowait is not None
        session = await kept.get()
        assert kept.get_nowait() is kept.current is session
        session.hang_up()
        await until(kept, KeptState.WAITING)
        with pytest.raises(NotConnected):
            kept.get_nowait()
    with pytest.raises(OwnerClosed):
        kept.get_nowait()


@virtual
async def test_one_loss_that_many_report_makes_one_attempt(bubble: Bubble) -> None:
    """The reader, a heartbeat, and three users, in one step."""
    peer = Peer()
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        session = await kept.get()
        session.hang_up(ConnectionResetError("gone"))
        assert [kept.report_lost(session) for _ in range(3)] == [True, False, False]
        await until(kept, KeptState.UP if kept.state is KeptState.WAITING else KeptState.WAITING)
        await kept.get()
        await asyncio.sleep(100.0)
        assert len(peer.asked_at) == 2
        assert kept.statistics().losses == 1


@virtual
async def test_a_late_report_does_not_touch_the_next_connection(bubble: Bubble) -> None:
    """It is of a value that nobody has any more; or of a number, where the value is the same object again."""
    peer = Peer()
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        old = await kept.get()
        old.hang_up()
        await until(kept, KeptState.WAITING)
        assert not kept.report_lost(old)
        new = await kept.get()
        assert not kept.report_lost(old, ConnectionResetError("late"))
        assert not kept.report_lost(new, generation=1)
        assert kept.current is new
        assert kept.report_lost(new, generation=2)
        assert kept.current is None
    assert not kept.report_lost(new)


@virtual
async def test_a_report_says_why(bubble: Bubble) -> None:
    """An error of the reporter's, or one of the family."""
    peer = Peer()
    errors: list[BaseException | None] = []
    seen = ConnectionResetError("seen by a user")
    async with keep_connected(peer.connector, retry=STEADY, on_down=lambda down: errors.append(down.error)) as kept:
        kept.report_lost(await kept.get(), seen)
        await until(kept, KeptState.WAITING)
        kept.report_lost(await kept.get())
        await until(kept, KeptState.WAITING)
        with pytest.raises(TypeError, match="error must be an exception"):
            kept.report_lost(await kept.get(), "gone")  # type: ignore[arg-type]
    assert errors[0] is seen
    assert isinstance(errors[1], ConnectionLost)


@virtual
async def test_a_block_reports_the_loss_that_it_meets(bubble: Bubble) -> None:
    """What the retry covers, and of this very connection; what else leaves the block is the caller's alone."""
    peer = Peer()
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        with pytest.raises(LookupError):
            async with kept.use() as session:
                raise LookupError("of the caller's own")
        assert kept.current is session
        with pytest.raises(BrokenPipeError):
            async with kept.use() as session:
                raise BrokenPipeError("nobody reads")
        assert kept.state is KeptState.DOWN
        with pytest.raises(ConnectionResetError):
            async with kept.use(timeout=60.0) as session:
                kept.reconnect()
                new = await later(kept.get, session)
                raise ConnectionResetError("of the old one")
        assert kept.current is new
        with pytest.raises(TimeoutExpired):
            kept.report_lost(new)
            async with kept.use(timeout=0.5):
                raise AssertionError("unreachable")


async def later(get: object, session: Session) -> Session:
    """Return the session after one that is being dropped."""
    while True:
        following: Session = await get()  # type: ignore[operator]
        if following is not session:
            return following
        await asyncio.sleep(0)


@virtual
async def test_a_cancelled_block_reports_nothing(bubble: Bubble) -> None:
    """A timeout of the caller's own is not the connection's."""
    peer = Peer()
    async with keep_connected(peer.connector) as kept:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0), kept.use():
                await asyncio.sleep(10.0)
        assert kept.state is KeptState.UP


@virtual
async def test_an_iterator_gives_each_connection_once(bubble: Bubble) -> None:
    """The present one first; it ends when the kept connection is closed."""
    peer = Peer()
    seen: list[int] = []
    kept = keep_connected(peer.connector, retry=STEADY)

    async def follows() -> None:
        async for session in kept:
            seen.append(session.number)  # noqa: PERF401
        seen.append(0)

    follower = asyncio.create_task(follows())
    for number in (1, 2, 3):
        while kept.current is None or kept.generation < number:
            await asyncio.sleep(0.1)
        await asyncio.sleep(5.0)
        assert seen == list(range(1, number + 1))
        kept.get_nowait().hang_up()
    await until(kept, KeptState.WAITING)
    await kept.aclose()
    await follower
    assert seen == [1, 2, 3, 0]


@virtual
async def test_an_iterator_passes_over_what_went_while_it_was_busy(bubble: Bubble) -> None:
    """It is given what is there, never an old one."""
    peer = Peer()
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        connections = aiter(kept)
        assert (await anext(connections)).number == 1
        peer.session.hang_up()
        await until(kept, KeptState.WAITING)
        (await kept.get()).hang_up()
        await until(kept, KeptState.WAITING)
        await kept.get()
        assert (await anext(connections)).number == 3


@virtual
async def test_an_iterator_raises_what_it_was_given_up_by(bubble: Bubble) -> None:
    """So that a loop over it does not end as if it had been closed."""
    peer = Peer(refusals=9)
    kept = keep_connected(peer.connector, retry=Retry(attempts=1))
    with pytest.raises(ConnectionError, match="given up"):
        async for _ in kept:
            raise AssertionError("unreachable")
    with pytest.raises(ConnectionError):
        await kept.aclose()


@virtual
async def test_all_who_wait_are_told_of_a_close(bubble: Bubble) -> None:
    """At once, and not only when everything has been released."""
    peer = Peer(seconds=5.0)
    kept = keep_connected(peer.connector)
    waiters = [asyncio.create_task(kept.get()) for _ in range(3)]
    await asyncio.sleep(1.0)
    closer = asyncio.create_task(kept.aclose())
    await some_turns()
    assert [type(error) for error in await asyncio.gather(*waiters, return_exceptions=True)] == [OwnerClosed] * 3
    await closer
