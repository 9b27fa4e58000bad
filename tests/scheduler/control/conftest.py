"""What every test of the control server can call: a handler that sleeps."""

from __future__ import annotations

import pytest

from lifecycle.scheduler._work.handlers import make_handler, registered_handlers

from .clients import nap


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    table = registered_handlers()
    monkeypatch.setattr(table, "_handlers", {**table._handlers, "nap": make_handler(nap, "nap")})
