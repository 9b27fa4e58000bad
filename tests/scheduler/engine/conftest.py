"""The fixtures of the engine's tests: schedulers on one store of each kind, and a clean note."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lifecycle.scheduler import Scheduler

from ..stores import Address
from .handlers import Make, calls


@pytest_asyncio.fixture
async def make(address: Address | None, tmp_path: Path) -> AsyncIterator[Make]:
    """Make schedulers on one store of each kind; afterwards no task, no thread and no file of theirs is left."""
    threads = set(threading.enumerate())
    yield functools.partial(Scheduler, address)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    ours = [thread.name for thread in set(threading.enumerate()) - threads if "AnyIO" not in thread.name]
    assert ours == []
    assert list(tmp_path.glob("*owner*")) == []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    """Begin every test with an empty note."""
    calls.clear()
