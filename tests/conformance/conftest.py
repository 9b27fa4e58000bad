"""What every program here runs with."""

import asyncio
import sys
from typing import Any

import pytest

from lifecycle import TaskGroup

from .loops import run

__all__ = ["group_class", "run"]

GROUPS = [TaskGroup, asyncio.TaskGroup] if sys.version_info >= (3, 13) else [TaskGroup]


@pytest.fixture(params=GROUPS, ids=lambda group: group.__module__.partition(".")[0])
def group_class(request: pytest.FixtureRequest) -> Any:
    """The class under test."""
    return request.param
