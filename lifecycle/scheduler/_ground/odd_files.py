"""What stands where a file is expected and is none: reading it may wait for ever, or never end."""

from __future__ import annotations

import os
import stat
from typing import Final

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def odd_kind(path: str | os.PathLike[str]) -> str | None:
    """Return what is at *path* instead of a file; None where a file is, or nothing.

    Raises:
        OSError: it cannot be looked at, for another reason than that it is not there.
        ValueError: this can be no path.
    """
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except FileNotFoundError:
        return None
