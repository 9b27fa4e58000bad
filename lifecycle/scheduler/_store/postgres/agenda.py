"""The agenda: looks at the schedules that a scheduler knows how to run, and fires what is due."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import anyio

from ..._ground.bridge import Bell
from ..._ground.limits import LONGEST_WAIT
from ..._ground.values import to_json
from ..unreadable import Unreadable
from .connections import Connection
from .schedules import cron_said, firings_said, tell_of_skipped, unreadable_said
from .wishes import Wish

LOOK_INTERVAL: Final = 1.0
"""Seconds after which the schedules are looked at again: another process may have changed or triggered one."""

Reading = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]


class Agenda:
    """Fires what is due; every scheduler does, and the database lets each due time be run once.

    Args:
        reading: asks the database a question.
        ask: has a wish granted.
        names: returns which handlers and flows there are; none while nothing is to begin.
        now: returns the time by the clock of the database.
    """

    def __init__(
        self,
        reading: Reading,
        ask: Callable[[Wish], object],
        names: Callable[[], tuple[str, ...]],
        now: Callable[[], float],
    ) -> None:
        self._reading = reading
        self._ask = ask
        self._names = names
        self._now = now
        self._bell = Bell()
        self._looked_at = 0.0
        self._waiting = 0  # so many wishes have no answer yet
        self._clock_went_back = False
        self._unreadable = Unreadable()

    def touch(self) -> None:
        """Look at once: a schedule has changed, or its last run has ended."""
        self._looked_at = 0.0
        self._bell.ring()

    def hint(self) -> None:
        """Look, unless that was done a moment ago: something has changed."""
        if time.monotonic() - self._looked_at >= LOOK_INTERVAL:
            self._bell.ring()

    def note_clock_set_back(self) -> None:
        """Shorten the waits that are longer now than was asked for."""
        self._clock_went_back = True
        self.touch()

    async def run(self) -> None:
        """Look again and again.

        Cancellation: what is under way may be done or not.
        """
        pause = 0.0
        while True:
            if pause > 0:
                await self._bell.wait(min(pause, LONGEST_WAIT))
            if self._clock_went_back:
                self._clock_went_back = False
                await self._set_clock()
            names = self._names()
            pause = await self._look(names) if names else LONGEST_WAIT

    async def _look(self, names: tuple[str, ...]) -> float:
        """Fire what is due; return in how many seconds to look again."""
        self._looked_at, now = time.monotonic(), self._now()
        question = "SELECT lifecycle.look_at_schedules($1, $2, $3)"
        unreadable = to_json(unreadable_said(self._unreadable))
        look = json.loads(await self._reading(lambda db: db.fetchval(question, list(names), unreadable, now)))
        asked = firings_said(look, now, self._unreadable)
        titles = {row["id"]: row["name"] for row in look["found"]}
        await self._have_done([(said, titles[said["schedule"]]) for said in asked])
        if asked:
            return 0.0  # there may be more
        longest = LOOK_INTERVAL if look["any_known"] else LONGEST_WAIT
        return longest if look["next_due"] is None else max(0.01, min(longest, look["next_due"] - self._now()))

    async def _set_clock(self) -> None:
        await self._have_done([({"do": "shorten_waits"}, "")])
        rows = await self._reading(lambda db: db.fetchval("SELECT lifecycle.cron_schedules($1)", self._now()))
        moves = [cron_said(row, self._now()) for row in json.loads(rows)]
        await self._have_done([(said, "") for said in moves if said is not None])

    async def _have_done(self, wanted: list[tuple[dict[str, Any], str]]) -> None:
        """Have the database do something, and wait until it has."""
        done = anyio.Event()
        left = len(wanted)

        def note(name: str, answer: Any) -> None:
            nonlocal left
            left -= 1
            if name and isinstance(answer, dict):
                tell_of_skipped(name, answer)
            if not left:
                done.set()

        for said, name in wanted:
            text = to_json({**said, "now": self._now()})
            give = partial(note, name)
            self._ask(Wish("other", text, give, give, alone=True, patient=True))
        if wanted:
            await done.wait()
