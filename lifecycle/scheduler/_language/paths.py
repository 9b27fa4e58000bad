"""Boundary: the paths that a flow may name: those under its own directory, and those that are allowed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .._ground.errors import PathNotAllowed
from .._ground.text import quote


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where the paths of a flow may lead.

    Symbolic links are followed first: a link in the flow's directory does not lead out of it.

    Attributes:
        directory: the flow's directory; relative paths begin there.
        allowed: further directories (or files) that paths may lead to.
    """

    directory: Path
    allowed: tuple[Path, ...] = ()

    def inside(self, path: str | os.PathLike[str], what: str) -> Path:
        """Return *path* as an absolute one.

        Args:
            path: relative to the flow's directory, or absolute.
            what: the key that holds it, for the error.

        Raises:
            PathNotAllowed: it leads out of the flow's directory, to a place that is not allowed.
        """
        full = self.directory / path
        resolved = Path(os.path.realpath(full))
        roots = [Path(os.path.realpath(root)) for root in (self.directory, *self.allowed)]
        if not any(resolved.is_relative_to(root) for root in roots):
            raise PathNotAllowed(
                f"{what}: {quote(os.fspath(path), 100)} leads out of the flow's directory; "
                "name the place in the flow's allow_paths, if that is meant"
            )
        return full
