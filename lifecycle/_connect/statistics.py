"""How a connect stands, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectStatistics:
    """How a connect stands at one moment.

    Attributes:
        name: its name.
        state: the value of its `AttemptState`, such as ``"connecting"``.
        stage: the stage in progress, after a failure the one that failed; None before the first and after success.
        attempts: how many attempts have begun.
        rollback_errors: how many errors the rollbacks have met; only the latest hundred are kept, and counted.
    """

    name: str
    state: str
    stage: str | None
    attempts: int
    rollback_errors: int
