"""Live progress on a terminal, with rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ...scheduler._ground.text import one_line
from ...scheduler._words import duration, headline, note_of, rows_of, sentence, spaced
from ._display import Display

if TYPE_CHECKING:
    from ...scheduler._engine.outcome import RunOutcome
    from ...scheduler._ground.events import Event
    from .._owned import Owned

STYLES = {
    "succeeded": "green",
    "failed": "bold red",
    "timed_out": "bold red",
    "cancelled": "yellow",
    "interrupted": "yellow",
}


def escape(text: str) -> str:
    """Return a text that is neither markup nor able to drive the terminal."""
    return escape_markup(one_line(text))


class LiveDisplay(Display):
    """Shows a bar for the run and one for each job that runs; what went wrong stays above as lines."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._overall: TaskID | None = None
        self._bars: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def close(self) -> None:
        """Remove the bars and give the cursor back."""
        self._progress.stop()

    def event(self, event: Event) -> None:
        """Move the bars; print what is worth a line."""
        if event.kind == "run_started":
            total = event.data["jobs"]
            description = f"[bold]{escape(event.data['flow'])}[/bold]"
            done = total - event.data["unfinished"]
            self._overall = self._progress.add_task(description, total=total, completed=done)
            if event.data["resumed"]:
                self._say(event, "cyan")
        elif event.kind == "job_started":
            self._start_bar(event)
        elif event.kind == "job_progress" and event.job_id in self._bars:
            self._progress.update(self._bars[event.job_id], completed=event.data["done"], total=event.data["total"])
        elif event.kind == "job_log":
            self._say(event, "dim")
        elif event.kind == "job_retrying":
            self._end_bar(event)
            self._say(event, "yellow")
        elif event.kind == "job_finished":
            self._finish(event)
        elif event.kind == "draining":
            self._say(event, "cyan")

    def outcome(self, outcome: RunOutcome, seconds: float) -> None:
        """Print the table of outcomes."""
        jobs, left_out = rows_of(outcome)
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for name, right in (("job", False), ("outcome", False), ("attempts", True), ("time", True), ("", False)):
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for job in jobs:
            status = job.status.value
            text = f"[{STYLES.get(status, '')}]{spaced(status)}[/]" if status in STYLES else status
            note = escape(note_of(job))
            table.add_row(escape(job.name), text, str(job.attempts), duration(job.seconds), note)
        self._console.print(table)
        if left_out:
            self._console.print(f"[dim]{left_out}[/dim]")
        style = STYLES.get(outcome.status.value, "default")
        self._console.print(f"[{style}]{escape(headline(outcome, seconds))}[/]")

    def owned(self, owned: Owned) -> None:
        """Print what is still owned."""
        self._console.print(f"[{'bold red' if owned else 'green'}]still owned: {escape(str(owned))}[/]")

    def _start_bar(self, event: Event) -> None:
        if event.job_id is not None:
            again = f" [yellow](attempt {event.attempt})[/yellow]" if (event.attempt or 1) > 1 else ""
            self._bars[event.job_id] = self._progress.add_task(f"  {escape(event.job or '')}{again}", total=None)

    def _end_bar(self, event: Event) -> None:
        bar = self._bars.pop(event.job_id, None) if event.job_id is not None else None
        if bar is not None:
            self._progress.remove_task(bar)

    def _finish(self, event: Event) -> None:
        self._end_bar(event)
        status = event.data["status"]
        if self._overall is not None and status != "interrupted":
            self._progress.advance(self._overall)
        if status != "succeeded":
            self._say(event, STYLES.get(status, "default"))

    def _say(self, event: Event, style: str) -> None:
        if text := sentence(event):
            self._progress.console.print(f"[{style}]{escape(text)}[/]")
