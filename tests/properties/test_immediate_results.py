"""gather, race and as_completed: random programs of results that are there at once, or turns later, against a model.

What is there at once ends a task in its first step: inside the call that starts it where tasks start eagerly, and
before a cancellation by its group can reach it elsewhere. Neither must change what comes out.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import pytest

from lifecycle import as_completed, gather, race

from ..loops import on_every_loop, run_on

PROGRAMS = 300


class Planned(Exception):
    """What a member raises."""


@dataclass(frozen=True)
class Member:
    """One of those that run together.

    Attributes:
        number: its place.
        turns: of the loop that it takes; 0 for one that never suspends. No two that suspend take the same number.
        fails: whether it raises in the end, instead of returning its number.
    """

    number: int
    turns: int
    fails: bool

    async def run(self) -> int:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.fails:
            raise Planned(self.number)
        return self.number


def program(seed: int) -> list[Member]:
    """Return random members."""
    chance = random.Random(seed)
    size = chance.randint(1, 5)
    later = chance.sample(range(1, 9), size)
    return [Member(n, chance.choice([0, later[n]]), chance.random() < 0.4) for n in range(size)]


def in_order(members: list[Member]) -> list[Member]:
    """Return the members as they end, left alone."""
    return sorted(members, key=lambda member: member.turns)


def expected_race(members: list[Member]) -> Any:
    """Return the value of the first that returns; the numbers of all where none does."""
    winner = next((member for member in in_order(members) if not member.fails), None)
    return winner.number if winner is not None else {member.number for member in members}


def agrees_with_gather(outcome: Any, members: list[Member]) -> bool:
    """Whether it is all values; or the errors of those that fail before the cancellation by the first reaches them.

    Where the first fails as it is started, that is one turn later: all others begin before.
    """
    failing = [member for member in in_order(members) if member.fails]
    if not failing:
        return bool(outcome == [member.number for member in members])
    first = failing[0].turns
    at_least = {member.number for member in failing if member.turns == first}
    at_most = {member.number for member in failing if member.turns <= first + (first == 0)}
    return at_least <= outcome <= at_most


async def found(work: Any) -> Any:
    """Return the value of *work*, or the numbers in its errors."""
    try:
        return await work
    except* Planned as errors:
        numbers = {error.args[0] for error in errors.exceptions}
    return numbers


@on_every_loop
@pytest.mark.parametrize("limit", [None, 5])
def test_they_are_what_the_model_says(new_loop: Any, limit: int | None) -> None:
    """The same on every loop, whatever never suspends."""

    async def main() -> None:
        for seed in range(PROGRAMS):
            members = program(seed)
            assert await found(race(*[member.run for member in members])) == expected_race(members), members
            together = gather([member.run() for member in members], limit=limit)
            assert agrees_with_gather(await found(together), members), members
            outcomes = await gather([member.run() for member in members], limit=limit, return_exceptions=True)
            assert [isinstance(outcome, Planned) for outcome in outcomes] == [member.fails for member in members]
            seen = []
            async for handle in as_completed([member.run() for member in members], limit=limit):
                error = handle.exception()
                seen.append(handle.result() if error is None else error.args[0])
            assert seen == [member.number for member in in_order(members)], members

    run_on(new_loop, main())
