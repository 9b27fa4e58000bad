"""Which kinds of store there are for a test, and one of each: in memory, in an SQLite file, in a PostgreSQL database.

A test that is about what every store does takes the fixture `address`; one that needs a store which outlives its
scheduler takes `durable`; `new_address` gives one of the kind that the test names. See `conftest.py`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from lifecycle.scheduler._store import choice
from lifecycle.scheduler._store.crashes import MAX_CRASHES
from lifecycle.scheduler._store.outside import OutsideStore
from lifecycle.scheduler._store.patience import LONGEST
from lifecycle.scheduler._store.postgres import address as postgres
from lifecycle.scheduler._store.postgres.store import PostgresStore
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.retention import Retention
from lifecycle.scheduler._store.sqlite.store import SqliteStore
from lifecycle.scheduler._store.sqlite.upkeep import SqliteUpkeep

from ..postgres import Postgres, ask
from .tools import in_a_thread

Address = Path | str
"""Of a store that lasts: a file, or a PostgreSQL database. There is none of a store in memory."""

NewAddress = Callable[[str], Address | None]
Fresh = Callable[[str], AbstractContextManager[Address | None]]

#: What is done there is done by the server, and is the same under each version of Python.
DURABLE = ("sqlite", pytest.param("postgres", marks=pytest.mark.slow))
STORES = ("memory", *DURABLE)
#: For the few tests that show that each version of Python comes to terms with the driver.
EVERYWHERE = ("memory", "sqlite", "postgres")

#: Jobs that do not wait for exactly what has not ended (and for their run to begin), or are not decided then.
WRONG_NEEDS = """
    SELECT jobs.id FROM jobs WHERE jobs.finished IS NULL AND (
        unmet <> (SELECT count(*) FROM needs JOIN jobs AS need ON need.id = needs.needed
                  WHERE needs.job = jobs.id AND need.finished IS NULL)
            + (SELECT count(*) FROM runs WHERE runs.id = jobs.run AND CAST(held AS integer) = 1)
        OR state = 'pending' AND unmet = 0 AND when_ IS NULL AND EXISTS (
            SELECT 1 FROM needs JOIN jobs AS need ON need.id = needs.needed WHERE needs.job = jobs.id
            AND NOT tolerant AND need.state IN ('failed', 'timed_out', 'cancelled')))"""
WRONG_RUNS = """
    SELECT id FROM runs WHERE (finished IS NULL) <> (unfinished > 0)
    OR unfinished <> (SELECT count(*) FROM jobs WHERE run = runs.id AND finished IS NULL)"""
#: Steps that run anyway and have begun, or ended, before what they need has: they come after it.
TOO_EARLY = """
    SELECT jobs.id FROM jobs JOIN needs ON needs.job = jobs.id JOIN jobs AS need ON need.id = needs.needed
    WHERE jobs.when_ IS NOT NULL
        AND (jobs.state = 'running' OR jobs.finished IS NOT NULL AND jobs.state <> 'cancelled')
        AND need.finished IS NULL"""


def more_often_in_a_file(values: Sequence[Any], others: int) -> list[Any]:
    """Return a kind of store and a value, for a test to be run on a file with all values, and elsewhere with some."""
    ours = [pytest.param("postgres", value, marks=pytest.mark.slow) for value in values[:others]]
    return [*(("sqlite", value) for value in values), *ours]


def store_at(address: Address | None, **settings: Any) -> Store:
    """Return a store that is not open yet.

    Args:
        address: where it is; in memory for None.
        settings: of it, instead of the usual ones.
    """
    usual = {"name": "scheduler", "retention": Retention(), "patience": LONGEST, "max_crashes": MAX_CRASHES}
    return choice.make_store(address, **{**usual, **settings})


def outside_of(address: Address) -> OutsideStore:
    """Return a store as the command line sees it; each of its methods blocks, also inside of a loop that runs."""
    return cast(OutsideStore, Elsewhere(address)) if isinstance(address, str) else choice.open_outside(address)


class Elsewhere:
    """Looks at a database from outside, each time in a thread and with a connection of its own: that runs a loop."""

    def __init__(self, address: str) -> None:
        self._address = postgres.Address.parse(address)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(in_a_thread, self._ask, name)

    def _ask(self, name: str, *args: Any, **more: Any) -> Any:
        with closing(choice.open_outside(self._address)) as store:
            return getattr(store, name)(*args, **more)


def rows_at(address: Address, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on the tables of a store, behind its back, and return the rows of the last.

    Args:
        address: where the store is.
        statements: SQL that both databases understand, with everything written out.
    """
    if isinstance(address, str):
        return ask(address, "SET search_path TO lifecycle", *statements)
    with closing(sqlite3.connect(address, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def rename_handler(address: Address, job: int, old: str, new: str) -> None:
    """Let a job be of another handler, as if that had been renamed since."""
    more = f", doer = '{new}', handler = '{new}'" if isinstance(address, str) else ""
    rows_at(address, f"UPDATE jobs SET payload = replace(payload, '{old}', '{new}'){more} WHERE id = {job}")


async def let_die(store: Store, address: Address) -> None:
    """End a store as a kill does: it tells nobody, and the others know it as soon as they would."""
    if isinstance(store, PostgresStore):
        session, store._session = store._session, None
        assert session is not None
        number = session.owner.known
        await session._thread.aclose()
        # What a living one does when its lease is over.
        rows_at(address, f"DO $$ BEGIN PERFORM have_gate_alone(); PERFORM retire({number}, true, clock()); END $$")
    else:
        assert isinstance(store, SqliteStore)
        assert store._lock is not None
        store._lock.close()


def check(address: Address) -> None:
    """Check that what is kept of jobs and runs fits together: what is counted, and what waits for what."""
    if not isinstance(address, str):
        assert SqliteUpkeep(address).check() == ()
    assert rows_at(address, WRONG_NEEDS) == []
    assert rows_at(address, WRONG_RUNS) == []
    assert rows_at(address, TOO_EARLY) == []


@contextlib.contextmanager
def fresh_address(kind: str, directory: Path, server: Callable[[], Postgres]) -> Iterator[Address | None]:
    """Give the address of a new store of a kind, which is nowhere afterwards.

    Args:
        kind: one of those in `STORES`.
        directory: where a file is to be.
        server: what gives one, where one is needed.
    """
    if kind == "postgres":
        with server().emptied_database() as url:
            yield url
    else:
        yield directory / "jobs.sqlite" if kind == "sqlite" else None
