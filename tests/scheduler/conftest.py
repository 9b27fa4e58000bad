"""Fixtures of the scheduler's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .tools import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory of its own."""
    cli = Cli(tmp_path)
    yield cli
    cli.close()
