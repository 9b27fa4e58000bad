"""Fixtures of the scheduler's tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .stores import DURABLE, STORES, Address, Fresh, NewAddress, fresh_address
from .tools import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory of its own."""
    cli = Cli(tmp_path)
    yield cli
    cli.close()


@pytest.fixture
def new_address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewAddress]:
    """Give the address of a new store of the kind that is asked for, None of one in memory."""
    server = partial(request.getfixturevalue, "postgres")
    with contextlib.ExitStack() as stack:
        yield lambda kind: stack.enter_context(fresh_address(kind, tmp_path, server))


@pytest.fixture(scope="session")
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Lend the address of a new store of the kind that is asked for, for tests that use many, one after the other."""
    server = partial(request.getfixturevalue, "postgres")
    return lambda kind: fresh_address(kind, tmp_path_factory.mktemp("store"), server)


@pytest.fixture(params=STORES)
def address(request: pytest.FixtureRequest, new_address: NewAddress) -> Address | None:
    """The address of a new store of each kind, None of that in memory."""
    return new_address(request.param)


@pytest.fixture(params=DURABLE)
def durable(request: pytest.FixtureRequest, new_address: NewAddress) -> Address:
    """The address of a new store of each kind that outlives its scheduler."""
    address = new_address(request.param)
    assert address is not None
    return address
