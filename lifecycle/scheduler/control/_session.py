"""A session: one client's connection, with a reader that answers most commands and a worker for those that wait."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel

from lifecycle import LifecycleError, ServedStream

from ._commands import CommandError, CommandTable
from ._encoder import error
from ._limits import Limits
from ._parser import HttpError, Parser, Words
from ._unread import Unread

if TYPE_CHECKING:
    from .._blocks.flow import Flow
    from .._engine.scheduler import Scheduler

logger = logging.getLogger("lifecycle.scheduler")

REFUSALS = (LifecycleError, LookupError, OverflowError, TypeError, ValueError)
"""What the scheduler refuses a command with; anything else is a defect, and logged as one."""

Piece = bytes | Iterator[Words]
"""What the reader hands to the worker: input as it came, or the commands from the first that has to wait on."""

SOFT = 64 * 1024
"""Bytes that may wait to go out before the session waits for the client to read."""

OVERHEAD = SOFT // 256
"""What an answer counts beside its bytes: after 256 small answers other clients have their turn."""

HEAVY_TURN = 16
"""Waiting commands that are done before other clients have their turn: many of them return without waiting."""


class SessionOwner(Protocol):
    """What a session and its commands need of the server.

    Attributes:
        name: what it is called in logs.
        scheduler: what the commands are about.
        flows: flows that clients can run, by name.
        commands: what it answers.
        password: what clients have to give, None for nothing.
        limit: how many clients there may be at once.
        limits: what each may send, and how much may wait for it.
        unread: those for which much waits.
    """

    name: str
    scheduler: Scheduler
    flows: Mapping[str, Flow]
    commands: CommandTable[Session]
    password: str | None
    limit: int
    limits: Limits
    unread: Unread[Session]

    def sessions(self) -> list[Session]:
        """Return the clients that are connected, the oldest first."""

    def count(self, what: str) -> None:
        """Count something that has happened."""

    def alarm(self, event: str, session: Session, **about: object) -> None:
        """Tell of what a client did that may be an attack."""

    def welcome(self, session: Session) -> None:
        """Let a client stay for as long as it likes."""

    def watch(self, session: Session, *, on: bool) -> None:
        """Start or stop sending events to a client."""

    def long_list(self, length: int) -> AbstractAsyncContextManager[object]:
        """Wait for a turn to have a list of so many entries in memory."""

    def facts(self) -> dict[str, dict[str, object]]:
        """Return the facts of INFO, by section."""


class Session:
    """What the server knows of one client.

    Attributes:
        id: the connection's number.
        server: whose client it is.
        stream: the connection.
        resp: the version of the protocol, 2 or 3.
        name, library: what the client calls itself, and what it is made with.
        authenticated: whether it has given the password, or none is needed.
        stranger: whether it has not sent any command yet, or none that it may.
        leaving: whether the connection closes after the answer.
        watching: whether it gets events.
        commands: how many it has sent.
    """

    def __init__(self, number: int, server: SessionOwner, stream: ServedStream) -> None:
        self.id: int = number
        self.server: SessionOwner = server
        self.stream: ServedStream = stream
        self.resp: int = 2
        self.name: bytes = b""
        self.library: dict[str, str] = {}
        self.authenticated: bool = server.password is None
        self.stranger: bool = True
        self.leaving: bool = False
        self.watching: bool = False
        self.commands: int = 0
        self._penalty = 0.0  # seconds before it is answered
        self._replying = 0  # bytes of answers that wait for the client to read
        self._in_hand = 0  # pieces that the worker works on, or that wait for it
        self._since = time.monotonic()
        self._commands = server.commands
        self._parser = Parser(server.limits if self.authenticated else server.limits.before_auth())

    @property
    def age(self) -> float:
        """Seconds since it connected."""
        return time.monotonic() - self._since

    def cut(self, why: str) -> None:
        """End the connection at once."""
        logger.info("client cut off", extra={**self._extra, "reason": why})
        self.stream.abort()

    @property
    def _extra(self) -> dict[str, object]:
        return {"owner": self.server.name, "client": self.stream.peer}

    def let_in(self) -> None:
        """Allow the client all commands: it has given the password."""
        self.authenticated = True
        self._parser.limits = self.server.limits

    def punish(self) -> None:
        """Make it wait for its answer, and for whatever it asks after that: it has given a wrong password."""
        self.server.count("refused")
        self.server.alarm("wrong password", self)
        self._penalty = self.server.limits.password_pause

    # The two loops

    async def read(self, send: Callable[[Piece], Awaitable[None]]) -> None:
        """Read what the client sends, until it ends or leaves.

        While the worker has nothing in hand, commands that need no waiting are answered right here, which saves a turn
        of the loop for each piece. From the first that has to wait on, everything goes to the worker until that has
        nothing in hand again, so that answers come in order.

        Cancellation: nothing is lost that was handed on.

        Raises:
            BrokenResourceError: the connection broke.
        """
        receive = self.stream.receive
        try:
            while not self.leaving:
                data = await receive()
                if self._in_hand:
                    self._in_hand += 1
                    await send(data)
                    continue
                commands = iter(self._parser.feed(data))
                waiting = await self._answer(commands)
                if waiting is not None:
                    self._in_hand += 1
                    await send(chain((waiting,), commands))
        except anyio.EndOfStream:
            return

    async def work(self, receive: AsyncIterator[Piece]) -> None:
        """Do the commands that wait, and answer those behind them, until the client leaves or is told to.

        Cancellation: the command in hand may have been done.

        Raises:
            BrokenResourceError: the connection broke.
        """
        done = 0
        async for piece in receive:
            commands = iter(self._parser.feed(piece)) if isinstance(piece, bytes) else piece
            while not self.leaving and (waiting := await self._answer(commands)) is not None:
                answer = await self._do_waiting(waiting)
                await self._send(answer)
                done += 1
                if len(answer) > SOFT or done % HEAVY_TURN == 0:
                    await anyio.lowlevel.checkpoint()
            self._in_hand -= 1
            if self.leaving:
                return

    async def _answer(self, commands: Iterator[Words]) -> Words | None:
        """Answer up to the first command that has to wait, and return that one; None when all is answered.

        A few bytes can ask for very much: answers are sent as they pile up, and a client that does not read them is not
        answered further.
        """
        answers: list[bytes] = []
        size = 0
        waiting: Words | None = None
        for words in commands:
            self.commands += 1
            answer = self._do(words)
            if answer is None:
                waiting = words
                break
            answers.append(answer)
            if self._penalty:
                penalty, self._penalty = self._penalty, 0.0
                await anyio.sleep(penalty)
            if self.leaving:
                break
            size += len(answer) + OVERHEAD
            if size > SOFT:
                await self._send(b"".join(answers))
                answers, size = [], 0
                await anyio.lowlevel.checkpoint()
        else:
            if self._parser.error is not None:
                self._refuse_input(self._parser.error, answers)
        if self.stranger and self.authenticated and self.commands:
            self.stranger = False
            self.server.welcome(self)
        if answers and not (self.leaving and self.stream.closed):  # after an ABORT
            await self._send(b"".join(answers))
        return waiting

    def _refuse_input(self, problem: Exception, answers: list[bytes]) -> None:
        self.leaving = True
        if isinstance(problem, HttpError):
            self.server.count("http")
            self.server.alarm("HTTP at the control port, maybe of a web page that attacks it", self)
            self.stream.abort()
        else:
            self.server.count("protocol_errors")
            answers.append(error(f"Protocol error: {problem}"))

    def _do(self, words: Words) -> bytes | None:
        """Do a command and return its answer; None for one that has to wait."""
        try:
            spec = self._commands.get(words[0])
            count = len(words) - 1
            # `find` in the usual case, inlined
            if spec is None or count < spec.least or (spec.most is not None and count > spec.most):
                spec = self._commands.find(words)
            if not self.authenticated and not spec.before_auth:
                raise CommandError("Authentication required.", "NOAUTH")
            return spec.run(self, words) if not spec.waits else None  # type: ignore[return-value]
        except Exception as failure:
            return self._refusal(failure)

    async def _do_waiting(self, words: Words) -> bytes:
        try:
            return await self._commands.find(words).run(self, words)  # type: ignore[misc, no-any-return]
        except Exception as failure:
            return self._refusal(failure)

    def _refusal(self, failure: Exception) -> bytes:
        if isinstance(failure, CommandError):
            return error(str(failure), failure.kind)
        if isinstance(failure, REFUSALS):
            return error(str(failure))
        logger.error("command failed", exc_info=failure, extra=self._extra)
        return error(f"internal error: {type(failure).__name__}; see the server's log")

    # Output

    async def _send(self, data: bytes) -> None:
        """Send answers; a client that reads none of them for too long is cut off."""
        stream = self.stream
        stream.send_nowait(data)
        if stream.unsent > SOFT:
            self._replying = len(data)
            self._make_room()
            with anyio.move_on_after(self.server.limits.output_timeout):
                await stream.send(b"")
                self._replying = 0
                self.server.unread.discard(self)
                return
            self.server.count("slow")
            self.cut("it does not read its replies")

    def push(self, message: bytes) -> None:
        """Send something that was not asked for; a client that reads too little of it is cut off."""
        if self.stream.closed:
            return
        self.stream.send_nowait(message)
        if self.stream.unsent - self._replying > self.server.limits.output:
            self.server.count("slow")
            self.cut("it does not read its events")
        elif self.stream.unsent > SOFT:
            self._make_room()

    def _make_room(self) -> None:
        """Bound what waits for all clients together."""
        for session in self.server.unread.add(self):
            self.server.count("slow")
            session.cut("too much waits for clients that do not read")
