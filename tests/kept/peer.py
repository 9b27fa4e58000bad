"""What the tests of `keep_connected` connect to: a peer that accepts or refuses, and hangs up when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

from lifecycle import Retry, Stages
from lifecycle.types import KeptConnection, KeptState

#: Pauses that leave nothing to chance: 1, 2, 4, ... 16 s.
STEADY = Retry(backoff=(1.0, 16.0), jitter=0.0)


class Session:
    """One connection, as the peer and its client see it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._error: BaseException | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        """Read until the peer hangs up, or breaks it."""
        await asyncio.shield(self._over)
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # whose traceback leads back here: a cycle of the test's own

    def hang_up(self, error: BaseException | None = None) -> None:
        """End it from the other side: in peace, or by an error."""
        if not self._over.done():
            self._error = error
            self._over.set_result(None)

    def __repr__(self) -> str:
        return f"session {self.number}"


class Peer:
    """Accepts one session at a time, and complains about a second one.

    Args:
        seconds: how long it takes to accept, and to see a session off.
        refusals: how many attempts it refuses first.
        hangs_up: whether it accepts and hangs up at once.
    """

    def __init__(self, *, seconds: float = 0.0, refusals: int = 0, hangs_up: bool = False) -> None:
        self.seconds = seconds
        self.refusals = refusals
        self.hangs_up = hangs_up
        self.asked_at: list[float] = []
        self.sessions: list[Session] = []
        self.live: list[Session] = []

    @property
    def session(self) -> Session:
        """The last one."""
        return self.sessions[-1]

    async def accept(self) -> Session:
        """Accept a session, or refuse."""
        assert not self.live, f"{self.live} live while another is asked for"
        self.asked_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        if self.refusals:
            self.refusals -= 1
            raise ConnectionRefusedError("refused")
        session = Session(len(self.sessions) + 1)
        self.sessions.append(session)
        self.live.append(session)
        if self.hangs_up:
            session.hang_up()
        return session

    async def leave(self, session: Session) -> None:
        """See a session off."""
        await asyncio.sleep(self.seconds)
        self.live.remove(session)

    async def connector(self, stages: Stages) -> Session:
        """Connect, and read."""
        session = await stages.acquire(self.accept, release=self.leave, name="accept")
        stages.start_soon(session.read, name="reader")
        return session


async def until(kept: KeptConnection[Any], state: KeptState) -> None:
    """Let time pass until it is in a state; every step on the way has to be right."""
    while kept.state is not state:
        kept._check_invariants()
        await asyncio.sleep(0.0 if kept.state is not KeptState.WAITING else 0.05)
    kept._check_invariants()
