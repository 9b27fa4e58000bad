"""Turns: all that a scheduler wants of the database at one moment goes there in one call, with the next claim."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio

from ..._ground.bridge import Bell
from ..._ground.errors import StoreBusy, StoreError
from ..._ground.limits import LONGEST_WAIT
from ..._ground.values import to_json
from ..patience import Patience
from ..records import Claimed
from .faults import Fault, explain, fault_of, is_of_connection, is_twin
from .heard import claimed_of
from .traffic import PAUSES
from .wishes import LONGEST_TURN, MOST, Batch, Wish, answer_of

TURN: Final = "SELECT lifecycle.turn($1, $2, $3, $4, $5, $6, $7, $8)"

TURN_TIMEOUT: Final = 60.0
"""Seconds for one turn; the lifeline notices sooner that there is no connection any more."""

MOST_TAKEN: Final = 100_000
"""Jobs that are asked for at once."""

HELD_BACK_FOR: Final = 1.0
"""Seconds after which is looked again at what a limit held back: others do not tell when they make room."""


@dataclass(eq=False, slots=True)
class Standing:
    """Who waits for jobs: answered by the first turn that finds some.

    Attributes:
        room: returns how many more may be taken.
        known: returns the names of the handlers and the keys of the flows that there are.
        give, fail: called in the thread of the database with the jobs, or the error.
    """

    room: Callable[[], int]
    known: Callable[[], Collection[str]]
    give: Callable[[Any], object]
    fail: Callable[[BaseException], object]


@dataclass(slots=True)
class Looks:
    """What a claim says of what is to come: times by the clock of the database, None for nothing."""

    next_due: float | None = None
    expires: float | None = None
    adopt: bool = False


class Turns:
    """Sends one turn after the other; used in the thread of the database alone, but for `ask` and `stand`.

    Args:
        send: calls the function ``turn`` with the given arguments; returns its answer. Calls its second argument when
            it has a connection: from then on nobody knows whether the turn was done, until there is an answer.
        missed: returns the attempts that the database has started for us beside these, which we know of.
        recall: returns what a turn was answered that was sent under a number which is not ours any more; None if it was
            not done.
        owner: returns our number; registers us again, when others have taken us for dead.
        patience: waits for faults that may pass.
        shown: what messages call the database.
        now: returns the time by the clock of the database.
        max_crashes: crashes of its process after which a job has failed; None for never.
        internal: returns what the store itself wants done, such as what expires; asked with what the last claim said.
        tell: called with the messages to others that a turn has led to.

    Attributes:
        failure: why the database cannot be used any more; None while it can.
    """

    def __init__(
        self,
        send: Callable[[tuple[Any, ...], Callable[[], object]], Awaitable[str]],
        missed: Callable[[Collection[int]], Awaitable[list[Claimed]]],
        recall: Callable[[int, int], Awaitable[str | None]],
        owner: Owner,
        patience: Patience,
        *,
        shown: str,
        now: Callable[[], float],
        max_crashes: int | None,
        internal: Callable[[Looks, Collection[str]], tuple[list[Wish], float]],
        tell: Callable[[list[str]], object],
    ) -> None:
        self.failure: StoreError | None = None
        self.running: dict[int, Claimed] = {}  # what we run, as far as we know
        self._send_turn = send
        self._find_missed = missed
        self._recall = recall
        self._owner = owner
        self._patience = patience
        self._shown = shown
        self._now = now
        self._max_crashes = max_crashes
        self._internal = internal
        self._tell = tell
        self._wishes: deque[Wish] = deque()
        self._bell = Bell()
        self._standing: Standing | None = None
        self._known: Callable[[], Collection[str]] = tuple
        self._looks = Looks()
        self._look_soon = False
        self._look_at = 0.0  # the time, of this machine's steady clock, of the next claim without a reason
        self._kept: list[Claimed] = []  # what was claimed when nobody waited any more
        self._number = 0
        self._doubtful = False  # whether a claim may have been granted whose answer is lost
        self._hurried = self._left = False
        self._tries = 0
        self._shares: dict[str, Any] | None = None

    # Asked from the loop of the jobs, by way of the thread

    def ask(self, wish: Wish) -> None:
        """Grant a wish with the next turn."""
        if self.failure is not None:
            wish.fail(self.failure)
            return
        if wish.job is not None:
            known = self.running.get(wish.job)
            wish.run = None if known is None else known.run_id
        self._wishes.append(wish)
        self._bell.ring()

    def stand(self, standing: Standing) -> None:
        """Give jobs to whoever waits for them, as soon as there are some; one may at a time."""
        if self.failure is not None:
            standing.fail(self.failure)
            return
        self._standing, self._known = standing, standing.known
        if self._kept:
            self._hand_over([])
        self.look()

    def names(self) -> tuple[str, ...]:
        """Return what we know: names of handlers, keys of flows; nothing before jobs are taken, and when none are."""
        return tuple(sorted(self._known()))

    def look(self) -> None:
        """Claim again at the next opportunity: there is work, or room."""
        self._look_soon = True
        self._bell.ring()

    def hurry(self) -> None:
        """Wait for a moment only from now on: the store is being closed."""
        self._hurried = True
        self._patience.shorten()
        self._bell.ring()

    def drop(self, failure: StoreError) -> None:
        """Grant nothing any more."""
        if self.failure is None:
            self.failure = failure
        for one in (*self._wishes, *((self._standing,) if self._standing else ())):
            one.fail(self.failure)
        self._wishes.clear()
        self._standing = None

    # The loop

    async def run(self) -> None:
        """Send turns until the database cannot be used any more, or we have left.

        Cancellation: what is under way may be done or not.
        """
        while self.failure is None and not self._left:
            batch = self._next_batch()
            asked = self._asked(bool(batch.wishes))
            if not batch.wishes and asked is None:
                await self._bell.wait(self._pause())
                continue
            await self._grant(batch, asked)

    def _pause(self) -> float | None:
        return None if self._standing is None else max(0.0, self._look_at - time.monotonic())

    def _next_batch(self) -> Batch:
        if self._standing is not None:
            wanted, pause = self._internal(self._looks, self.names())
            self._wishes.extend(wanted)
            self._look_at = min(self._look_at, time.monotonic() + pause)
        taken: list[Wish] = []
        size = 0
        while self._wishes and len(taken) < MOST and size < LONGEST_TURN:
            taken.append(self._wishes.popleft())
            size += len(taken[-1].said)
        if taken:
            self._number += 1
        return Batch(taken, self._number)

    def _asked(self, busy: bool) -> dict[str, Any] | None:
        """Return what to ask for, None when it is not time."""
        if self._standing is None or self._owner.replaced:
            return None
        if not (busy or self._look_soon or time.monotonic() >= self._look_at):
            return None
        self._look_soon = False
        room = min(max(0, self._standing.room()), MOST_TAKEN)
        asked = {"room": room, "max_crashes": self._max_crashes, "now": self._now()}
        return asked if self._shares is None else {**asked, "shares": self._shares}

    async def _grant(self, batch: Batch, asked: dict[str, Any] | None) -> None:
        """Send a batch until it is granted, or refused."""
        while self.failure is None:
            try:
                if self._doubtful:
                    await self._take_missed()
                    asked = asked if self._standing is not None else None
                answer = await self._send(batch, asked)
            except Exception as error:
                if not await self._go_on(batch, error):
                    return
                if asked is not None:
                    asked = self._asked(busy=True)
            else:
                self._patience.passed()
                self._tries = 0
                # Before the claim is looked at, which may have brought one of them again.
                for job, attempt in batch.deliver(answer):
                    if job in self.running and self.running[job].attempt == attempt:
                        del self.running[job]
                self._left = any(one.last for one in batch.wishes)
                if messages := answer.get("messages"):
                    self._tell(messages)
                if asked is not None and answer.get("claims") is not None:
                    self._take(answer["claims"])
                return

    async def _send(self, batch: Batch, asked: dict[str, Any] | None) -> dict[str, Any]:
        while True:
            owner = await self._owner.number()
            self._doubtful = self._doubtful or asked is not None
            if batch.sent_by not in (None, owner):  # we have another number since then: was it done under the old one?
                done = await self._recall(batch.sent_by, batch.number)
                if done is not None:
                    return answer_of(done)
            request = None if asked is None else to_json(asked)
            arguments = (owner, batch.number, batch.alone, *batch.arguments(), request)
            before = batch.sent_by
            try:
                text = await self._send_turn(arguments, partial(setattr, batch, "sent_by", owner))
            except Exception as error:
                if not is_of_connection(error):  # the server itself says that nothing was done
                    batch.sent_by = before
                raise
            answer = answer_of(text)
            if answer["registered"]:
                self._doubtful = self._doubtful and bool(answer.get("again"))
                return answer
            self.note_lost(owner)

    async def claim(self, asked: str) -> dict[str, Any]:
        """Claim at once, in a turn of its own."""
        arguments: tuple[Any, ...] = (await self._owner.number(), 0, False, [], None, None, None, asked)
        claims: dict[str, Any] = answer_of(await self._send_turn(arguments, lambda: None))["claims"]
        return claims

    def note_lost(self, owner: int) -> None:
        """Note that others have taken us for dead under this number: what we run is theirs."""
        if owner == self._owner.known:
            self._owner.lost(list(self.running.values()))
            self.running.clear()
            self._kept.clear()
            self.look()

    async def _take_missed(self) -> None:
        owner = self._owner.known
        if owner is not None:
            jobs = await self._find_missed(list(self.running))
            if jobs:
                self._hand_over(jobs)
        self._doubtful = False

    async def _go_on(self, batch: Batch, error: Exception) -> bool:
        """Prepare what is to be done after an error; return whether the batch is to be sent again."""
        fault = Fault.FINAL if isinstance(error, StoreError) else fault_of(error)
        if fault is Fault.ALONE:
            batch.alone = True
            return True
        self._tries += 1
        if (fault is Fault.AGAIN or is_twin(error)) and self._tries < 10:
            batch.alone = batch.alone or self._tries > 3
            await anyio.sleep(random.uniform(0, 0.01 * self._tries))
            return True
        if fault is Fault.PASSING:
            return await self._wait(batch, error)
        if fault is Fault.FINAL:
            self.drop(error if isinstance(error, StoreError) else _because(self._shown, error))
            for one in batch.wishes:
                assert self.failure is not None
                one.fail(self.failure)
            return False
        self._tries = 0
        if len(batch.wishes) == 1:
            batch.wishes[0].fail(error)
        elif not batch.wishes and self._standing is not None:
            standing, self._standing = self._standing, None
            standing.fail(error)
        else:  # so that only the guilty one fails
            for one in batch.wishes:
                if self.failure is not None:  # since the one before
                    one.fail(self.failure)
                    continue
                self._number += 1
                await self._grant(Batch([one], self._number), None)
        return False

    async def _wait(self, batch: Batch, error: Exception) -> bool:
        """Wait for a fault to pass; return whether the batch is to be sent again."""
        reason = explain(self._shown, error)
        self._patience.meet(reason)
        if self._patience.exhausted:
            failure = (StoreBusy if self._hurried else StoreError)(reason)
            failure.__cause__ = error
            self._wishes.extendleft(reversed(batch.wishes))
            self.drop(failure)
            return False
        if self._patience.refuses:
            text = f"{reason} (for {self._patience.seconds:.0f} s now); nothing was written"
            # What has been sent may have been done: it waits until that is known.
            batch.wishes[:] = _without_impatient(batch.wishes, text) if batch.sent_by is None else batch.wishes
            self._wishes = deque(_without_impatient(self._wishes, text))
            if not batch.wishes:
                return False
        await anyio.sleep(PAUSES[min(self._tries, len(PAUSES)) - 1])
        return True

    def _take(self, claims: dict[str, Any]) -> None:
        """Hand over what was claimed, and note when to look again."""
        self._shares = claims.get("shares", self._shares)
        self._looks = Looks(claims["next_due"], claims["expires"], claims["adopt"])
        now = self._now()
        waits = [claims["next_due"], claims.get("next_at"), now + HELD_BACK_FOR if claims.get("held_back") else None]
        wait = min((at - now for at in waits if at is not None), default=LONGEST_WAIT)
        self._look_at = time.monotonic() + max(0.0, wait)
        if claims["jobs"]:
            self._hand_over(claimed_of(claims))

    def _hand_over(self, jobs: list[Claimed]) -> None:
        """Give jobs to whoever waits for some, or to the next who does."""
        self.running.update((job.id, job) for job in jobs)
        self._kept += jobs
        if self._standing is not None:
            standing, self._standing = self._standing, None
            jobs, self._kept = self._kept, []
            standing.give(jobs)

    def answer_nothing(self) -> None:
        """Answer whoever waits for jobs with none: there are notices to be looked at."""
        if self._standing is not None:
            standing, self._standing = self._standing, None
            standing.give([])


class Owner:
    """Who we are in the database.

    Args:
        enter: registers us and returns our number.
        tell: called with the attempts that we have lost when others have taken us for dead.

    Attributes:
        known: our number; None when we are not registered.
        replaced: whether we have another number, and nobody has stopped yet what we ran under the old one.
    """

    def __init__(self, enter: Callable[[], Awaitable[int]], tell: Callable[[list[Claimed]], object]) -> None:
        self.known: int | None = None
        self.replaced = False
        self._enter = enter
        self._tell = tell

    async def number(self) -> int:
        """Return our number; registered first, if we are not."""
        if self.known is None:
            self.known = await self._enter()
        return self.known

    def lost(self, running: list[Claimed]) -> None:
        """Note that we are not registered any more; what we ran is not ours."""
        self.known, self.replaced = None, True
        self._tell(running)


def _without_impatient(wishes: Iterable[Wish], why: str) -> list[Wish]:
    """Refuse those that do not wait for long, and return the others."""
    for one in wishes:
        if not one.patient:
            one.fail(StoreBusy(why))
    return [one for one in wishes if one.patient]


def _because(shown: str, error: Exception) -> StoreError:
    failure = StoreError(explain(shown, error))
    failure.__cause__ = error
    return failure
