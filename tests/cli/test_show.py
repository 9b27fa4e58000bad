"""What people see: the live display, words, tables."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lifecycle.cli._owned import Owned
from lifecycle.cli.show._lines import aligned
from lifecycle.cli.show._live import LiveDisplay
from lifecycle.scheduler import Event, JobRecord, JobStatus, RunOutcome, ScheduleRecord
from lifecycle.scheduler._words import ROWS, duration, overlap_of, rows_of


def record(number: int, status: str = "succeeded", attempts: int = 1, name: str = "job") -> JobRecord:
    """Return a job as a store has it."""
    return JobRecord(
        id=number, run_id=1, flow="f", name=f"{name}{number}", kind="call", status=JobStatus(status), priority=0,
        attempts=attempts, failures=0, retries=0, seconds=number / 10, created=0.0, started=0.0, finished=0.0, due=None,
        error=None if status == "succeeded" else "why [bold]not[/bold]",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"), (9.99, "9.99 s"), (9.996, "10.0 s"),
     (99.96, "1 min 40 s"), (3_599.6, "1 h 00 min"), (90_000, "25 h 00 min")],
)  # fmt: skip
def test_durations_read_well(seconds: float | None, text: str) -> None:
    """No 60 seconds, no 1000 ms."""
    assert duration(seconds) == text


def test_a_long_table_shows_what_matters() -> None:
    """What failed or was tried again, and what took longest; the rest is counted."""
    jobs = [record(number) for number in range(200)]
    jobs[3] = record(3, "failed")
    jobs[5] = record(5, attempts=3)
    jobs[7] = record(7, "pending", attempts=0)
    shown, rest = rows_of(RunOutcome("f", 1, JobStatus.FAILED, tuple(jobs)))
    assert {job.id for job in shown} == {3, 5, *range(190, 200)}
    assert rest == "... and 187 succeeded, 1 pending more"
    assert len(rows_of(RunOutcome("f", 1, JobStatus.FAILED, (*[record(n, "failed") for n in range(999)],)))[0]) <= ROWS


def test_columns_are_aligned() -> None:
    """Whatever is in them."""
    assert aligned(("a", "b"), [("xxx", "1"), ("y", "22")], right=(1,)) == ["a     b", "xxx   1", "y    22"]


def test_the_live_display_keeps_failures_and_ends_with_the_table() -> None:
    """Names and messages are shown as they are, not as markup; the bars are gone at the end."""
    output = io.StringIO()
    display = LiveDisplay(Console(file=output, force_terminal=True, width=120, color_system=None))
    told: list[tuple[str, int | None, dict[str, object]]] = [
        ("run_started", None, {"flow": "[red]f", "jobs": 3, "unfinished": 2, "resumed": True}),
        ("job_started", 1, {}),
        ("job_progress", 1, {"done": 1, "total": 2}),
        ("job_log", 1, {"message": "a [bold]line"}),
        ("job_retrying", 1, {"error": "E[0]", "delay": 0.1}),
        ("job_started", 1, {}),
        ("job_finished", 1, {"status": "failed", "seconds": 1.0, "error": "broken"}),
        ("job_finished", 2, {"status": "cancelled", "seconds": 0.0, "error": "needs 'x', which failed"}),
        ("draining", None, {"running": ["a"], "count": 1}),
        ("run_finished", None, {"flow": "f", "status": "failed", "jobs": {}}),
    ]
    with display:
        for number, (kind, job_id, data) in enumerate(told):
            display.event(Event(kind, job_id, "job[x]", 1, number, data))
        assert display._bars == {}
    display.outcome(RunOutcome("f", 1, JobStatus.FAILED, (record(1, "failed", name="job[x]"), record(2))), 1.5)
    display.owned(Owned(("task",), (), (3,), ()))
    text = output.getvalue()
    for part in (
        "run 1 resumed, 2 of 3 jobs left", "job[x]: a [bold]line", "E[0]", "job[x]: failed in 1.00 s: broken",
        "job[x]1", "why [bold]not[/bold]", "f: run 1 failed in 1.50 s (2 jobs: 1 succeeded, 1 failed)",
        "still owned: 1 task (task), 1 child process (3)", "draining: waiting for 1 job (a)",
    ):  # fmt: skip
        assert part in text


def test_on_a_terminal_the_run_is_shown_live(tmp_path: Path) -> None:
    """In a real terminal: bars while it lasts, the cursor back and the table at the end."""
    (tmp_path / "f.toml").write_text("[blocks.one]\nforeach = [1,2,3]\nwidth = 1\neach = { sleep = 0.2 }\n")
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lifecycle", "run", "f.toml"], cwd=tmp_path, stdin=terminal, stdout=terminal,
        stderr=terminal, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(main, 65_536):
            output += chunk
    except OSError:  # Linux: the last writer has gone
        pass
    finally:
        os.close(main)
    assert process.wait(30) == 0
    text = output.decode()
    assert "1/3" in text
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2], "the cursor is shown again"
    assert text.rstrip().splitlines()[-1].find("still owned: nothing") >= 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "-"),
        ({"max_instances": 1}, "1 at once, else skip"),
        ({"max_instances": 2, "overlap": "cancel_running"}, "2 at once, else cancel running"),
        ({"max_instances": 1, "skipped_runs": 1_200}, "1 at once, else skip, 1,200 skipped"),
        ({"max_instances": 1, "overlap": "queue", "waiting": 5.0}, "1 at once, else queue, one waits"),
    ],
)
def test_the_overlap_of_a_schedule_in_words(settings: dict[str, Any], said: str) -> None:
    """What becomes of a run that is due too early, and how often that was."""
    record = ScheduleRecord("s", "fixed_rate", "5", None, "drop", None, False, 1.0, None, None, 0, 0, **settings)
    assert overlap_of(record) == said


def test_columns_are_aligned_by_the_cells_of_a_terminal() -> None:
    """A wide character takes two of them, and a mark on another none."""
    lines = aligned(("job", "x"), [("日本", "1"), ("e\u0301e\u0301", "2"), ("plain", "3")])
    assert lines == ["job    x", "日本   1", "e\u0301e\u0301     2", "plain  3"]
