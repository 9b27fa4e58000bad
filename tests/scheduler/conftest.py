"""Fixtures of the scheduler's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tools import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, in real processes."""
    return Cli(tmp_path)
