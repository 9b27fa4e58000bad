"""Random faults of the database under a thread's operations: each is answered once, and done as it was answered."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import StoreBusy, StoreError
from lifecycle.scheduler._store import patience
from lifecycle.scheduler._store.sqlite import thread
from lifecycle.scheduler._store.sqlite.thread import SqliteThread

Kind = Literal["fine", "wrong", "gone"]

FAULTS = {"busy": sqlite3.SQLITE_BUSY, "full": sqlite3.SQLITE_FULL, "broken": sqlite3.SQLITE_IOERR_FSYNC}


class Flaky(sqlite3.Connection):
    """A connection that fails as it is told to, statement by statement, where a transaction begins and ends."""

    script: Sequence[str | None] = ()

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
        """Fail, or do it."""
        if sql.startswith(("BEGIN", "COMMIT")) and self.script:
            fault, self.script = self.script[0], self.script[1:]
            if fault is not None:
                error: Any = sqlite3.OperationalError(fault)
                error.sqlite_errorcode = FAULTS[fault]
                raise error
        return super().execute(sql, *args)


async def run(kinds: Sequence[tuple[Kind, bool]], script: Sequence[str | None], longest: float) -> tuple[Any, Any]:
    """Have operations carried out under faults; return their answers, and what is in the database afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.sqlite")

        def connect() -> sqlite3.Connection:
            db = sqlite3.connect(path, factory=Flaky, isolation_level=None, check_same_thread=False)
            db.execute("CREATE TABLE done (number INTEGER)")
            db.script = script
            return db

        def insert(db: sqlite3.Connection, number: int, kind: Kind) -> int:
            db.execute("INSERT INTO done VALUES (?)", (number,))
            if kind == "wrong":
                raise ValueError(number)
            return number

        async def ask(number: int, kind: Kind, patient: bool) -> int:
            return await one.run(lambda db: insert(db, number, kind), patient=patient)

        one = SqliteThread(connect, "BEGIN IMMEDIATE", "test", patience=longest)
        await one.open()
        asked = [asyncio.ensure_future(ask(number, *what)) for number, what in enumerate(kinds)]
        await asyncio.sleep(0)
        for number, (kind, _) in enumerate(kinds):
            if kind == "gone":
                asked[number].cancel()
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)
        await one.aclose()
        with closing(sqlite3.connect(path)) as db:
            return answers, [number for (number,) in db.execute("SELECT number FROM done ORDER BY rowid")]


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.tuples(st.sampled_from(["fine", "fine", "wrong", "gone"]), st.booleans()), max_size=8),
    script=st.lists(st.sampled_from([None, None, "busy", "full", "broken"]), max_size=12),
    endless=st.booleans(),
)
def test_each_operation_is_answered_once_and_done_as_it_was_answered(
    kinds: list[tuple[Kind, bool]], script: list[str | None], endless: bool
) -> None:
    """What is acknowledged is there, once and in order; what is refused is not; the end is one error for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread, "PAUSE", 0.001)
        patch.setattr(patience, "LOCK_TIMEOUT", 0.002)
        patch.setattr(patience, "AT_THE_END", 0.01)
        answers, done = asyncio.run(run(kinds, script, 60.0 if endless else 0.004))
    assert len(set(done)) == len(done), "nothing is done twice"
    assert done == sorted(done), "what came first is done first"
    ends = {id(answer) for answer in answers if type(answer) is StoreError}
    assert len(ends) <= 1, "one failure, one object"
    for number, ((kind, patient), answer) in enumerate(zip(kinds, answers, strict=True)):
        if isinstance(answer, asyncio.CancelledError):
            assert kind == "gone"
            continue
        assert (number in done) == (answer == number), (number, answer)
        if isinstance(answer, StoreBusy):
            assert not patient
        elif isinstance(answer, ValueError):
            assert kind == "wrong"
    if endless and "broken" not in script:
        assert not ends, "it had patience"
