"""What a store holds, for ``lifecycle store show``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ...scheduler._words import moment, spaced
from ._lines import Lines

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
    lines = Lines()
    if as_json:
        owners = [dict(zip(("name", "pid", "started"), owner, strict=True)) for owner in facts.owners]
        lines.write(json.dumps({**asdict(facts), "owners": owners}))
        return
    lines.write(f"store      {facts.path}, version {facts.version}")
    lines.write(f"size       {size(facts.size)}, of which {size(facts.free)} are free")
    jobs = ", ".join(f"{count:,} {spaced(state)}" for state, count in facts.jobs.items() if count)
    lines.write(f"jobs       {jobs or 'none'}")
    lines.write(f"runs       {facts.runs:,}, of which {facts.unfinished_runs:,} have not ended")
    lines.write(f"schedules  {facts.schedules:,}")
    for name, pid, started in facts.owners:
        lines.write(f"scheduler  {name}, process {pid}, since {moment(started)}")
    if not facts.owners:
        lines.write("scheduler  none works on it now")
