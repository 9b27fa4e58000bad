"""The interpreter's own tests of ``asyncio.TaskGroup``, run on ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sized
from types import SimpleNamespace

from lifecycle import TaskGroup

from ..loops import LOOPS
from .standard import Exceptions, adopt, borrow, with_names

EXCEPTIONS: Exceptions = {
    "test_taskgroup_generator_exit_04": "GeneratorExit asks a block to end, as a cancellation does, and is no error",
}

if sys.version_info < (3, 13):
    CLOSED = "a coroutine that is refused is closed, as asyncio.TaskGroup does since 3.13, and cannot be awaited"
    EXCEPTIONS |= {
        "test_taskgroup_finished": CLOSED,
        "test_taskgroup_no_create_task_after_failure": CLOSED,
        "test_taskgroup_not_entered": CLOSED,
        "test_taskgroup_without_parent_task": CLOSED,
    }


class Group(TaskGroup):
    """Ours, with what the tests look for inside of asyncio's."""

    @property
    def _tasks(self) -> Sized:
        return range(self.statistics().running)


module = borrow("test.test_asyncio.test_taskgroups")
vars(module).update(asyncio=with_names(asyncio, TaskGroup=Group), taskgroups=SimpleNamespace(TaskGroup=Group))

if sys.version_info >= (3, 14):
    TestOnAsyncio = adopt(module.BaseTestTaskGroup, EXCEPTIONS)
    TestOnUvloop = adopt(module.BaseTestTaskGroup, EXCEPTIONS, loop_factory=staticmethod(LOOPS["uvloop"]))
    TestOnEager = adopt(module.BaseTestTaskGroup, EXCEPTIONS, loop_factory=staticmethod(LOOPS["eager"]))
else:  # before, the tests want the loop that unittest makes
    TestOnAsyncio = adopt(module.TestTaskGroup, EXCEPTIONS)
