"""The interpreter's own tests of ``asyncio.timeout``, run on a ``TaskGroup`` with a timeout."""

from __future__ import annotations

import asyncio
from typing import Any

from lifecycle import TaskGroup

from .standard import Exceptions, adopt, borrow, with_names

GROUPED = "an error of the body comes in a group, as asyncio.TaskGroup has it, and beside it the timeout"
FIXED = "the time of a group is given once: there is no reschedule()"
OTHER_REPR = "a group says of itself what a group has to say"

EXCEPTIONS: Exceptions = {
    "test_foreign_exception_on_timeout": GROUPED,
    "test_foreign_exception_on_timeout_2": GROUPED,
    "test_foreign_exception_passed": GROUPED,
    "test_timeout_taskgroup": GROUPED,
    "test_nested_timeouts": "of two that are over at once the outer one tells, and only that one",
    "test_timeout_in_the_past_sleep_zero": "a negative number of seconds is a mistake, and refused",
    "test_reschedule": FIXED,
    "test_timeout_expired": FIXED,
    "test_timeout_expiring": FIXED,
    "test_timeout_finished": FIXED,
    "test_timeout_not_entered": FIXED,
    "test_timeout_without_task": FIXED,
    "test_repr_active": OTHER_REPR,
    "test_repr_disabled": OTHER_REPR,
    "test_repr_expired": OTHER_REPR,
    "test_repr_finished": OTHER_REPR,
}


class Timeout:
    """A group without tasks, with what else the tests ask of a timeout."""

    def __init__(self, seconds: float | None, when: float | None = None) -> None:
        self._group = TaskGroup(timeout=seconds)
        if when is None and seconds is not None:
            when = asyncio.get_running_loop().time() + seconds
        self._when = when
        self._expired = False

    @classmethod
    def at(cls, when: float | None) -> Timeout:
        """Return one that is over at a time of the loop."""
        return cls(None if when is None else when - asyncio.get_running_loop().time(), when)

    async def __aenter__(self) -> Timeout:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> bool:
        try:
            return await self._group.__aexit__(*details)
        except TimeoutError:
            self._expired = True
            raise

    def expired(self) -> bool:
        return self._expired

    def when(self) -> float | None:
        return self._when


module = borrow("test.test_asyncio.test_timeouts")
vars(module).update(asyncio=with_names(asyncio, TaskGroup=TaskGroup, timeout=Timeout, timeout_at=Timeout.at))
TestTimeout = adopt(module.TimeoutTests, EXCEPTIONS)
