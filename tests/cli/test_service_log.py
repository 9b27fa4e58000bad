"""The log of ``lifecycle serve``, and what still works while it drains: in real processes, on a real file."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from lifecycle.cli import cli
from lifecycle.cli._owned import Owned
from lifecycle.cli.show._log import LogDisplay
from lifecycle.cli.show._logging import COMMANDS, JsonLines, PlainLines, logging_to_stderr
from lifecycle.scheduler import Event, JobLogFilter

from ..docs.test_log_reference import logged
from ..scheduler.tools import Cli, lines_in, wait_until
from .service import serving


@pytest.mark.slow
def test_while_it_drains_jobs_are_alive_and_logged_and_can_be_cancelled(tmp_path: Path) -> None:
    """SIGTERM: nothing new begins; until the last job is out, others see it alive, the log goes on, and jobs are
    cancelled from another process and by a client of the control server."""
    command_line = Cli(tmp_path)
    with serving(tmp_path, "--drain-timeout", "600") as service:
        with redis.Redis(port=service.port, protocol=3, decode_responses=True) as client:
            one, two, three = (
                client.execute_command("LC.ENQUEUE", "log.tick", "ARGS", json.dumps([name, until]), "NAME", name)["job"]
                for name, until in (("one", ""), ("two", ""), ("three", "stop"))
            )
            for name in ("one", "two", "three"):
                service.logged(f"{name} ticks 1")
            service.process.send_signal(signal.SIGTERM)
            service.logged("draining: waiting for 3 jobs")
            with pytest.raises(redis.ResponseError, match="closing"):
                client.execute_command("LC.ENQUEUE", "log.tick", "ARGS", '["late"]')

            # Alive: a job of a process that had given up, or died, would be shown as interrupted.
            assert command_line.jobs(tmp_path / "jobs.db")["one"]["status"] == "running"
            ticks = len(service.messages("one ticks"))
            wait_until(lambda: len(service.messages("one ticks")) > ticks + 2)

            ended = command_line.call("jobs", "cancel", str(one), "--db", "jobs.db", "--reason", "from outside")
            assert ended.returncode == 0, ended.stderr
            service.logged("one: cancelled")
            assert client.execute_command("LC.CANCEL", str(two), "by a client") == 1
            service.logged("two: cancelled")
            assert client.execute_command("LC.STATUS", str(two))["status"] == "cancelled"
            assert client.execute_command("LC.STATUS", str(three))["status"] == "running"
        ticks = len(service.messages("three ticks"))
        wait_until(lambda: len(service.messages("three ticks")) > ticks + 2)
        (tmp_path / "stop").touch()
        assert service.ended() == 0
    last = [record["message"] for record in service.log[-2:]]
    assert last[0].startswith("three: succeeded")
    assert last[1] == "still owned: nothing"
    jobs = command_line.jobs(tmp_path / "jobs.db")
    assert {name: job["status"] for name, job in jobs.items()} == {
        "one": "cancelled", "two": "cancelled", "three": "succeeded",
    }  # fmt: skip
    assert jobs["one"]["error"] == "from outside"
    assert not lines_in(tmp_path / "late")
    finished = next(record for record in service.log if record["message"].startswith("three: succeeded"))
    assert finished["job_id"] == three
    assert (finished["attempt"], finished["event"], finished["level"]) == (1, "job_finished", "info")


@pytest.mark.slow
def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """What runs is stopped and interrupted, and goes on at the next start."""
    with serving(tmp_path, "--drain-timeout", "600") as service:
        with redis.Redis(port=service.port, protocol=3) as client:
            client.execute_command("LC.ENQUEUE", "log.tick", "ARGS", '["one", "stop"]', "NAME", "one")
        service.logged("one ticks 1")
        service.process.send_signal(signal.SIGTERM)
        service.logged("draining")
        service.process.send_signal(signal.SIGTERM)
        assert service.ended() == 0
    assert service.messages("one: interrupted")
    assert Cli(tmp_path).jobs(tmp_path / "jobs.db")["one"]["status"] == "interrupted"
    with serving(tmp_path) as service:
        service.logged("one: started (attempt 2)")
        (tmp_path / "stop").touch()
        service.logged("one: succeeded")


def record(message: str = "a %s", *args: object, **extra: Any) -> logging.LogRecord:
    """Return a record, as a logger makes it."""
    return logging.getLogger("some.where").makeRecord(
        "some.where",
        logging.WARNING,
        __file__,
        1,
        message,
        args or ("message",),
        extra.pop("exc_info", None),
        extra=extra,
    )


def raised() -> Any:
    """Return what ``exc_info`` is for an error that was raised."""
    try:
        raise ValueError("not\nright")
    except ValueError:
        return sys.exc_info()


def test_a_line_for_people() -> None:
    """Time, level, logger, message, and the fields that are not in the message; errors with their place."""
    told = {"event": "job_finished", "job": "a", "status": "failed", "seconds": 1, "error": "bad", "flow": None}
    line = PlainLines().format(record(job_id=17, run=3, attempt=1, **told))
    assert re.fullmatch(
        r"[-\d]{10} [:.\d]{12}[+-]\d\d:\d\d WARNING some.where: a message \[job_id=17 run=3 attempt=1\]",
        line,
    )
    line = PlainLines().format(record(owner="control server", client="1.2.3.4:5", reason="ABORT"))
    assert line.endswith(" a message [owner=control server client=1.2.3.4:5 reason=ABORT]")
    line = PlainLines().format(record("two\nlines \x1b[31m%s", "red", exc_info=raised()))
    assert r": two\nlines \x1b[31mred: ValueError: not\nright (" in line
    assert line.isprintable()
    assert line.endswith("in raised)")


def test_a_line_that_is_of_no_event_keeps_its_fields() -> None:
    """Its message is constant, and has none of them; the filter of jobs, which completes every record, is no event."""
    one = record(host="cluster 'gpu'", error="it is gone", seconds=3)
    JobLogFilter().filter(one)
    assert PlainLines().format(one).endswith(" a message [host=cluster 'gpu' error=it is gone seconds=3]")


def test_a_line_for_machines() -> None:
    """One object; extra fields beside the others, never instead of them; the traceback as a text."""
    line = JsonLines().format(record(job="x", run=None, level="mine", other={1}, exc_info=raised()))
    assert "\n" not in line
    table = json.loads(line)
    assert list(table)[:4] == ["time", "level", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", table["time"])
    assert (table["level"], table["logger"], table["message"]) == ("warning", "some.where", "a message")
    assert (table["job"], table["other"]) == ("x", "{1}")
    assert "run" not in table
    assert table["exception"].startswith("Traceback")


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (Event("job_started", 1, "j", attempt=1), "INFO"),
        (Event("job_log", 1, "j", data={"message": "m"}), "INFO"),
        (Event("job_retrying", 1, "j", 2, 1, {"error": "e", "delay": 0.1}), "WARNING"),
        (Event("job_finished", 1, "j", data={"status": "failed", "seconds": 1.0, "error": "e"}), "ERROR"),
        (Event("job_finished", 1, "j", data={"status": "timed_out", "seconds": 1.0, "error": "e"}), "ERROR"),
        (Event("job_finished", 1, "j", data={"status": "interrupted", "seconds": 1.0}), "WARNING"),
        (Event("job_finished", 1, "j", data={"status": "succeeded", "seconds": 1.0}), "INFO"),
        (Event("run_finished", None, None, 2, data={"flow": "f", "status": "failed", "jobs": {}}), "ERROR"),
        (Event("run_finished", None, None, 2, data={"flow": "f", "status": "timed_out", "jobs": {}}), "ERROR"),
        (Event("job_progress", 1, "j", data={"done": 1, "total": 2}), None),
        (Event("loop_blocked", data={"task": "t", "place": "p", "seconds": 2.0}), None),
    ],
)
def test_each_event_has_its_level(event: Event, level: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """What went wrong stands out; what is logged elsewhere, or not worth a line, is not logged."""
    caplog.set_level(logging.DEBUG)
    LogDisplay().event(event)
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_what_is_still_owned_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is what is expected."""
    caplog.set_level(logging.INFO)
    LogDisplay().owned(Owned((), (), (), ()))
    LogDisplay().owned(Owned(("task",), (), (), ()))
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]


def test_the_level_counts_and_addresses_of_requests_are_never_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """At whatever level: there may be secrets in them. Afterwards all is as it was."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("httpx").level)
    with logging_to_stderr("debug", as_json=False):
        logging.getLogger("httpx").info("GET http://host/secret")
        logging.getLogger("httpcore.http11").debug("Authorization: secret")
        logging.getLogger("some").debug("told")
    with logging_to_stderr("error", as_json=True):
        logging.getLogger("some").warning("not told")
    assert capsys.readouterr().err.splitlines()[0].endswith("DEBUG   some: told")
    assert (list(root.handlers), root.level, logging.getLogger("httpx").level) == before


def test_a_run_of_another_version_is_logged_with_the_command_that_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library says what can be done, the command line which command does it; other records are left alone."""
    with logging_to_stderr("info", as_json=True, db=f" --db {tmp_path / 'jobs.db'}"):
        event = "unfinished run of another version of the flow left alone"
        logging.getLogger("lifecycle.scheduler").warning(event, extra={"run": 7})
        logging.getLogger("lifecycle.scheduler").warning(["not", "a", "string"])
    ours, other = map(json.loads, capsys.readouterr().err.splitlines())
    assert ours["command"] == f"lifecycle jobs cancel --run 7 --db {tmp_path / 'jobs.db'}"
    assert "command" not in other
    assert set(COMMANDS) <= {event for event, _ in logged()}


def test_bad_input_is_one_line_as_ever(tmp_path: Path) -> None:
    """Nothing has begun, so there is no log."""
    result = CliRunner().invoke(cli, ["serve", str(tmp_path / "missing.toml"), "--log-json"])
    assert result.exit_code == 2
    assert result.stderr.startswith("missing.toml: cannot be read")
    assert CliRunner().invoke(cli, ["serve", "--log-level", "loud"]).exit_code == 2
