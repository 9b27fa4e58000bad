"""A fleet: workers on machines, one who submits and cancels, and what is done to them; then everything is checked.

What has to hold in the end, whatever was done:

* no job is lost: each that nobody cancelled has succeeded, and was recorded once;
* nothing is recorded twice, and nothing moves after its end;
* the result is that of the attempt that the database has: who lost a job cannot end it any more;
* an attempt has one worker, and a job is begun again only when whoever ran it was dead, stopped or cut off;
* what was cancelled while it ran has seen it (how soon is measured, not asserted);
* what was begun first was what is most urgent.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle.scheduler import Scheduler, handler

from ....servers import stop_where_it_is
from ....tracked import ROOT
from .history import Ledger, Move, check_moves
from .machines import Machine
from .worker import work

Command = Callable[[Machine, Path, str], list[str]]
"""The command that starts a worker, for a machine, the ledger and the worker's name."""

JOBS_AT_ONCE = 5
"""So many jobs a worker runs at once."""

URGENT, COMMON = 10, 0

_seats: dict[str, asyncio.Event] = {}


@handler("fleet.seat")
async def seat(name: str) -> None:
    """Keep the only seat of who shall only submit."""
    await _seats[name].wait()


def python_worker(lease: float) -> Command:
    """Return how to start a worker that is a small program of ours."""

    def command(machine: Machine, ledger: Path, tag: str) -> list[str]:
        program = [sys.executable, "-m", f"{__package__}.worker", machine.address, str(ledger), tag]
        return [*machine.prefix, *program, "--workers", str(JOBS_AT_ONCE), "--lease", str(lease)]

    return command


@dataclass
class Worker:
    """A worker process.

    Attributes:
        tag: its name in the ledger, never used again.
        machine: where it runs.
        process: the process; where it runs elsewhere, ``ip`` has become it.
    """

    tag: str
    machine: Machine
    process: subprocess.Popen[bytes]


@dataclass
class Fleet:
    """Workers on machines with one database.

    Args:
        scheduler: submits and cancels; it runs no job.
        machines: where workers run.
        ledger: the file in which they note what they do.
        command: how one starts.
        lease: seconds after which a worker that is not heard of is taken for dead.
        seed: of what is left to chance.

    Attributes:
        workers: those that live.
        wanted: the numbers of all jobs, by name.
        unwanted: when each was cancelled that was.
        hit: who ran those of them that ran.
        dead, doubted: the workers that have ended, and those that could be taken for dead at some time.
        said: what was done, for people.
    """

    scheduler: Scheduler
    machines: Sequence[Machine]
    ledger: Path
    command: Command
    lease: float
    seed: int
    workers: list[Worker] = field(default_factory=list)
    wanted: dict[str, int] = field(default_factory=dict)
    unwanted: dict[str, float] = field(default_factory=dict)
    hit: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing has happened yet."""
        self.chance = random.Random(self.seed)
        self._numbers = itertools.count(1)
        self._tags = itertools.count(1)
        self.ledger.touch()
        self._errors = self.ledger.with_name("messages").open("wb")

    def look(self) -> Ledger:
        """Return what has been noted so far."""
        return Ledger.read(self.ledger)

    # The one who submits

    async def take_seat(self) -> None:
        """See that the scheduler that submits runs nothing: its one seat is taken. Before any worker is started."""
        name = f"{os.getpid()}-{next(self._numbers)}"
        _seats[name] = asyncio.Event()
        await self.scheduler.submit(seat, name, priority=1_000_000)
        while self.scheduler.statistics().running < 1:
            await asyncio.sleep(0.01)
        self._seat = _seats[name]

    def leave_seat(self) -> None:
        """Let the job that keeps it end."""
        self._seat.set()

    async def submit(self, count: int, seconds: float, priority: int = COMMON) -> list[str]:
        """Submit so many jobs that each take so long; return their names."""
        names = [f"j{next(self._numbers)}p{priority}" for _ in range(count)]
        jobs = await asyncio.gather(
            *(self.scheduler.submit(work, name, seconds, priority=priority, name=name) for name in names)
        )
        self.wanted.update((name, job.id) for name, job in zip(names, jobs, strict=True))
        return names

    async def cancel(self, names: Sequence[str]) -> None:
        """Cancel jobs, in whatever state they are."""
        running = self.look().running(self.dead)
        self.hit.update((name, running[name].tag) for name in names if name in running)
        for name in names:
            self.unwanted[name] = time.monotonic()
            await self.scheduler.cancel(self.wanted[name], "not wanted")

    def running(self) -> list[str]:
        """Return the names of jobs that are on their way with a worker that lives."""
        return sorted(self.look().running(self.dead))

    async def until_running(self, count: int, timeout: float = 60.0) -> None:
        """Wait until so many are on their way."""
        await self.until(lambda: len(self.running()) >= count, f"{count} jobs do not run", timeout)

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        """Wait until something is so."""
        ends = time.monotonic() + timeout
        while not condition():
            for worker in self.workers:
                assert worker.process.poll() is None, f"{worker.tag} has ended by itself: {self.messages()}"
            assert time.monotonic() < ends, f"{what}: {self.look().lines[-20:]} {self.messages()}"
            await asyncio.sleep(0.02)

    # Workers

    async def start(self, machine: Machine, *, wait: bool = True) -> Worker:
        """Start a worker there, and wait until it works."""
        tag = f"w{next(self._tags)}"
        process = subprocess.Popen(
            self.command(machine, self.ledger, tag),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        worker = Worker(tag, machine, process)
        self.workers.append(worker)
        if wait:
            await self.until_up([worker])
        return worker

    async def until_up(self, workers: Sequence[Worker]) -> None:
        """Wait until these work."""
        tags = {worker.tag for worker in workers}
        await self.until(lambda: tags <= {line.tag for line in self.look().of("up")}, f"{tags} do not start")

    async def kill(self, worker: Worker) -> None:
        """End it without a word."""
        self.doubted.add(worker.tag)
        self.workers.remove(worker)
        worker.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(worker.process.wait)
        self.dead.add(worker.tag)
        self.say(f"{worker.tag} was killed with {self._count(worker)} jobs")

    async def stop_and_resume(self, worker: Worker) -> None:
        """Stop it where it is until others have taken over what it runs; then let it go on."""
        self.doubted.add(worker.tag)
        stop_where_it_is(worker.process.pid)
        its = self._of(worker)
        await self._until_others_have(its, worker)
        worker.process.send_signal(signal.SIGCONT)
        self.say(f"{worker.tag} was stopped past its lease with {len(its)} jobs")

    async def cut_off(self, worker: Worker) -> None:
        """Let nothing of its machine through until others have taken over what it runs; then mend that."""
        there = [other for other in self.workers if other.machine is worker.machine]
        self.doubted.update(other.tag for other in there)
        worker.machine.cut()
        await asyncio.sleep(self.lease / 4)  # what ends before it is cut off was recorded
        its = [name for other in there for name in self._of(other)]
        await self._until_others_have(its, worker)
        worker.machine.mend()
        self.say(f"the machine of {worker.tag} was cut off with {len(its)} jobs")

    async def drain(self, worker: Worker) -> None:
        """End it as it should be ended: what it runs comes to its end, and nothing more begins."""
        its = self._of(worker)
        self.workers.remove(worker)
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.wait, 60) == 0, self.messages()
        ended = {
            line.name for line in self.look().lines if line.word in ("end", "cancelled") and line.tag == worker.tag
        }
        assert set(its) <= ended, f"{worker.tag} was drained, and left {set(its) - ended}"
        self.dead.add(worker.tag)
        self.say(f"{worker.tag} was drained with {len(its)} jobs")

    async def replace_all(self) -> None:
        """Replace one worker after the other: a new version is rolled out."""
        for worker in list(self.workers):
            await self.start(worker.machine)
            await self.drain(worker)

    def close(self) -> None:
        """End what is left."""
        for worker in self.workers:
            worker.process.send_signal(signal.SIGKILL)
            worker.process.wait()
        self._errors.close()

    def _of(self, worker: Worker) -> list[str]:
        return [name for name, line in self.look().running(self.dead).items() if line.tag == worker.tag]

    def _count(self, worker: Worker) -> int:
        return len([name for name, line in self.look().running(set()).items() if line.tag == worker.tag])

    async def _until_others_have(self, names: Sequence[str], than: Worker) -> None:
        def taken() -> bool:
            begun = {line.name for line in self.look().of("start") if line.tag != than.tag}
            return set(names) <= begun

        await self.until(taken, f"nobody takes over {names}")

    # The end

    def say(self, text: str) -> None:
        """Note what was done, for people."""
        self.said.append(text)

    def messages(self) -> str:
        """Return the last that the workers have said on stderr."""
        return self.ledger.with_name("messages").read_text()[-2_000:]

    async def until_all_have_ended(self, timeout: float = 120.0) -> None:
        """Wait until no job is left."""
        ends = time.monotonic() + timeout
        while True:
            left = [job for job in await self.scheduler.jobs(limit=10_000) if job.finished is None]
            left = [job for job in left if job.name in self.wanted]
            if not left:
                return
            if time.monotonic() > ends:
                known = {line.name for line in self.look().lines}
                which = [(job.name, job.status.value, job.attempts, job.name in known) for job in left]
                raise AssertionError(f"{len(left)} jobs do not end (whether they were ever begun): {which[:20]}")
            await asyncio.sleep(0.05 if len(left) < 100 else 1.0)  # to look is work for the database, too

    async def check(self, moves: list[Move] | None = None) -> str:
        """Check all that has to hold; return what happened, for people.

        Args:
            moves: what the database saw of every job.
        """
        ledger = self.look()
        ends = {(line.name, line.attempt): line.tag for line in ledger.of("end")}
        for name, number in self.wanted.items():
            full = await self.scheduler.job(number)
            assert full is not None, f"{name} is lost"
            assert full.name == name
            if full.status.value == "cancelled":
                assert name in self.unwanted, f"{name} was cancelled, and nobody wanted that"
                continue
            assert full.status.value == "succeeded", f"{name}: {full}"
            assert full.result[:2] == [name, full.attempts], f"{name} has the result of another attempt: {full}"
            assert ends.get((name, full.attempts)) == full.result[2], f"{name}: {full} {ends}"
        ledger.check_attempts()
        again = ledger.check_doubt(self.doubted)
        if moves is not None:
            jobs = {number: name for name, number in self.wanted.items()}
            for job_id, end in check_moves([move for move in moves if move.job in jobs]).items():
                if end.new == "succeeded":
                    assert end.result is not None
                    assert json.loads(end.result)[1] == end.attempt, f"{jobs[job_id]}: {end}"
        noted = {line.name for line in ledger.lines if line.word in ("cancelled", "end")}
        unseen = [name for name, tag in self.hit.items() if name not in noted and tag not in self.dead | self.doubted]
        assert not unseen, f"cancelled while they ran, and did not see it: {unseen}"
        seen = self._delays(ledger)
        middle, most = (statistics.median(seen) * 1e3, max(seen) * 1e3) if seen else (0.0, 0.0)
        return (
            f"seed {self.seed}: {len(self.wanted)} jobs, {len(self.unwanted)} cancelled, {len(seen)} of them saw it "
            f"while they ran, after {middle:.0f} ms (median) and {most:.0f} ms (most), {again} begun again; "
        ) + "; ".join(self.said)

    def check_first_starts(self, names: Sequence[str], urgent: Sequence[str]) -> None:
        """Check that of these jobs, submitted before anybody worked, the urgent ones were begun first."""
        begun = list(dict.fromkeys(line.name for line in self.look().of("start") if line.name in names))
        first = begun[: len(urgent)]
        late = [name for name in first if name not in urgent]
        # Who takes several at once begins them in an order of its own, and several do so at the same time.
        room = JOBS_AT_ONCE * max(1, len(self.workers))
        assert all(begun.index(name) >= len(urgent) - room for name in late), (
            f"{late} were begun before more urgent ones"
        )
        assert set(begun[:room]) <= set(urgent) or len(urgent) < room, begun[:room]

    def _delays(self, ledger: Ledger) -> list[float]:
        at = {line.name: line.at for line in ledger.of("cancelled")}
        return [at[name] - asked for name, asked in self.unwanted.items() if name in at and at[name] >= asked]
