"""Residence: the parts of a registry in the loop that they live in, and what becomes of them in the next one."""

from __future__ import annotations

from asyncio import Task
from typing import Any, Generic, cast

from .._ground import kernel
from .._ground.farewell import tell_at_end
from .._ground.foreign import in_words
from .._lender import CLOSED, Closing
from .creation import Creations
from .departures import Departures
from .keyed import first_in
from .leases import Leases, Lessor, VeryLease
from .looking import Looking
from .registrations import EXPLICIT, LIVE, SHUT, Registration, RegistrationLease
from .shelf import K, V
from .sweeper import Sweeper

#: How many values of a loop that is closed are named when they are dropped.
NAMED = 20

NOBODY: frozenset[Task[Any]] = frozenset()


class Residence(Looking[K, V], Generic[K, V]):
    """A shelf with all that works on it.

    Attributes:
        _ready: whether a put has nothing to look at but the value: the registry is open and in its loop, nothing is
            being made, no failure is kept.
        _told_end: whether its loop has said that it ends.
        _warned: whether it has been said that a key has changed.
    """

    __slots__ = ("_closing", "_creations", "_departures", "_leases", "_ready", "_sweeper", "_told_end", "_warned")

    _closing: Closing
    _creations: Creations[K, V]
    _departures: Departures[K, V]
    _leases: Leases[K, V]
    _sweeper: Sweeper[K, V]
    _ready: bool
    _told_end: bool
    _warned: bool

    def remove(self, registration: Registration[K, V]) -> bool:
        """Take the very value that *registration* stands for out; return whether it was there.

        It is finalized soon, or with its last lease.

        Raises:
            TypeError: *registration* is none; one of another registry is not there.
        """
        if not isinstance(registration, Registration):
            raise TypeError(f"registration must be what put() has returned, got {in_words(registration)}")
        if not self._is_there(registration):
            return False
        self._departures.retire(registration, EXPLICIT)
        return True

    def discard(self, key: K) -> bool:
        """Take the value under *key* out, whichever it is; return whether there was one, or one in the making.

        A creation in progress goes on for those who wait for it already, and its value is then taken out; who asks from
        now on gets a new one. So what has read an old state does not outlive the news that it is old.
        """
        registration = self._live.get(key)
        detached = False if self._ready else self._creations.supersede(key)
        if registration is None:
            return detached
        if self._timed and self._is_due(registration) and not self._is_kept(registration, self._clock()):
            self._departures.retire(registration, self._cause_of_time(registration))
            return detached
        self._departures.retire(registration, EXPLICIT)
        return True

    def _is_there(self, registration: Registration[K, V]) -> bool:
        """Whether a registration is live, also where its key does not lead to it any more."""
        try:
            if self._live.get(registration.key) is registration:
                return True
        except Exception:  # of its key, which is not needed
            pass
        if registration._state is not LIVE or registration._registry is not self:
            return False
        return not self._sweeper.has(registration)

    def _lease_of(self, registration: Registration[K, V]) -> RegistrationLease[K, V]:
        return VeryLease(cast("Lessor[K, V]", self), registration)

    async def _wait_closed(self, registration: Registration[K, V]) -> None:
        await self._departures.wait_closed(registration)

    def _come_home(self) -> None:
        """See that everything is of the running loop; what was of one that is closed is dropped."""
        if self._closing.home.loop is not kernel.running_loop():
            self._closing.come_home()
            self._arrive()

    def _arrive(self) -> None:
        """Begin with what was put in, and what has left, before there was a loop."""
        self._departures.resume()
        self._sweeper.wake_for_all()
        tell_at_end(self)

    def _loop_ends(self) -> None:
        """Let nobody find any more what is of a loop that is about to be closed."""
        self._ready = False
        self._told_end = True
        if self._departures.crew is not None:
            self._sweeper.set_all_aside(SHUT)
        else:
            live = first_in(self._live)
            self._start_anew()
            self._departures.forget_all(live)

    def _let_go(self) -> None:
        """End at once, as nobody can use it any more, and nothing in it needs an end."""
        self._loop_ends()
        self._sweeper.stop()
        self._closing.state = CLOSED
        self._closing.progress()

    def _has_belongings(self) -> bool:
        return bool(self._live or self._departures.retained or not self._is_quiet(NOBODY))

    def _leave_loop(self) -> list[str]:
        """Drop what was of a loop that is closed, as nothing of it can be ended any more; name what had an end."""
        lost = self._sweeper.leave_loop()
        if not self._told_end:  # otherwise what is live was put in since
            lost += first_in(self._live)
            self._start_anew()
        self._ready = self._told_end = False
        self._creations.leave_loop()
        self._leases.forget_all()
        lost = self._departures.forget_all(lost)
        if self._departures.crew is None:
            return []
        names = [in_words(registration.key) for registration in lost[:NAMED]]
        return names if len(lost) <= NAMED else [*names, f"and {len(lost) - NAMED} more"]

    def _report_lost(self, registration: Registration[K, V]) -> None:
        if not self._warned:
            self._warned = True
            key = registration.key
            about = {"owner": self._closing.owner_name, "key": in_words(key), "type": type(key).__qualname__}
            self._closing.logger.error("key has changed", extra=about)

    def _is_quiet(self, exempt: frozenset[Task[Any]]) -> bool:
        return not len(self._sweeper) and self._creations.chores.idle(exempt) and self._departures.is_idle(exempt)
