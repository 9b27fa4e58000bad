"""Chores: what a store on PostgreSQL does by itself, beside what it is asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from ..._ground.limits import LONGEST_WAIT
from ..._ground.values import to_json
from ..retention import Retention
from .wishes import Wish

if TYPE_CHECKING:
    from .agenda import Agenda
    from .turns import Looks, Turns

logger = logging.getLogger("lifecycle.scheduler")

SWEEP_PAUSE: Final = 0.05
"""Seconds from one look at old jobs to the next, while there is more to look at."""

SWEEP_REST: Final = 5.0
"""Seconds before everything is looked at again."""


class Chores:
    """Says what is to be done: taking over, burying, letting expire, deleting; used in the thread of the database.

    Args:
        retention: how long what has ended is kept.
        max_crashes: crashes of its process after which a job has failed; None for never.

    Attributes:
        adopts: whether what others leave is taken over.
        bury: whether another scheduler has not been heard of for too long.
    """

    def __init__(self, retention: Retention, max_crashes: int | None) -> None:
        self.adopts = False
        self.bury = False
        self._retention = retention
        self._max_crashes = max_crashes
        self._turns: Turns | None = None
        self._agenda: Agenda | None = None
        self._now: Callable[[], float] = time.time
        self._known: tuple[str, ...] | None = None
        self._expired_at = 0.0
        self._adopting = False
        self._survived: list[int] = []
        self._sweep_from = 0
        self._next_sweep = 0.0
        self._sweeping = False

    def attach(self, turns: Turns, agenda: Agenda, now: Callable[[], float]) -> None:
        """Have the wishes granted by these turns, and the schedules looked at by this agenda."""
        self._turns = turns
        self._agenda = agenda
        self._now = now

    def begin_anew(self, lost: list[int]) -> None:
        """Say again what is known: we have another number. And that these jobs have not crashed."""
        self._known = None
        self._survived += lost

    def wanted(self, looks: Looks, names: Collection[str]) -> tuple[list[Wish], float]:
        """Return what is to be done now, and in how many seconds to ask again.

        Args:
            looks: what the last claim has said.
            names: what we know.
        """
        wishes: list[Wish] = []
        now, wait = self._now(), LONGEST_WAIT
        known = tuple(names)
        if known != self._known:
            self._known = known
            if self._agenda is not None:
                self._agenda.touch()
            wishes.append(self._wish({"do": "learn", "names": known}, lambda _: self._turns_now().look()))
        if self._survived:
            wishes.append(self._wish({"do": "survived", "ids": self._survived}, lambda _: None, alone=True))
            self._survived = []
        if self.bury:
            self.bury = False
            wishes.append(self._wish({"do": "bury"}, self._note_buried, alone=True))
        if looks.adopt and self.adopts and not self._adopting:
            self._adopting = True
            said = {"do": "adopt", "names": known, "max_crashes": self._max_crashes}
            wishes.append(self._wish(said, self._note_adopted, alone=True))
        if looks.expires is not None:
            if looks.expires <= now and looks.expires != self._expired_at:
                self._expired_at = looks.expires
                wishes.append(self._wish({"do": "expire"}, self._note_expired, alone=True))
            wait = min(wait, max(0.01, looks.expires - now))
        if (sweep := self._sweep(now)) is not None:
            wishes.append(sweep)
        wait = min(wait, max(0.0, self._next_sweep - now)) if self._sweep_from else wait
        return wishes, wait

    def _sweep(self, now: float) -> Wish | None:
        keep_for, keep_jobs = self._retention.keep_for, self._retention.keep_jobs
        if self._sweeping or (keep_for is None and keep_jobs is None) or 0 < self._next_sweep - now <= SWEEP_REST:
            return None
        self._sweeping = True
        said = {"do": "sweep", "last": self._sweep_from, "keep_for": keep_for, "keep_jobs": keep_jobs}
        return self._wish(said, self._note_swept)

    def _note_swept(self, answer: dict[str, int]) -> None:
        self._sweeping = False
        self._sweep_from = answer["last"]
        self._next_sweep = self._now() + (SWEEP_PAUSE if self._sweep_from else SWEEP_REST)

    def _note_adopted(self, jobs: int) -> None:
        self._adopting = False
        self._turns_now().look()

    def _note_expired(self, jobs: int) -> None:
        self._expired_at = 0.0
        if jobs:
            self._turns_now().answer_nothing()

    def _note_buried(self, owners: int) -> None:
        if owners:
            logger.info("schedulers that were not heard of are taken for dead", extra={"schedulers": owners})
        self._turns_now().look()

    def _turns_now(self) -> Turns:
        assert self._turns is not None
        return self._turns

    def _wish(self, said: dict[str, Any], give: Callable[[Any], object], *, alone: bool = False) -> Wish:
        return Wish("other", to_json({**said, "now": self._now()}), give, self._note_failure, alone, patient=True)

    def _note_failure(self, error: BaseException) -> None:
        self._sweeping = self._adopting = False
        logger.warning("a chore of the store was refused", extra={"reason": str(error)})
