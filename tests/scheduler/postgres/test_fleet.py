"""Workers on several machines, and everything that can happen to them: no job is lost, and none is recorded twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lifecycle.scheduler import Scheduler

from ...postgres import Postgres, ask
from ..storms.fleet.chaos import rage
from ..storms.fleet.fleet import Fleet, python_worker
from ..storms.fleet.history import LOOK, Move
from ..storms.fleet.machines import have_namespaces, machines


@contextlib.asynccontextmanager
async def a_fleet(url: str, directory: Path, *, lease: float, count: int, apart: bool) -> AsyncIterator[Fleet]:
    """Make a fleet of so many machines, each with 50 ms to the database and back where they are apart."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    ask(url, LOOK)
    delay = 0.025 if apart else 0.0
    with machines(url, count, delay=delay, apart=apart) as them:
        async with Scheduler(url, name="boss", workers=1) as scheduler:
            fleet = Fleet(scheduler, them, directory / "ledger", python_worker(lease), lease, seed)
            try:
                await fleet.take_seat()
                yield fleet
                print(await fleet.check(moves_in(url)), flush=True)
            finally:
                fleet.leave_seat()
                fleet.close()


def moves_in(url: str) -> list[Move]:
    """Return every change of a job's state, as the database has seen it."""
    return [Move(*row) for row in ask(url, "SELECT job, old, new, attempt, result FROM public.moves ORDER BY n")]


def run(
    url: str, server: Postgres | None, directory: Path, *, lease: float, count: int, apart: bool, rounds: int, jobs: int
) -> None:
    """Let the chaos rage."""

    async def main() -> None:
        async def restart(manner: str) -> None:
            assert server is not None
            await asyncio.to_thread(server.restart, manner)

        async with a_fleet(url, directory, lease=lease, count=count, apart=apart) as fleet:
            await rage(fleet, restart if server is not None else None, rounds=rounds, long=lease / 2, jobs=jobs)

    asyncio.run(main())


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_recorded_twice(own_server: Postgres, tmp_path: Path) -> None:
    """Kills, stops past the lease, a silent network, restarts of the database, a drain, and a roll-out."""
    with own_server.database() as url:
        run(url, own_server, tmp_path, lease=1.0, count=2, apart=False, rounds=1, jobs=20)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("apart", [False, True], ids=["one machine", "three machines"])
def test_nothing_is_lost_in_a_long_storm(own_server: Postgres, tmp_path: Path, apart: bool) -> None:
    """The same for longer: eleven thousand jobs for five workers, three thousand for three far from the database."""
    if apart and not have_namespaces():
        pytest.skip("no network namespaces here")
    with own_server.database() as url:
        count, jobs = (3, 60) if apart else (5, 250)
        run(url, own_server, tmp_path, lease=3.0, count=count, apart=apart, rounds=5, jobs=jobs)
