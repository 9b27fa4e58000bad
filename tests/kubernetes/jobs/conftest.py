"""Today's release in the double, as well as the real server's; and a server in memory for explorations."""

from __future__ import annotations

import pytest

from lifecycle.scheduler.kubernetes import _host

from ..double import TODAY, Manner
from .scripted import open_scripted


@pytest.fixture
def manner() -> Manner:
    """Today's release."""
    return TODAY


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hosts reach the scripted server of their loop in place of a cluster."""
    monkeypatch.setattr(_host, "open_client", open_scripted)
