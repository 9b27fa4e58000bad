"""A session: one client's connection, a reader that understands and a worker that answers, linked both ways."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

from lifecycle import LifecycleError, ServedStream

from ._commands import COMMANDS, CommandError, find
from ._encoder import encode, error
from ._parser import Command, Parser, ProtocolError

if TYPE_CHECKING:
    from ._server import ControlServer

logger = logging.getLogger("lifecycle.scheduler")

#: What the scheduler refuses a command with; anything else is a defect, logged as one.
REFUSALS = (LifecycleError, LookupError, OverflowError, TypeError, ValueError)

#: What the reader hands to the worker: the commands of one piece of input, or why there will be no more.
Batch = list[Command] | ProtocolError

#: So many bytes may wait to go out before the worker looks whether the client takes them.
SOFT = 64 * 1024


class Session:
    """What the server knows of one client.

    Attributes:
        id: the connection's number.
        server: whose client it is.
        stream: the connection.
        resp: the version of the protocol, 2 or 3.
        name, library: what the client calls itself, and what it is made with.
        authenticated: whether it has given the password, or needs none.
        leaving: whether the connection closes after the answer.
        watching: whether it gets events.
        commands: how many it has sent.
    """

    def __init__(self, number: int, server: ControlServer, stream: ServedStream) -> None:
        self.id = number
        self.server = server
        self.stream = stream
        self.resp = 2
        self.name = b""
        self.library: dict[str, str] = {}
        self.authenticated = server.password is None
        self.leaving = False
        self.watching = False
        self.commands = 0
        self._since = time.monotonic()
        self._parser = Parser(server.limits)

    @property
    def age(self) -> float:
        """Seconds since it connected."""
        return time.monotonic() - self._since

    def cut(self, why: str) -> None:
        """End the connection at once."""
        logger.info("client cut off", extra={"client": self.stream.peer, "reason": why})
        self.stream.abort()

    # The two loops

    async def read(self, send: Callable[[Batch], Awaitable[None]]) -> None:
        """Hand on what the client sends, one batch of commands for each piece that came in, until it ends.

        Cancellation: no command is lost that was handed on.

        Raises:
            BrokenResourceError: the connection broke.
        """
        stream, parser = self.stream, self._parser
        try:
            while parser.error is None:
                commands = parser.feed(await stream.receive())
                if commands:
                    await send(commands)
            await send(parser.error)
        except anyio.EndOfStream:
            return

    async def work(self, receive: AsyncIterator[Batch]) -> None:
        """Answer batch after batch, until the client leaves or has to.

        Cancellation: the command in hand may have been done.

        Raises:
            BrokenResourceError: the connection broke.
        """
        stream = self.stream
        async for commands in receive:
            if isinstance(commands, ProtocolError):
                self.server.count("protocol_errors")
                await self._send(error(f"Protocol error: {commands}"))
                return
            answers: list[bytes] = []
            for words in commands:
                answer = self._begin(words)
                if type(answer) is not bytes:
                    if answers:  # they do not wait for what takes time
                        await self._send(b"".join(answers))
                        answers.clear()
                    answer = await self._finish(answer)
                answers.append(answer)
                if self.leaving:
                    break
            if stream.closed:
                return
            await self._send(b"".join(answers))
            if self.leaving:
                return

    def _begin(self, words: list[bytes]) -> Any:
        """Do a command; return its answer, or what gives it when awaited."""
        self.commands += 1
        try:
            entry = COMMANDS.get(words[0])
            count = len(words) - 1
            if entry is None or count < entry.least or (entry.most is not None and count > entry.most):
                entry = find(words)
            if not self.authenticated and not entry.before_auth:
                raise CommandError("Authentication required.", "NOAUTH")
            return entry.run(self, words)
        except CommandError as refused:
            return error(str(refused), refused.kind)
        except Exception as failure:
            return self._refusal(failure)

    async def _finish(self, answer: Awaitable[bytes]) -> bytes:
        try:
            return await answer
        except CommandError as refused:
            return error(str(refused), refused.kind)
        except Exception as failure:
            return self._refusal(failure)

    def _refusal(self, failure: Exception) -> bytes:
        if isinstance(failure, REFUSALS):
            return error(f"{failure}")
        logger.error("control command failed", exc_info=failure, extra={"client": self.stream.peer})
        return error(f"internal error: {type(failure).__name__}; see the server's log")

    # Output

    async def _send(self, data: bytes) -> None:
        """Send answers; a client that takes none of them for too long is cut off."""
        stream = self.stream
        stream.send_nowait(data)
        if stream.unsent > SOFT:
            with anyio.move_on_after(self.server.limits.output_timeout):
                await stream.send(b"")
                return
            self.server.count("slow")
            self.cut("it does not take its replies")

    def push(self, message: Any) -> None:
        """Send something that was not asked for; a client that lets too much of it wait is cut off."""
        if self.stream.closed:
            return
        self.stream.send_nowait(encode(message, self.resp))
        if self.stream.unsent > self.server.limits.output:
            self.server.count("slow")
            self.cut("it does not take its events")
