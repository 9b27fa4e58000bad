"""The call graph of asyncio: told who waits for which of our tasks, which asyncio sees only of its own.

Since Python 3.14 ``asyncio.print_call_graph`` shows it, and ``python -m asyncio pstree`` that of another process.
"""

from __future__ import annotations

import sys
from asyncio import Task
from typing import Any

#: Whether there is one: asked before each call, so that nothing is spent where there is none.
EXISTS = sys.version_info >= (3, 14)

if sys.version_info >= (3, 14):
    from asyncio import future_add_to_awaited_by as show_awaited
    from asyncio import future_discard_from_awaited_by as hide_awaited
else:

    def show_awaited(awaited: Task[Any], waiter: Task[Any], /) -> None:
        """Note that *waiter* waits for *awaited*, which keeps it until that is taken back."""

    def hide_awaited(awaited: Task[Any], waiter: Task[Any], /) -> None:
        """Take back what `show_awaited` was told."""
