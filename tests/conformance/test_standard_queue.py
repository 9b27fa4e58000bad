"""The interpreter's own tests of ``asyncio.Queue``, run on a ``Mailbox``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, NoReturn

from lifecycle import Mailbox, OwnerClosed

from .standard import Exceptions, adopt, borrow, with_names

INSIDE = "it looks at how asyncio.Queue keeps its waiters"
OTHER_REPR = "a mailbox says of itself what a mailbox has to say"

EXCEPTIONS: Exceptions = {
    "test_repr": OTHER_REPR,
    "test_str": OTHER_REPR,
    "test_format": OTHER_REPR,
    "test_generic_alias": "a mailbox is a typing.Generic, which type checkers know",
    "test_get_with_putters": INSIDE,
    "test_float_maxsize": "a capacity is a whole number, and anything else is refused",
}


class Queue(Mailbox[Any]):
    """A mailbox under the names of ``asyncio.Queue``."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(capacity=maxsize if maxsize != 0 else None)
        self.maxsize = maxsize

    async def put(self, item: Any) -> None:
        try:
            await self.send(item)
        except OwnerClosed as error:
            shut_down(error)

    def put_nowait(self, item: Any) -> None:
        try:
            self.send_nowait(item)
        except OwnerClosed as error:
            shut_down(error)

    async def get(self) -> Any:
        try:
            return await self.receive()
        except OwnerClosed as error:
            shut_down(error)

    def get_nowait(self) -> Any:
        try:
            return self.receive_nowait()
        except OwnerClosed as error:
            shut_down(error)

    def qsize(self) -> int:
        return len(self)

    def empty(self) -> bool:  # type: ignore[override]
        return Mailbox.empty.__get__(self)

    def full(self) -> bool:  # type: ignore[override]
        return Mailbox.full.__get__(self)

    def shutdown(self, immediate: bool = False) -> None:
        self.close()
        if immediate:
            self.discard()

    @property
    def _putters(self) -> range:
        return range(self.statistics().waiting_senders)

    @property
    def _getters(self) -> range:
        return range(self.statistics().waiting_receivers)


def shut_down(error: OwnerClosed) -> NoReturn:
    raise asyncio.QueueShutDown from error


module = borrow("test.test_asyncio.test_queues")
vars(module).update(asyncio=with_names(asyncio, Queue=Queue))

TestBasics = adopt(module.QueueBasicTests, EXCEPTIONS)
TestGetting = adopt(module.QueueGetTests, EXCEPTIONS)
TestPutting = adopt(module.QueuePutTests, EXCEPTIONS)
TestJoining = adopt(module._QueueJoinTestMixin, EXCEPTIONS, q_class=Queue)
if sys.version_info >= (3, 13):
    TestShutdown = adopt(module._QueueShutdownTestMixin, EXCEPTIONS, q_class=Queue)
