"""Departures: how values leave a registry: taken off the shelf, kept while they are leased, finalized once, announced.

The registration is the token: whatever removes a value (its time, its idle time, the size, a replacement, a call, the
close) takes that very registration off the shelf first, in one synchronous step, and disposes of it then: at once when
it is not leased, with its last lease otherwise. What has to be finalized goes to the crew, which ends it in the
background. States only move LIVE, RETIRED, CLOSED, so "exactly once" is a state and not a flag per path, and
``opened == live + retired + closed`` at every await.
"""

from __future__ import annotations

from asyncio import Future, Task
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .._ground import kernel, trace
from .._ground.checks import checked_callable
from .._ground.foreign import in_words
from .._ground.roots import Thing
from .._lender import Closing
from .._task.waiting import closing_tasks, let_be_seen
from .finalizing import Crew
from .registrations import CLOSED, EXPIRED, LIVE, REPLACED, RETIRED, SHUT, SIZE, Registration, RemovalCause
from .shelf import Shelf

K = TypeVar("K")
V = TypeVar("V")


class Departures(Generic[K, V]):
    """The registrations that have left the shelf, and every step by which they do.

    Attributes:
        crew: finalizes them; None where they need no end.
        removals: how many have left, by cause.
        retained: retired, and still leased.
        closed: how many have been finalized, or handed out.
        handed_out: how many were handed out.
        close_errors: finalizers that failed.
    """

    __slots__ = (
        "_closing",
        "_endings",
        "_no_ending",
        "_shelf",
        "_watchers",
        "close_errors",
        "closed",
        "crew",
        "handed_out",
        "removals",
        "retained",
    )

    def __init__(self, shelf: Shelf[K, V], closing: Closing, finalizer: Callable[[V], object] | None) -> None:
        self._shelf = shelf
        self._closing = closing
        self._watchers = closing.watchers
        self.crew: Crew[Registration[K, V]] | None = None
        if finalizer is not None:
            checked_callable(finalizer, "finalizer", takes=1)
            self.crew = Crew(
                lambda registration: finalizer(registration.value),
                name=closing.owner_name,
                timeout=closing.timeout,
                label=lambda registration: f"{in_words(registration.key)} of {closing.name}",
                done=self._finalized,
                employer=closing,
                context=closing.home.context,
            )
        self._no_ending = finalizer is None and shelf._weigher is None  # whether a value that leaves is just forgotten
        self.removals = dict.fromkeys(RemovalCause, 0)
        self.retained: dict[Registration[K, V], None] = {}
        self._endings: dict[Registration[K, V], Future[None]] = {}
        self.closed = self.handed_out = self.close_errors = 0

    def __len__(self) -> int:
        """How many are being finalized, or in line for it."""
        return len(self.crew) if self.crew is not None else 0

    def is_idle(self, exempt: frozenset[Task[Any]]) -> bool:
        """Whether nothing is being finalized but by *exempt* tasks, which wait for the asker."""
        return self.crew is None or self.crew.idle(exempt)

    def resume(self) -> None:
        """Begin with what has left before there was a loop."""
        if self.crew is not None:
            self.crew.resume()

    def all_told(self) -> bool:
        """Whether nobody is still to be told of what has left."""
        return True

    def things(self) -> list[Thing]:
        """Return what a snapshot shows of them."""
        tasks = self.crew.tasks() if self.crew is not None else ()
        return [
            *(Thing("task", "finalizer", "finalizing", task=task) for task in tasks),
            *(
                Thing("entry", in_words(registration.key), "retired, leased", mark=self.mark_of(registration))
                for registration in self.retained
            ),
        ]

    def trace_opened(self, registration: Registration[K, V]) -> None:
        """Tell the trace sink of a value that was taken in."""
        self._closing.begin_account().enter(registration, "entry", in_words(registration.key))

    def mark_of(self, registration: Registration[K, V]) -> trace.Mark | None:
        """Return what a trace sink knows *registration* by."""
        return trace.mark_in(self._closing.account, registration)

    # Leaving

    def retire(self, registration: Registration[K, V], cause: RemovalCause) -> None:
        """Take a live registration off the shelf, and dispose of it."""
        self._shelf._take_off(registration)
        self.dispose(registration, cause)

    def expire(self, registration: Registration[K, V], now: float) -> bool:
        """Retire a value that has reached its ``expires_at``, unless it only seems idle, or is kept as an old one."""
        if self._shelf._only_seems_idle(registration, now) or self._shelf._is_kept(registration, now):
            return False
        self.retire(registration, self._shelf._cause_of_time(registration))
        return True

    def expire_all(self, registrations: list[Registration[K, V]]) -> bool:
        """Retire all of these, which have left the wheel, by the shortest way; return whether there is one.

        Inlined `retire` for values that are forgotten when they leave: a million may expire at once.
        """
        if self._shelf._has_idle_ttl or not self._no_ending or self._is_observed():
            return False
        shelf = self._shelf
        live = shelf._live
        if not shelf._keys_are_stable:
            for registration in registrations:
                registration._bucket = None
                self.retire(registration, EXPIRED)
            return True
        leased = 0
        for registration in registrations:
            if registration._leases:
                leased += 1
                registration._bucket = None
                self.retire(registration, EXPIRED)
            else:
                del live[registration.key]
                registration._state = CLOSED
                registration._cause = EXPIRED
        self.closed += len(registrations) - leased
        self.removals[EXPIRED] += len(registrations) - leased
        return True

    def give_way(self, registration: Registration[K, V], now: float) -> None:
        """Retire what was under a key before a put, for its true cause."""
        if registration.expires_at > now or not self.expire(registration, now):
            self.retire(registration, REPLACED)

    def evict_oldest(self) -> None:
        """Retire the least recently used value that is not leased."""
        shelf = self._shelf
        key, oldest = shelf._live.popitem(False)  # type: ignore[call-arg]
        if oldest._leases and (other := shelf._spare(key, oldest)) is not None:
            self.retire(other, SIZE)
            return
        bucket = oldest._bucket
        if bucket is not None:
            del bucket[oldest]
        if self._no_ending and not oldest._leases and not (self._endings or self._watchers or self._closing.account):
            oldest._cause = SIZE  # inlined `dispose`
            oldest._state = CLOSED
            self.closed += 1
            self.removals[SIZE] += 1
            return
        if shelf._weigher is not None:
            shelf._weight -= oldest._weight
        self.dispose(oldest, SIZE)

    def hand_out(self, registration: Registration[K, V], cause: RemovalCause) -> None:
        """Take a live registration off the shelf whose value belongs to the caller from now on."""
        self._shelf._take_off(registration)
        registration._cause = cause
        self.removals[cause] += 1
        self.handed_out += 1
        self._end(registration)

    def dispose(self, registration: Registration[K, V], cause: RemovalCause) -> None:
        """Decide what becomes of a registration that has left the shelf."""
        registration._cause = cause
        self.removals[cause] += 1
        if registration._leases:
            registration._state = RETIRED
            self.retained[registration] = None
        elif self.crew is None:
            registration._state = CLOSED
            self.closed += 1
            if self._is_observed():
                self._announce_end(registration)
        else:
            registration._state = RETIRED
            self.crew.submit(registration)

    def finalize_retained(self, registration: Registration[K, V]) -> None:
        """Finalize a registration whose last lease has come back, unless its value was handed out."""
        if registration in self.retained:
            del self.retained[registration]
            if self.crew is None:
                self._end(registration)
            else:
                self.crew.submit(registration)

    # The end

    def _finalized(self, registration: Registration[K, V], error: BaseException | None) -> None:
        if error is not None:
            self.close_errors += 1
            self._closing.report_error("finalizer failed", error, key=in_words(registration.key))
        self._end(registration)

    def _end(self, registration: Registration[K, V]) -> None:
        registration._state = CLOSED
        self.closed += 1
        if self._is_observed():
            self._announce_end(registration)

    def _announce_end(self, registration: Registration[K, V]) -> None:
        """Tell the trace sink, and those who wait for it."""
        if self._closing.account is not None:
            self._closing.account.leave(registration)
        future = self._endings.pop(registration, None)
        if future is not None and not future.done():
            future.set_result(None)
        self._closing.progress()

    def _is_observed(self) -> bool:
        """Whether the end of a registration is waited for, or traced."""
        return bool(self._endings or self._watchers or self._closing.account)

    def forget_all(self, live: list[Registration[K, V]]) -> list[Registration[K, V]]:
        """Forget *live* ones, and all that have left and are not closed: their loop is gone. Return what was lost."""
        self.removals[SHUT] += len(live)
        lost = [*live, *self.retained]
        if self.crew is not None:
            lost += self.crew.leave_loop()
        for registration in lost:
            if registration._state is LIVE:
                registration._cause = SHUT
            registration._state = CLOSED
            if self._closing.account is not None:
                self._closing.account.leave(registration)
        self.closed += len(lost)
        self.retained.clear()
        self._endings.clear()
        return lost

    async def wait_closed(self, registration: Registration[K, V]) -> None:
        """Wait until a registration is closed; its finalizer, and who that waits for, do not wait for themselves."""
        if self.crew is not None:
            await let_be_seen()
            if registration._state is CLOSED or self.crew.ends(registration, closing_tasks()):
                return
        future = self._endings.get(registration)
        if future is None:
            future = self._endings[registration] = kernel.new_future()
        await kernel.wait(future)

    def _check_invariants(self) -> None:
        for registration in self.retained:
            assert registration._state is RETIRED, registration
            assert registration._leases > 0, registration
