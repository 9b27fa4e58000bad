"""The machine of two linked loops, on ReaderWorker and on link."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lifecycle import ReaderWorker, link
from lifecycle.testing.machines import PairMachine

PROFILE = settings(max_examples=60, stateful_step_count=25, deadline=None, database=None, derandomize=True)


class OurPair(PairMachine):
    async def run_pair(self, reader: Any, worker: Any) -> None:
        async with ReaderWorker(reader, worker) as pair:
            outcome = await pair.wait()
        assert {end.name for end in outcome.ends} == {"reader", "worker"}


class OurLink(PairMachine):
    async def run_pair(self, reader: Any, worker: Any) -> None:
        outcome = await link(reader, worker)
        assert len(outcome.ends) == 2


@pytest.mark.parametrize("machine", [OurPair, OurLink])
def test_both_loops_end_however_either_does(machine: type[PairMachine]) -> None:
    """By return or error, in any order, under cancellation of the whole."""
    run_state_machine_as_test(machine, settings=PROFILE)
