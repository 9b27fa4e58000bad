"""Killed at random moments: nothing is lost, and every job ends once."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from ..tools import Cli, end_of, lines_in, wait_until

HANDLERS = """
import os, time
from lifecycle.scheduler import Context, handler

LEDGER = os.open("ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@handler("work")
def work(name: str, context: Context) -> str:
    os.write(LEDGER, f"begin {name} {context.attempt}\\n".encode())
    time.sleep(0.01)
    os.write(LEDGER, f"end {name} {context.attempt}\\n".encode())
    return name

@handler("work_async")
async def work_async(name: str, context: Context) -> str:
    return work(name, context)
"""

JOBS = 300


def the_flow(random: random.Random) -> str:
    """Return a flow of 300 jobs with random needs and priorities; some fail once and are tried again."""
    lines = ['handlers = "handlers.py"']
    for number in range(JOBS):
        needs = random.sample(range(max(0, number - 30), number), k=min(number, random.choice([0, 0, 1, 2])))
        lines += [
            f"[blocks.job{number}]",
            f"call = '{random.choice(['work', 'work_async'])}'",
            f"args = ['job{number}']",
            f"priority = {random.randint(-3, 3)}",
            f"needs = {[f'job{needed}' for needed in needs]}",
        ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "kills", [pytest.param(10, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.nightly)]
)
@pytest.mark.timeout(180)
def test_kills_lose_nothing_and_end_every_job_once(cli: Cli, kills: int) -> None:
    """SIGKILL at random moments of a flow of 300 jobs, started again each time with the same store."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    cli.write("handlers.py", HANDLERS)
    flow = cli.write("flow.toml", the_flow(chance))
    db, ledger = cli.directory / "jobs.sqlite", cli.directory / "ledger"
    command = ("run", flow, "--db", db, "--workers", 6, "--json", "--max-crashes", 10**6)
    killed = 0
    while killed < kills:
        process = cli.start(*command)
        if chance.random() < 0.3:
            time.sleep(chance.random() * 0.4)  # while it starts, and takes over what the one before has left
        else:
            wait_for_work(process, ledger)
            time.sleep(chance.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        ended = end_of(process)
        if ended.returncode == 0:
            check(db, ledger, killed)  # all jobs had ended: another run of the flow takes the kills that are left
            continue
        assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
        killed += 1
    last = cli.run(*command, timeout=60)
    assert last.returncode == 0, last.stdout + last.stderr
    runs, repeated = check(db, ledger, kills)
    assert repeated > kills // 5, "the kills have to hit jobs in flight"
    owned = json.loads(last.stdout.splitlines()[-1])
    assert owned["nothing"], owned
    assert [path.name for path in cli.directory.glob("jobs.sqlite*")] == ["jobs.sqlite"]
    print(f"{kills} kills over {runs} runs of {JOBS} jobs; {repeated} attempts were repeated")


def wait_for_work(process: subprocess.Popen[str], ledger: Path) -> None:
    """Wait until the process has begun or ended a job, or has ended itself."""
    before = len(lines_in(ledger))
    wait_until(lambda: len(lines_in(ledger)) > before or process.poll() is not None)


def check(db: Path, ledger: Path, kills: int) -> tuple[int, int]:
    """Check that every job of every run succeeded once, and that only jobs in flight at a kill were repeated."""
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        states = connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall()
        runs = connection.execute("SELECT count(*), sum(unfinished) FROM runs").fetchone()
        attempts = connection.execute("SELECT sum(attempt), sum(failures) FROM jobs").fetchone()
        results = connection.execute("SELECT count(*) FROM jobs WHERE result = '\"' || name || '\"'").fetchone()[0]
    assert states == [("succeeded", runs[0] * JOBS)]
    assert runs[1] == 0
    assert results == runs[0] * JOBS
    assert attempts[1] == 0, "a kill burns no retry"
    # Each kill can repeat what was in flight: six attempts, and about as many that had ended and were not recorded yet,
    # or were taken for a worker that would be free.
    repeated = attempts[0] - runs[0] * JOBS
    assert repeated <= kills * 12
    lines = Counter(line.split()[0] for line in lines_in(ledger))
    assert runs[0] * JOBS <= lines["end"] <= lines["begin"] <= attempts[0]
    ended = Counter(line.split()[1] for line in lines_in(ledger) if line.startswith("end"))
    assert all(ended[f"job{number}"] >= runs[0] for number in range(JOBS)), "a job without its effect was lost"
    return runs[0], repeated
