"""Plain lines, where the output is not a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...scheduler._ground.text import one_line
from ...scheduler._words import duration, headline, note_of, rows_of, sentence, spaced
from ._display import Display
from ._lines import say, say_table

if TYPE_CHECKING:
    from ...scheduler._engine.outcome import RunOutcome
    from ...scheduler._ground.events import Event
    from .._owned import Owned


class PlainDisplay(Display):
    """Prints one line for each thing that happened, and an aligned table at the end."""

    def event(self, event: Event) -> None:
        """Print the event with its time."""
        if text := sentence(event):
            say(one_line(f"{time.strftime('%H:%M:%S', time.localtime(event.at))} {text}"))

    def outcome(self, outcome: RunOutcome, seconds: float) -> None:
        """Print the table of outcomes."""
        jobs, left_out = rows_of(outcome)
        rows = [
            (job.name, spaced(job.status.value), str(job.attempts), duration(job.seconds), note_of(job)) for job in jobs
        ]
        say("")
        say_table(("job", "outcome", "attempts", "time", ""), rows, right=(2, 3))
        if left_out:
            say(left_out)
        say("")
        say(one_line(headline(outcome, seconds)))

    def owned(self, owned: Owned) -> None:
        """Print what is still owned."""
        say(f"still owned: {owned}")
