"""A mailbox belongs to one event loop at a time: threads are refused, and loops may follow each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from lifecycle import Mailbox, ReaderWorker
from lifecycle._ground.errors import WrongLoop

from ..loops import on_every_loop, run_on, some_turns


async def in_thread(call: Callable[[], object]) -> BaseException | None:
    """Return what *call* raises in another thread."""
    met: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            met.append(error)
        else:
            met.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    return met[0]


@on_every_loop
def test_another_thread_is_refused(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whatever it calls, with a loop of its own and without, whether anybody waits or not; nothing has happened."""

    async def main() -> None:
        mailbox: Mailbox[int] = Mailbox(capacity=2)
        await mailbox.send(1)
        await mailbox.receive()
        for waiting in (False, True):
            receiver = asyncio.create_task(mailbox.receive()) if waiting else None
            await some_turns()
            for call in (
                lambda: mailbox.send_nowait(2),
                lambda: asyncio.run(mailbox.send(2)),
                lambda: asyncio.run(mailbox.receive()),
                mailbox.receive_nowait,
                mailbox.close,
                mailbox.discard,
            ):
                error = await in_thread(call)
                assert isinstance(error, WrongLoop), (call, error)
                assert "call_soon_threadsafe" in str(error)
            statistics = mailbox.statistics()
            assert (statistics.sent, statistics.state, statistics.waiting_receivers) == (1, "open", int(waiting))
        loop = asyncio.get_running_loop()
        assert await in_thread(lambda: loop.call_soon_threadsafe(mailbox.send_nowait, 3)) is None
        assert receiver is not None
        assert await receiver == 3

    run_on(new_loop, main())


@on_every_loop
def test_the_send_of_a_pair_is_refused_in_another_thread(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """From the beginning, before anything was sent or awaited."""
    errors: list[BaseException | None] = []

    async def reader(send: Callable[[int], object]) -> None:
        errors.append(await in_thread(lambda: asyncio.run(send(1))))  # type: ignore[arg-type]

    async def worker(receive: object) -> None:
        async for _ in receive:  # type: ignore[attr-defined]
            raise AssertionError("nothing was to be received")

    async def main() -> None:
        async with ReaderWorker(reader, worker) as pair:  # type: ignore[arg-type]
            await pair.wait()

    run_on(new_loop, main())
    assert [type(error) for error in errors] == [WrongLoop]


def test_it_can_be_filled_before_there_is_a_loop() -> None:
    """And used by one loop after the other; those who waited went with theirs."""
    mailbox: Mailbox[int] = Mailbox(capacity=2)
    mailbox.send_nowait(1)

    async def receive() -> int:
        return await mailbox.receive()

    async def leave_waiters_behind() -> None:
        await mailbox.send(3)
        asyncio.current_task().waiter = asyncio.create_task(mailbox.send(4))  # type: ignore[union-attr]

    assert asyncio.run(receive()) == 1
    mailbox.send_nowait(2)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_waiters_behind())
    loop.run_until_complete(asyncio.sleep(0))
    assert mailbox.waiting_senders == 1
    assert mailbox.discard() == [2, 3]  # from outside, while its loop rests: the sender goes on when that runs again
    loop.run_until_complete(some_turns())
    assert mailbox.discard() == [4]
    loop.close()
    mailbox.send_nowait(5)
    assert asyncio.run(receive()) == 5


def test_a_loop_that_rests_keeps_it_as_long_as_somebody_waits() -> None:
    """Another one would leave that one waiting for ever."""
    mailbox: Mailbox[int] = Mailbox()
    loop = asyncio.new_event_loop()
    receiver = loop.create_task(mailbox.receive())
    loop.run_until_complete(some_turns())

    async def send() -> None:
        await mailbox.send(1)

    with pytest.raises(WrongLoop):
        asyncio.run(send())
    mailbox.send_nowait(2)
    assert loop.run_until_complete(receiver) == 2
    asyncio.run(send())
    loop.close()
    assert len(mailbox) == 1


def test_what_a_closed_loop_has_left_waiting_is_forgotten() -> None:
    """A task that is collected there frees nothing, and disturbs nobody."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    loop = asyncio.new_event_loop()
    mailbox.send_nowait(0)
    coros = [mailbox.send(number) for number in (1, 2)]
    tasks = [loop.create_task(coro) for coro in coros]
    loop.run_until_complete(some_turns())
    loop.close()
    for task, coro in zip(tasks, coros, strict=True):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coro.close()

    async def use() -> list[int]:
        got = [await mailbox.receive()]
        await mailbox.send(5)
        return [*got, await mailbox.receive()]

    assert asyncio.run(use()) == [0, 5]
    assert mailbox.waiting_senders == 0
