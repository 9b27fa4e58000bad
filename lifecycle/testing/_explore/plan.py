"""What one run does: which faults strike which task at which boundary, in which order; and its token."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._errors import ReplayError
from .._loop.strategies import FIFO, Strategy, strategy_from_token
from .faults import Fault, fault_by_code

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "lc1"
USUAL_ORDER = FIFO()


@dataclass(frozen=True)
class Injection:
    """One strike: this fault, at the task with this number, before the loop step with this index."""

    fault: Fault
    target: int
    boundary: int

    def token(self) -> str:
        return f"{self.fault.code}@{self.target}.{self.boundary}"


@dataclass(frozen=True)
class Plan:
    """One run: its injections in order, and how ready tasks are chosen."""

    injections: tuple[Injection, ...] = ()
    strategy: Strategy = USUAL_ORDER
    seed: int = 0

    def token(self, scenario: str, check: int) -> str:
        """Render the replay token: version, scenario, injections, schedule, hash of the steps before."""
        strikes = "+".join(injection.token() for injection in self.injections) or "none"
        return f"{VERSION}:{scenario}:{strikes}:{self.strategy.token(self.seed)}:{check & 0xFFFFFFFF:08x}"


def scenario_name(scenario: Callable[..., Any]) -> str:
    """The importable name of a scenario, as it stands in a token."""
    function = getattr(scenario, "func", scenario)  # a functools.partial is known by its function
    module = getattr(function, "__module__", "?")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{module}.{name}"


def parse_token(token: str) -> tuple[str, Plan, int]:
    """Take a replay token apart into scenario name, plan and step hash.

    Raises:
        ReplayError: it is not a token of this version.
    """
    try:
        version, scenario, strikes, schedule, check = token.strip().split(":")
        if version != VERSION:
            raise ReplayError(f"replay token of version {version!r}, this kit reads {VERSION!r}: {token}")
        injections = () if strikes == "none" else tuple(_parse_strike(part) for part in strikes.split("+"))
        strategy, seed = strategy_from_token(schedule)
        return scenario, Plan(injections, strategy, seed), int(check, 16)
    except ValueError as error:
        raise ReplayError(f"not a replay token ({error}): {token}") from error


def _parse_strike(text: str) -> Injection:
    code, _, place = text.partition("@")
    target, _, boundary = place.partition(".")
    return Injection(fault_by_code(code), int(target), int(boundary))


def find_scenario(name: str) -> Callable[..., Any]:
    """Import the scenario that a token names.

    Raises:
        ReplayError: it cannot be imported, because it is local to a function or has moved.
    """
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        try:
            for part in parts[split:]:
                found = getattr(found, part)
        except AttributeError:
            break
        return found  # type: ignore[no-any-return]
    raise ReplayError(f"scenario {name} cannot be imported: give it to replay(token, scenario)")
