"""The session of a scheduler in its database, in a thread of its own: turns, lifeline, agenda and chores."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from lifecycle import Scope

from ..._ground.bridge import Bridge, Reply, loop_time
from ..._ground.errors import StoreError
from ..._ground.text import one_line
from ..._ground.values import to_json
from ..messages import Notice
from ..patience import Patience, Trouble
from ..records import Claimed, JobStatus
from ..retention import Retention
from .address import Address
from .agenda import Agenda
from .chores import Chores
from .connections import Connection, fetch_committed
from .faults import Fault, explain, fault_of
from .heard import claimed_of
from .lifeline import Lifeline
from .said import storable
from .schema import bring_up_to_date
from .thread import LoopThread
from .traffic import Traffic
from .turns import TURN, TURN_TIMEOUT, Owner, Standing, Turns
from .wishes import Kind, Released, Wish

T = TypeVar("T")

NOTICED: Final = 0.25
"""Seconds by which clocks may be apart and are taken for the same."""

LAST_TURN_TIMEOUT: Final = 10.0
"""Seconds for a turn while the store is closed: somebody may have locked a table. Others see to what is left."""

LOST: Final = "it was taken over: its scheduler had not been heard of for its lease"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a store on PostgreSQL is made with; `PostgresStore` says what each is."""

    address: Address
    name: str
    retention: Retention
    patience: float | None
    max_crashes: int | None
    lease: float
    connections: int


class Session:
    """Works in the database for a scheduler that lives in another loop; what it is asked for comes from there.

    Args:
        settings: of the store.
        tell: called in the loop of the scheduler with what is worth telling about faults.
        attend: called there when others have changed something that may concern it.
        stop: called there with the attempt of a job that is to be stopped.
    """

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[Trouble], object],
        attend: Callable[[], object],
        stop: Callable[[int, int, str], object],
    ) -> None:
        self._settings = settings
        self._secret = secrets.token_hex(16)
        self._outer = Bridge()
        self._attend = attend
        self._stop = stop
        # Seconds by which the clock of the database is ahead of our steady one. Our wall clock may be set: what we said
        # by that would be hours off for all others.
        self._ahead = time.time() - time.monotonic()
        self._clock = 0.0  # what it has shown last
        # Between the threads; both ends of a deque may be used at once.
        self._lost: deque[Notice] = deque()
        self._inbox: deque[Wish] = deque()
        self._outbox: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._rung = False
        self._turn: anyio.CancelScope | None = None  # what bounds the turn that is under way
        self._turn_timeout = TURN_TIMEOUT
        patience = Patience(settings.patience, lambda trouble: self._outer.call(tell, trouble))
        self.owner = Owner(self._enter, self._note_lost)
        self._chores = Chores(settings.retention, settings.max_crashes)
        name = f"lifecycle {one_line(storable(settings.name))}"[:63]
        self._traffic = Traffic(settings.address, name, settings.connections, patience)
        self._turns = Turns(
            self._send_turn,
            self._find_missed,
            self._recall,
            self.owner,
            patience,
            shown=settings.address.shown,
            now=self.now,
            max_crashes=settings.max_crashes,
            internal=self._chores.wanted,
            tell=self._tell_others,
        )
        self._agenda = Agenda(partial(self._traffic.ask, patient=True), self._turns.ask, self._turns.names, self.now)
        self._chores.attach(self._turns, self._agenda, self.now)
        self._lifeline = Lifeline(
            self._traffic.connect,
            lambda: self.owner.known,
            settings.lease,
            heard=self._hear,
            beaten=self._note_beat,
            silent=self._traffic.hang_up,
        )
        self._thread = LoopThread(self._serve, self._fail, self._refusal, "lifecycle-store")

    # From the loop of the scheduler

    async def open(self) -> None:
        """Connect, make or bring up to date the schema, and register.

        Cancellation: `aclose` releases what had been opened.
        """
        await self._thread.open()

    @property
    def failure(self) -> StoreError | None:
        """Why the database cannot be used any more, None while it can."""
        return self._turns.failure

    async def aclose(self) -> None:
        """Leave the database, and end the thread.

        Cancellation: the thread ends nevertheless.
        """
        try:
            if self._thread.running and self.owner.known is not None and self.failure is None:
                self._thread.call(self._hurry)
                await self.wish("other", {"do": "leave"}, alone=True, patient=True, last=True)
        finally:
            await self._thread.aclose()

    def wish(
        self,
        kind: Kind,
        said: dict[str, Any],
        now: float | None = None,
        *,
        alone: bool = False,
        patient: bool = False,
        run: int | None = None,
        job: int | None = None,
        released: Callable[[Any], Released] = lambda answer: (),
        last: bool = False,
    ) -> Awaitable[Any]:
        """Have a wish granted with the next turn; *now* is by our clock."""
        reply = self._thread.asked()
        said["now"] = self.now() if now is None else self.by_its_clock(now)
        wish = Wish(kind, to_json(said), *self._answering(reply), alone, patient, run, job, released, last)
        self._inbox.append(wish)
        if not self._rung:  # one call of the other thread for all that is wanted in this moment
            self._rung = True
            self._thread.call(self._take_in)
        return reply

    def _take_in(self) -> None:
        self._rung = False
        while self._inbox:
            self._turns.ask(self._inbox.popleft())

    def read(self, question: Callable[[Connection], Awaitable[T]], *, patient: bool) -> Awaitable[T]:
        """Ask the database a question."""
        return self._thread.run(lambda: self._traffic.ask(question, patient=patient))

    def take(self, room: Callable[[], int], known: Callable[[], Collection[str]]) -> Awaitable[list[Claimed]]:
        """Wait for jobs."""
        reply: Reply[list[Claimed]] = self._thread.asked()
        standing = Standing(room, known, *self._answering(reply))
        self._thread.call(lambda: self._turns.stand(standing))
        return reply

    def claim(self, room: int, now: float) -> Awaitable[dict[str, Any]]:
        """Start attempts of jobs at once, whatever they need that one knows."""
        asked = {"room": room, "everything": True, "max_crashes": self._settings.max_crashes, "now": now}
        return self._thread.run(lambda: self._turns.claim(to_json(asked)))

    def look(self) -> None:
        """Claim again at the next opportunity."""
        self._thread.call(self._turns.look)

    def look_at_schedules(self) -> None:
        """Look at the schedules at once."""
        self._thread.call(self._agenda.touch)

    def adopt(self) -> None:
        """Take over what others leave, from now on."""
        self._chores.adopts = True

    def lost(self) -> list[Notice]:
        """Return and forget the notices of attempts that others have taken over."""
        lost = [self._lost.popleft() for _ in range(len(self._lost))]
        if lost:
            self._attend()  # ask once more when these have been stopped
        elif self.owner.replaced:
            self._thread.call(self._go_on)
        return lost

    def _go_on(self) -> None:
        """Claim again: what others have taken over is stopped here, so that a job of it may be ours once more."""
        self.owner.replaced = False
        self._turns.look()

    def now(self) -> float:
        """Return the time by the clock of the database."""
        return time.monotonic() + self._ahead

    def by_its_clock(self, instant: float) -> float:
        """Return what the clock of the database shows at an instant of ours."""
        skew = self.now() - time.time()
        return instant + skew if abs(skew) > NOTICED else instant

    def _answering(self, reply: Reply[Any]) -> tuple[Callable[[Any], object], Callable[[BaseException], object]]:
        return partial(self._hand_out, reply.give), partial(self._hand_out, reply.fail)

    def _hand_out(self, give: Callable[[Any], object], value: Any) -> None:
        """Give an answer in the loop of the scheduler: one call of it for all that are given in one step."""
        self._outbox.append((give, value))
        if len(self._outbox) == 1:
            self._outer.call(self._give_all)

    def _give_all(self) -> None:
        while self._outbox:
            give, value = self._outbox.popleft()
            give(value)

    # In the thread

    async def _serve(self, scope: Scope) -> None:
        await self._traffic.open(scope)
        await self._traffic.ask(lambda db: bring_up_to_date(db, self._settings.address.shown))
        await self._traffic.ask(lambda db: self.owner.number())
        for loop in (self._turns, self._lifeline, self._agenda):
            scope.start_soon(loop.run, name=f"{type(loop).__name__.lower()} of {self._settings.name}")

    def _fail(self, error: BaseException) -> None:
        """Refuse everything from now on: what does the work has failed, which is a fault of ours."""
        failure = StoreError(f"{self._settings.address.shown}: {explain(type(error).__name__, error)}")
        failure.__cause__ = error
        self._turns.drop(failure)

    def _refusal(self) -> StoreError:
        return self.failure or StoreError(f"{self._settings.address.shown}: the store was closed before it was done")

    async def _enter(self) -> int:
        settings = self._settings
        question = "SELECT lifecycle.enter($1, $2, $3, $4, $5), lifecycle.clock()"
        who = (storable(settings.name), socket.gethostname(), os.getpid(), settings.lease, self._secret)
        async with self._traffic.lent() as db:
            began = time.monotonic()
            number, clock = await db.fetchrow(question, *who)
            self._note_clock(clock, began, time.monotonic())
        return int(number)

    def _note_clock(self, clock: float, began: float, ended: float) -> None:
        """Note how far the clock of the database is ahead, where it has changed by more than the way there and back."""
        ahead = clock - (began + ended) / 2
        if abs(ahead - self._ahead) > NOTICED + (ended - began) / 2:
            self._ahead = ahead

    def _note_lost(self, running: list[Claimed]) -> None:
        self._lost += [
            Notice(0, job.id, job.run_id, job.name, LOST, JobStatus.RUNNING, False, job.attempt, lost=True)
            for job in running
        ]
        self._chores.begin_anew([job.id for job in running])
        self._outer.call(self._attend)

    def _hurry(self) -> None:
        """Wait for a moment only from now on, also for the turn that is under way."""
        self._turn_timeout = LAST_TURN_TIMEOUT
        if self._turn is not None:
            self._turn.deadline = min(self._turn.deadline, loop_time() + LAST_TURN_TIMEOUT)
        self._turns.hurry()

    async def _send_turn(self, arguments: tuple[Any, ...], sent: Callable[[], object]) -> str:
        failure: Exception | None = None
        async with self._traffic.lent() as db:
            sent()
            try:
                with anyio.fail_after(self._turn_timeout) as self._turn:
                    text: str = await fetch_committed(db, TURN, *arguments)
            except Exception as error:
                if db.is_closed() or fault_of(error) is Fault.PASSING:
                    raise  # which makes an end of the connection
                failure = error
        if failure is not None:
            raise failure
        return text

    async def _find_missed(self, known: Collection[int]) -> list[Claimed]:
        owner, ids = self.owner.known, list(known)
        question = "SELECT lifecycle.missed_attempts($1, $2)"
        text = await self._traffic.ask(lambda db: db.fetchval(question, owner, ids), patient=True)
        return claimed_of(json.loads(text))

    async def _recall(self, owner: int, number: int) -> str | None:
        question = "SELECT answers FROM lifecycle.turns WHERE owner = $1 AND number = $2"
        answer: str | None = await self._traffic.ask(lambda db: db.fetchval(question, owner, number), patient=True)
        return answer

    def _tell_others(self, messages: list[str]) -> None:
        self._lifeline.tell(messages)

    def _hear(self, message: str) -> None:
        """Act on a message of others, or on an empty one: something may have been missed."""
        what, _, rest = message.partition(" ")
        whom, _, said = rest.partition(" ")
        if what in ("work", ""):
            self._turns.look()
            self._agenda.hint()
        if what == "schedule":
            self._agenda.touch()
        if what in ("run", "") or whom == str(self.owner.known):
            if what == "stop":
                self._stop_at_once(*said.split(" ", 1))
            self._outer.call(self._attend)

    def _stop_at_once(self, signature: str, said: str = "") -> None:
        """Stop an attempt, if it is the database that asks for it."""
        expected = hashlib.sha256(f"{self._secret}{said}{self._secret}".encode()).hexdigest()
        if secrets.compare_digest(signature.encode(), expected.encode()):
            self._outer.call(self._stop, *json.loads(said))

    def _note_beat(self, answer: dict[str, Any], took: float) -> None:
        ended = time.monotonic()
        self._note_clock(answer["clock"], ended - took, ended)
        if answer["clock"] < self._clock:
            self._agenda.note_clock_set_back()
        self._clock = answer["clock"]
        if answer["dead"]:
            self._chores.bury = True
            self._turns.look()
        if not answer["registered"]:
            self._turns.note_lost(answer["owner"])
