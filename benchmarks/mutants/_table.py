"""The table of mutants and references, and the connection that they all use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from lifecycle.testing import Bubble
from lifecycle.testing.types import Token

Scenario = Callable[[Bubble], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Mutant:
    """One wrong program.

    Attributes:
        name: what it is called.
        family: which kind of mistake it makes.
        scenario: the program.
        then: a check afterwards, for mistakes that only the next user notices.
    """

    name: str
    family: str
    scenario: Scenario
    then: Scenario | None = None


MUTANTS: list[Mutant] = []
REFERENCES: list[Mutant] = []


def mutant(family: str, then: Scenario | None = None) -> Callable[[Scenario], Scenario]:
    """Enter a wrong program into the table."""

    def enter(scenario: Scenario) -> Scenario:
        MUTANTS.append(Mutant(scenario.__name__, family, scenario, then))
        return scenario

    return enter


def reference(then: Scenario | None = None) -> Callable[[Scenario], Scenario]:
    """Enter a correct program into the table."""

    def enter(scenario: Scenario) -> Scenario:
        REFERENCES.append(Mutant(scenario.__name__, "reference", scenario, then))
        return scenario

    return enter


class Connection:
    """Takes time to open and to close, and is in the ledger from the step on in which it exists."""

    def __init__(self, token: Token) -> None:
        self.token = token

    @classmethod
    async def open(cls, bubble: Bubble, name: str = "connection", owner: Any = None) -> Connection:
        await asyncio.sleep(0.01)
        return cls(bubble.ledger.acquire(name, kind="connection", owner=owner))

    async def use(self) -> None:
        assert not self.token.releases, "used after it was closed"
        await asyncio.sleep(0.01)
        assert not self.token.releases, "closed while it was used"

    async def aclose(self) -> None:
        """Say goodbye to the other side, then close."""
        await asyncio.sleep(0.01)
        self.token.release()

    def close(self) -> None:
        """Close at once."""
        self.token.release()
