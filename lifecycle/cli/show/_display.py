"""What every display of a run can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ._lines import complain

if TYPE_CHECKING:
    from ...scheduler._engine.outcome import RunOutcome
    from ...scheduler._ground.events import Event
    from .._owned import Owned


class Display(ABC):
    """Shows what happens in a run; a context manager, so that the terminal is given back however it ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 (most displays hold nothing)
        """Give the terminal back."""

    @abstractmethod
    def event(self, event: Event) -> None:
        """Show one event; called in the loop, so it must be quick."""

    @abstractmethod
    def outcome(self, outcome: RunOutcome, seconds: float) -> None:
        """Show how the run ended."""

    @abstractmethod
    def owned(self, owned: Owned) -> None:
        """Show what is still owned; the last thing that is shown."""

    def problems(self, lines: list[str]) -> None:
        """Print what is wrong, on standard error."""
        for line in lines:
            complain(line)
