"""Programs with a scheduler, killed at random moments under load: nothing is lost, and every job ends once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .storm import Storm

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


@pytest.mark.parametrize(
    ("storms", "kills"),
    [
        pytest.param(1, 5, marks=pytest.mark.slow),
        pytest.param(20, 50, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)]),
    ],
)
def test_kills_under_load_lose_nothing_and_end_every_job_once(storm: MakeStorm, storms: int, kills: int) -> None:
    """SIGKILL at random moments of one or two programs that put in jobs, flows and schedules, on one store."""
    for number in range(storms):
        one = storm(keep=200 if number % 4 == 3 else None)
        one.rage(kills)
        one.calm()
        print(one.check(), flush=True)
        one.close()
