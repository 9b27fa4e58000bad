"""What becomes of an item that comes when there is no room, and to whom a dropped one is handed."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import anyio
import pytest

from lifecycle import LifecycleError, Mailbox, MailboxEmpty, MailboxFull

from ..loops import some_turns, virtual


@virtual
async def test_one_who_does_not_wait_is_refused_when_it_is_full(bubble: object) -> None:
    """The error is one of the family, anyio's and asyncio's, and nothing was put in."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    assert mailbox.send_nowait(1) is True
    for kind in (MailboxFull, LifecycleError, anyio.WouldBlock, asyncio.QueueFull):
        with pytest.raises(kind, match="mailbox 'mailbox' is full: 1 items"):
            mailbox.send_nowait(2)
    assert mailbox.receive_nowait() == 1
    for kind in (MailboxEmpty, LifecycleError, anyio.WouldBlock, asyncio.QueueEmpty):
        with pytest.raises(kind, match="has nothing"):
            mailbox.receive_nowait()
    assert mailbox.statistics().refused == 4


@virtual
async def test_who_waits_is_not_overtaken_by_one_who_does_not(bubble: object) -> None:
    """Neither a sender that was told of room, nor a receiver that was told of an item, and have not run yet."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    mailbox.send_nowait(1)
    sender = asyncio.create_task(mailbox.send(2))
    await some_turns()
    assert mailbox.receive_nowait() == 1
    with pytest.raises(MailboxFull):
        mailbox.send_nowait(3)
    await sender
    assert mailbox.receive_nowait() == 2
    receiver = asyncio.create_task(mailbox.receive())
    await some_turns()
    mailbox.send_nowait(4)
    with pytest.raises(MailboxEmpty):
        mailbox.receive_nowait()
    assert await receiver == 4


@virtual
async def test_refuse_never_waits(bubble: object) -> None:
    """`send` raises where it would have waited."""
    mailbox: Mailbox[int] = Mailbox(capacity=1, overflow="refuse")
    await mailbox.send(1)
    with pytest.raises(MailboxFull) as caught:
        await mailbox.send(2)
    assert "wait" not in str(caught.value).partition(";")[2]
    assert mailbox.receive_nowait() == 1
    assert await mailbox.send(3)


@virtual
async def test_drop_oldest_drops_what_has_been_in_for_longest(bubble: object) -> None:
    """The new item is in, and the sender is told so."""
    dropped: list[int] = []
    mailbox = Mailbox(capacity=2, overflow="drop_oldest", on_drop=dropped.append)
    assert [await mailbox.send(number) for number in range(4)] == [True] * 4
    assert mailbox.send_nowait(4)
    assert (dropped, mailbox.discard()) == ([0, 1, 2], [3, 4])
    statistics = mailbox.statistics()
    assert (statistics.sent, statistics.dropped, statistics.discarded, statistics.unfinished) == (5, 3, 2, 0)


@virtual
async def test_drop_newest_drops_what_comes(bubble: object) -> None:
    """What is in stays, and the sender is told that its item is not."""
    dropped: list[int] = []
    mailbox = Mailbox(capacity=2, overflow="drop_newest", on_drop=dropped.append)
    assert [await mailbox.send(number) for number in range(3)] == [True, True, False]
    assert not mailbox.send_nowait(3)
    assert (dropped, mailbox.discard()) == ([2, 3], [0, 1])
    statistics = mailbox.statistics()
    assert (statistics.sent, statistics.dropped, statistics.unfinished) == (2, 2, 0)


@virtual
async def test_an_item_that_a_waiting_receiver_is_told_of_takes_no_room(bubble: object) -> None:
    """A burst in one step is not dropped because its receiver has had no chance to run."""
    mailbox: Mailbox[int] = Mailbox(capacity=1, overflow="drop_newest")
    receiver = asyncio.create_task(mailbox.receive())
    await some_turns()
    assert [mailbox.send_nowait(number) for number in range(3)] == [True, True, False]
    assert await receiver == 0
    assert await mailbox.receive() == 1


@virtual
async def test_the_oldest_may_be_one_that_a_receiver_was_told_of(bubble: object) -> None:
    """It gets the next one."""
    mailbox: Mailbox[int] = Mailbox(capacity=1, overflow="drop_oldest")
    receiver = asyncio.create_task(mailbox.receive())
    await some_turns()
    for number in range(4):
        mailbox.send_nowait(number)
        mailbox._check_invariants()
    assert await receiver == 2
    assert mailbox.discard() == [3]


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
def test_what_the_drop_hook_raises_is_logged(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It changes nothing, a cancellation included; and the hook may use the mailbox."""

    async def main() -> None:
        def on_drop(item: int) -> None:
            assert mailbox.statistics().dropped == item + 1
            raise error

        mailbox = Mailbox(capacity=1, overflow="drop_oldest", on_drop=on_drop, name="lossy")
        assert [await mailbox.send(number) for number in range(3)] == [True] * 3
        assert await mailbox.receive() == 2

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["drop hook failed"] * 2


@virtual
async def test_the_drop_hook_runs_in_the_owners_context(bubble: object) -> None:
    """In that in which the mailbox was made, not in the sender's; also where a hook drops the next."""
    variable = contextvars.ContextVar("variable", default="nobody")
    seen: list[tuple[int, str]] = []

    def on_drop(item: int) -> None:
        seen.append((item, variable.get()))
        if item < 2:
            mailbox.send_nowait(9)

    variable.set("owner")
    mailbox = Mailbox(capacity=1, overflow="drop_oldest", on_drop=on_drop)
    variable.set("sender")
    mailbox.send_nowait(1)
    mailbox.send_nowait(2)
    assert seen == [(1, "owner"), (2, "owner")]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"capacity": 0}, ValueError, "capacity must be at least 1"),
        ({"capacity": 1.5}, TypeError, "capacity must be"),
        ({"capacity": True}, TypeError, "capacity must be"),
        ({"overflow": "drop"}, ValueError, "overflow must be one of 'wait', 'refuse', 'drop_oldest', 'drop_newest'"),
        ({"overflow": []}, ValueError, "overflow must be one of"),
        ({"on_drop": 1}, TypeError, "on_drop must be a function"),
        ({"on_drop": asyncio.sleep}, TypeError, "on_drop must be a synchronous function"),
        ({"name": 1}, TypeError, "name must be a string"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """With what is wrong about them."""
    with pytest.raises(error, match=message):
        Mailbox(**arguments)
