"""How many connections this process can have without taking the files and children from everything else in it."""

from __future__ import annotations

import contextlib


def affordable(connections: int) -> int:
    """Return *connections*, or less where these would take more than half of the process's descriptors."""
    with contextlib.suppress(ImportError):  # where there is no such bound
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY:
            return min(connections, max(1, most // 2))
    return connections
