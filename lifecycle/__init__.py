"""Owners for everything that lives in an asyncio service: a scope stops, a group joins, a manager drains its tasks.

What annotations need beside these names is in `lifecycle.types`, what watches tasks and timers in `lifecycle.hooks`.
"""

from ._face import face

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]


def _every_home() -> None:
    """Never called: the imports that tools which freeze programs follow, as they cannot follow those of `face`."""
    from . import _lender, _snapshot
    from ._connect import attempt, connect, dial, stages, state, statistics
    from ._ground import closing, errors
    from ._group import completions, gather, group, statistics
    from ._kept import keep, kept, records, state
    from ._limits import bounds, limiter
    from ._mailbox import broadcast, mailbox, statistics, subscription
    from ._manager import hooks, manager, overdue, records
    from ._pair import ends, link, pair, statistics
    from ._pool import loans, pool, statistics
    from ._registry import cached, leases, lifetimes, registrations, registry, statistics
    from ._retry import attempts, failure, retry
    from ._run import background, run
    from ._scope import resource, scope, statistics
    from ._serve import connections, serve, server, stream
    from ._task import handle
    from ._timers import cron, records, schedule, timer, timers
