"""What a store holds, for ``lifecycle store show``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ...scheduler._words import moment, spaced
from ._lines import say, say_json

if TYPE_CHECKING:
    from ...scheduler._store.store_facts import StoreFacts


def size(count: float) -> str:
    """Return a number of bytes for people: "512 B", "1.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1_000
    return f"{count:,.1f} TB"


def print_facts(facts: StoreFacts, *, as_json: bool) -> None:
    """Print what a store holds."""
    if as_json:
        owners = [owner._asdict() for owner in facts.owners]
        say_json({**asdict(facts), "owners": owners})
        return
    say(f"store      {facts.path}, version {facts.version}, identity {facts.identity}")
    say(f"size       {size(facts.size)}{'' if facts.free is None else f', of which {size(facts.free)} are free'}")
    jobs = ", ".join(f"{count:,} {spaced(state)}" for state, count in facts.jobs.items() if count)
    say(f"jobs       {jobs or 'none'}")
    left = facts.unfinished_runs
    say(f"runs       {facts.runs:,}, of which {left:,} {'has' if left == 1 else 'have'} not ended")
    say(f"schedules  {facts.schedules:,}")
    for owner in facts.owners:
        where = f" on {owner.host}" if owner.host else ""
        say(f"scheduler  {owner.name}, process {owner.pid}{where}, since {moment(owner.started)}")
    if not facts.owners:
        say("scheduler  none works on it now")
