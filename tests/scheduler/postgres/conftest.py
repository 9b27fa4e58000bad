"""Fixtures of the tests of the store in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ...postgres import Postgres
from .calls import Functions


@pytest.fixture(scope="module")
def functions(postgres: Postgres) -> Iterator[Functions]:
    """The functions in a database of their own."""
    with postgres.database() as address, closing(Functions(address)) as functions:
        yield functions
