"""The limits of the store in memory, as `Store` has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .._ground.bridge import Bell
from .limit_record import LimitRecord
from .limits import Limit, LimitKey
from .memory_ready import ReadyJobs


class MemoryLimits:
    """The part of the store in memory that is about limits; it is not used alone."""

    _ready: ReadyJobs
    _bell: Bell

    async def limits(self) -> Sequence[LimitRecord]:
        return self._ready.records()

    async def put_limit(self, new: Limit) -> None:
        self._ready.put_limit(replace(new, paused=self._ready.limit(new.key).paused))
        self._bell.ring()

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        old = self._ready.limit(key)
        self._ready.put_limit(replace(old, paused=paused))
        self._bell.ring()
        return old.paused != paused
