"""What the command line of pytest says about all explorations of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .plan import parse_token, scenario_name

if TYPE_CHECKING:
    from collections.abc import Callable

_replay: str | None = None
_seed: int | None = None
_budget: int | None = None


def set_from_command_line(*, replay: str | None, seed: int | None, budget: int | None) -> None:
    """Take what the command line said; None leaves a value to each exploration."""
    global _replay, _seed, _budget
    _replay, _seed, _budget = replay, seed, budget


def replay_of(scenario: Callable[..., Any]) -> str | None:
    """Return the token to replay when it is one of this scenario."""
    if _replay is None:
        return None
    name, _, _ = parse_token(_replay)
    return _replay if name == scenario_name(scenario) else None


def seed(own: int) -> int:
    """Return the seed to use."""
    return own if _seed is None else _seed


def budget(own: int | None) -> int | None:
    """Return the budget to use, the smaller of both."""
    if _budget is None:
        return own
    return _budget if own is None else min(own, _budget)
