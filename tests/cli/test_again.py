"""Again by hand and waiting from another process: ``lifecycle jobs retry|wait`` and ``lifecycle runs ...``."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lifecycle.cli._log import Seen
from lifecycle.scheduler import JobRecord, JobStatus

from ..scheduler.tools import Cli, end_of, wait_until
from .service import serving

OF_A_RUN = ("retry", "wait", "show", "cancel")

FLOW = """
[blocks.a]
shell = "test -e mended"
[blocks.b]
needs = ["a"]
shell = "echo b"
[blocks.c]
sleep = 0
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, beside a database with a run that has failed."""
    cli = Cli(tmp_path)
    cli.write("flow.toml", FLOW)
    assert cli.call("run", "flow.toml", "--db", "jobs.db").returncode == 1
    yield cli
    cli.close()


def test_a_run_that_failed_goes_on_with_lifecycle_run(cli: Cli) -> None:
    """It is unfinished again, so that the same command resumes it; what has succeeded is kept."""
    listed = cli.call("runs", "list", "--db", "jobs.db").stdout.splitlines()
    assert [part.strip() for part in listed[0].split("  ") if part.strip()] == [
        "run", "flow", "state", "begun", "finished", "jobs",
    ]  # fmt: skip
    assert listed[1].endswith("1 succeeded, 1 failed, 1 cancelled")
    retried = cli.call("runs", "retry", "1", "--db", "jobs.db")
    assert retried.returncode == 0
    assert retried.stdout == (
        "run 1: 2 jobs tried again; it waits for a scheduler that serves its flow 'flow'; none lives\n"
    )
    [run] = map(json.loads, cli.call("runs", "list", "--db", "jobs.db", "--json").stdout.splitlines())
    assert (run["status"], run["jobs"], run["finished"]) == ("interrupted", {"pending": 2, "succeeded": 1}, None)
    assert cli.call("runs", "list", "--db", "jobs.db", "--status", "failed").stdout.count("\n") == 1
    assert cli.call("runs", "wait", "1", "--db", "jobs.db", "--timeout", "0").returncode == 124
    cli.write("mended", "")
    assert cli.call("run", "flow.toml", "--db", "jobs.db").returncode == 0
    jobs = cli.jobs(cli.directory / "jobs.db")
    assert {name: job["attempts"] for name, job in jobs.items()} == {"a": 2, "b": 1, "c": 1}
    shown = cli.call("runs", "show", "1", "--db", "jobs.db").stdout
    assert "state      succeeded" in shown
    assert "jobs       3 succeeded" in shown
    again = cli.call("runs", "resume", "1", "--db", "jobs.db")
    assert (again.returncode, again.stdout) == (1, "run 1: has succeeded\n")
    log = cli.call("jobs", "show", "a", "--db", "jobs.db").stdout
    assert "again by hand; it had failed in attempt 1: blocks.a: ShellFailed" in log


@pytest.mark.slow
def test_a_service_goes_on_with_what_another_process_lets_wait_again(cli: Cli) -> None:
    """Within a second, and whoever waits for its end is told."""
    with serving(cli.directory, "flow.toml") as service:
        assert service.port
        retried = cli.call("runs", "retry", "1", "--db", "jobs.db", "--json")
        assert json.loads(retried.stdout) == {"run": 1, "jobs": 2, "taken": True, "reason": None}
        assert cli.call("runs", "wait", "1", "--db", "jobs.db", "--timeout", "30").stdout == "run 1: failed\n"
        cli.write("mended", "")
        waiting = cli.start("jobs", "wait", "b", "c", "--db", "jobs.db", "--timeout", "1m")
        assert cli.call("jobs", "retry", "a", "c", "--db", "jobs.db").stdout == (
            "job 1: is tried again\n"
            "job 3: not tried again: it has succeeded, and is only repeated when that is forced\n"
        )
        ended = cli.call("runs", "wait", "1", "--db", "jobs.db", "--timeout", "30", "--json")
        assert (ended.returncode, json.loads(ended.stdout)["status"]) == (0, "succeeded")
        cli.call("jobs", "retry", "c", "--force", "--db", "jobs.db")
        assert cli.call("jobs", "wait", "1", "2", "3", "--db", "jobs.db", "--timeout", "30").returncode == 0
        end_of(waiting)
        service.process.send_signal(signal.SIGTERM)
        assert service.ended() == 0


@pytest.mark.slow
def test_the_log_of_a_running_job_is_followed_from_another_process(tmp_path: Path) -> None:
    """Each line once, in order, until the job has ended; progress is in the list."""
    cli = Cli(tmp_path)
    with serving(tmp_path) as service, redis.Redis(port=service.port, protocol=3, decode_responses=True) as client:
        job = client.execute_command("LC.ENQUEUE", "log.tick", "ARGS", '["x", "over"]')["job"]
        wait_until(lambda: bool(client.execute_command("LC.LOG", str(job))))
        following = cli.start("jobs", "log", "-f", "log.tick", "--db", "jobs.db")
        assert cli.call("jobs", "log", str(job), "--db", "jobs.db").stdout.startswith("x ticks 1\n")
        wait_until(lambda: "ticks 3" in cli.call("jobs", "log", str(job), "--db", "jobs.db").stdout)
        cli.write("over", "")
        followed = end_of(following)
        numbers = [int(line.rpartition(" ")[2]) for line in followed.stdout.splitlines()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert followed.stderr == ""
        assert cli.call("jobs", "log", "nobody", "--db", "jobs.db").returncode == 2
        assert client.execute_command("LC.LOG", "99") is None
        service.process.send_signal(signal.SIGTERM)
        assert service.ended() == 0


def a_record(attempts: int, logged: int, *lines: str) -> JobRecord:
    """Return a job as it was when it had logged so much."""
    return JobRecord(
        1, None, None, "a", "call", JobStatus.RUNNING, 0, attempts, 0, 0, None, 0.0, 0.0, None, None, None,
        log="\n".join(lines), logged=logged,
    )  # fmt: skip


def test_a_follower_prints_each_line_once_however_they_come() -> None:
    """Equal lines are not taken for one, those that came too fast are counted, a new attempt begins anew."""
    seen = Seen(a_record(1, 2, "tick", "tick"))
    assert seen.new_of(a_record(1, 2, "tick", "tick")) == (0, [])
    assert seen.new_of(a_record(1, 4, "tick", "tick", "tick", "tick")) == (0, ["tick", "tick"])
    fast = [str(number) for number in range(54, 104)]
    assert seen.new_of(a_record(1, 104, *fast)) == (50, fast)
    assert seen.new_of(a_record(2, 0, *fast)) == (0, []), "the log of the attempt before"
    assert seen.new_of(a_record(2, 1, "again")) == (0, ["again"])
    assert seen.new_of(a_record(3, 2, "a note", "x", "y")) == (0, ["x", "y"])


def test_what_has_not_succeeded_is_in_the_exit_code(cli: Cli) -> None:
    """Of waiting, of trying again, and of cancelling."""
    waited = cli.call("jobs", "wait", "a", "c", "--db", "jobs.db")
    assert waited.returncode == 1
    assert waited.stdout.splitlines()[0].startswith("job 1: failed in ")
    assert waited.stdout.splitlines()[1].startswith("job 3: succeeded in ")
    assert cli.call("jobs", "wait", "c", "--db", "jobs.db").returncode == 0
    assert json.loads(cli.call("jobs", "wait", "c", "--db", "jobs.db", "--json").stdout)["status"] == "succeeded"
    refused = cli.call("jobs", "retry", "b", "--db", "jobs.db")
    assert refused.returncode == 1
    assert (
        refused.stdout == "job 2: not tried again: it needs 'a', which failed; try that again too, or the whole run\n"
    )
    assert json.loads(cli.call("jobs", "retry", "c", "--db", "jobs.db", "--json").stdout) == {
        "job_id": 3, "effect": "refused", "reason": "it has succeeded, and is only repeated when that is forced",
    }  # fmt: skip
    for command in (
        "jobs retry x",
        "jobs retry 99",
        "jobs wait x",
        "runs retry 7",
        "runs wait 7",
        "runs show 7",
        "runs cancel 7",
    ):
        missing = cli.call(*command.split(), "--db", "jobs.db")
        assert missing.returncode == 2, command
        assert "jobs.db: there is no " in missing.stderr
    assert cli.call("runs", "cancel", "1", "--db", "jobs.db").stdout == "run 1: had ended\n"
    assert cli.call("jobs", "set", "b", "c", "--priority", "3", "--db", "jobs.db").returncode == 1
    assert cli.call("jobs", "set", "x", "--priority", "3", "--db", "jobs.db").returncode == 2
    assert cli.call("jobs", "retry", "a", "--db", "jobs.db").returncode == 0
    assert cli.call("jobs", "set", "a", "--priority", "-3", "--db", "jobs.db").stdout == "job 1: priority -3\n"
    changed = json.loads(cli.call("jobs", "set", "b", "--priority", "7", "--db", "jobs.db", "--json").stdout)
    assert changed == {"job_id": 2, "priority": 7, "effect": "set"}
    assert [job["priority"] for job in cli.jobs(cli.directory / "jobs.db").values()] == [-3, 7, 0]
    waiting = cli.call("jobs", "wait", "a", "--db", "jobs.db", "--timeout", "0.1")
    assert waiting.returncode == 124
    assert waiting.stderr == "jobs.db: no scheduler works on it\njobs.db: not ended in time: 1\n"
    assert cli.call("runs", "cancel", "1", "--db", "jobs.db").stdout == "run 1: 2 jobs cancelled, 0 being stopped\n"
