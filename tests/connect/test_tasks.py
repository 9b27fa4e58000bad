"""Tasks of a connection: their failure ends the attempt or interrupts the block."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging

import pytest

from lifecycle import ConnectError, Stages, connect
from lifecycle.testing import Bubble
from lifecycle.types import ConnectAttempt

from ..loops import virtual
from .peer import Peer


@virtual
async def test_a_task_of_the_connection_that_fails_ends_the_attempt(bubble: Bubble) -> None:
    """The connector is interrupted, the cause is the task's error; both errors where both fail."""

    async def reader() -> None:
        await asyncio.sleep(1)
        raise EOFError("hung up")

    async def connector(stages: Stages, *, also_fails: bool = False) -> None:
        stages.start_soon(reader)
        try:
            await stages.step(asyncio.sleep(100), name="hello")
        finally:
            if also_fails:
                raise OSError("handshake")

    async def failing(stages: Stages) -> None:
        await connector(stages, also_fails=True)

    with pytest.raises(ConnectError) as caught:
        await connect(connector)
    assert isinstance(caught.value.__cause__, EOFError)
    assert caught.value.stage == "hello"
    with pytest.raises(ConnectError) as caught:
        await connect(failing)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


@virtual
async def test_a_task_that_fails_as_the_connector_returns_is_a_failure(bubble: Bubble) -> None:
    """The connector swallows the interruption and returns: there is no success with a failed task in it."""
    peer = Peer()

    async def reader() -> None:
        raise EOFError("hung up")

    async def connector(stages: Stages) -> str:
        value = await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)
        with contextlib.suppress(asyncio.CancelledError):
            await stages.step(asyncio.sleep(1))
        return value

    with pytest.raises(ConnectError) as caught:
        await connect(connector)
    assert isinstance(caught.value.__cause__, EOFError)
    assert peer.live == []


@virtual
async def test_a_task_that_fails_after_success_interrupts_the_block(bubble: Bubble) -> None:
    """The block is the body of the connection's scope."""
    peer = Peer()

    async def reader() -> None:
        await asyncio.sleep(5)
        raise EOFError("hung up")

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)

    with pytest.raises(EOFError):
        async with connect(connector):
            await asyncio.sleep(100)
    assert peer.live == []


@virtual
async def test_a_connection_that_has_ended_by_itself_may_be_dropped(bubble: Bubble) -> None:
    """A task of it failed, everything has been released: there is nothing to warn of."""
    peer = Peer()

    async def reader() -> None:
        await asyncio.sleep(1)
        raise EOFError("hung up")

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)

    logging.disable(logging.CRITICAL)
    try:
        attempt: ConnectAttempt[None] | None = connect(connector)
        assert attempt is not None
        await attempt
        await asyncio.sleep(5)
    finally:
        logging.disable(logging.NOTSET)
    attempt = None
    gc.collect()
    assert peer.live == []


@virtual
async def test_a_task_that_fails_before_the_block_is_entered_fails_the_block(bubble: Bubble) -> None:
    """The connection had ended by itself, or was ending, when a block came to use it."""
    for seconds in (0.01, 5.5):
        await enter_a_connection_that_fails(Peer(seconds=seconds))


async def enter_a_connection_that_fails(peer: Peer) -> None:
    """Connect, wait until a task of the connection has failed, and come to use it."""

    async def reader() -> None:
        await asyncio.sleep(1)
        raise EOFError("hung up")

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)

    attempt = connect(connector)
    await attempt
    await asyncio.sleep(5)
    with pytest.raises(EOFError):
        async with attempt:
            raise AssertionError("entered a dead connection")
    assert peer.live == []
