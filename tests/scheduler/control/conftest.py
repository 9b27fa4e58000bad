"""What every test of the control server can call: a handler that sleeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lifecycle.scheduler import handler

from ..tools import unregister
from .clients import nap


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    handler("nap")(nap)
    yield
    unregister("nap")
