"""Public names show the face that they are imported from, not the file that they are written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def show_at(face: Mapping[str, Any], names: Iterable[str]) -> None:
    """Let tracebacks, pages and pickles call what is in *face* under these *names* by the name of the face.

    ``inspect`` must not take the line of a class for one of the face's file; Python forgets it, unless there is a
    metaclass.
    """
    for name in names:
        face[name].__module__ = face["__name__"]
        if "__firstlineno__" in vars(face[name]):
            del face[name].__firstlineno__
