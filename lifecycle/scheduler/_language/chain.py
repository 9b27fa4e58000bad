"""The chain of files that run each other as subflows: finite, and without a circle."""

from __future__ import annotations

import os
from pathlib import Path

from .._ground.limits import SUBFLOW_DEPTH


def chain_of(path: Path | None, around: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the files that lead to the flow in the file *path*, that one included."""
    return around if path is None else (*around, Path(os.path.realpath(path)))


def chain_problem(chain: tuple[Path, ...], path: Path) -> str | None:
    """Return why a flow at the end of *chain* cannot run the one at *path*, or None."""
    resolved = Path(os.path.realpath(path))
    names = " -> ".join(file.name for file in (*chain, resolved))
    if resolved in chain:
        return f"a flow cannot run itself: {names}"
    if len(chain) > SUBFLOW_DEPTH:
        return f"subflows nested deeper than {SUBFLOW_DEPTH} levels: {names}"
    return None
