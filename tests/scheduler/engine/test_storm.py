"""Programs with a scheduler, killed at random moments under load: nothing is lost, and every job ends once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ...cli.disks import small_disk
from ..storms.storm import MANY, SCHEDULES, Storm
from ..storms.trouble import full_disk, jumps, lock_files, locks, moves

MakeStorm = Callable[..., Storm]


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[MakeStorm]:
    """Make a storm in a directory of its own; one after the other, each with a seed that is printed."""
    storms: list[Storm] = []

    def make(seed: int | None = None, **settings: Any) -> Storm:
        seed = random.SystemRandom().randrange(2**32) if seed is None else seed
        print(f"seed {seed}", flush=True)
        directory = tmp_path / f"storm{len(storms)}"
        directory.mkdir()
        storms.append(Storm(directory, seed, **settings))
        return storms[-1]

    yield make
    for one in storms:
        one.close()


def sizes(few: int, storms: int) -> pytest.MarkDecorator:
    """Return the two sizes of a test: a few kills for a commit, fifty in each of so many storms for a night."""
    night = pytest.param(storms, 50, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize(("storms", "kills"), [pytest.param(1, few, marks=pytest.mark.slow), night])


@sizes(5, 20)
def test_kills_under_load_lose_nothing_and_end_every_job_once(storm: MakeStorm, storms: int, kills: int) -> None:
    """SIGKILL at random moments of one or two programs that put in jobs, flows and schedules, on one store."""
    for number in range(storms):
        storm(keep=200 if number % 4 == 3 else None).run(kills)


@sizes(3, 5)
def test_kills_by_two_names_and_with_deleted_locks_steal_nothing(
    storm: MakeStorm, storms: int, kills: int, tmp_path: Path
) -> None:
    """A symbolic link is the same store, a lock file that is deleted is made anew, and three crashes are enough."""
    for number in range(storms):
        directory = tmp_path / f"links{number}"
        directory.mkdir()
        database = directory / "jobs.sqlite"
        link = tmp_path / f"link{number}.sqlite"
        link.symlink_to(database)
        one = storm(database=database, names=(database, link), troubled=True, max_crashes=3, doubted=True)
        one.run(kills, lock_files(directory))


@sizes(3, 5)
def test_kills_while_the_directory_moves_lose_nothing(
    storm: MakeStorm, storms: int, kills: int, tmp_path: Path
) -> None:
    """A program whose store is not where it was says so and ends; what it has acknowledged is in the file."""
    for number in range(storms):
        directory = tmp_path / f"here{number}" / "store"
        directory.mkdir(parents=True)
        one = storm(database=directory / "jobs.sqlite", troubled=True, may_refuse=True)
        one.run(kills, moves(directory))
        assert one.refusals or kills < MANY, "nobody worked while it moved"


@sizes(3, 5)
def test_kills_on_a_full_disk_lose_nothing(storm: MakeStorm, storms: int, kills: int) -> None:
    """A program whose store has no room waits; what was accepted is done when there is room again."""
    for _ in range(storms):
        with small_disk("64m") as disk:
            # It may end where there is no room to open it.
            storm(database=disk / "jobs.sqlite", troubled=True, may_refuse=True).run(kills, full_disk(disk))


@sizes(3, 5)
def test_kills_with_a_locked_database_lose_nothing(storm: MakeStorm, storms: int, kills: int) -> None:
    """Another process holds the lock for a moment, or for longer than new work waits; who works waits on."""
    for _ in range(storms):
        one = storm(troubled=True, may_refuse=True)  # where it cannot even be opened for so long
        one.run(kills, locks(one.database, 0.5))


@sizes(3, 5)
def test_kills_with_a_clock_that_jumps_lose_nothing(storm: MakeStorm, storms: int, kills: int, tmp_path: Path) -> None:
    """Whatever the clock says, no job waits for ever, none ends twice, and no due time is run twice."""
    for _ in range(storms):
        clock = tmp_path / "clock"
        make = jumps(clock, hours=3.0)
        # No burst: it makes up for every 20 ms of the three hours that the clock is set forwards by, as it should.
        schedules = tuple(name for name in SCHEDULES if name != "burst")
        storm(clock=clock, schedules=schedules).run(kills, make)
