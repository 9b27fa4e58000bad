"""StoreWatch: what a scheduler says while its store cannot be written, and when it can again."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from .._ground.events import Event

if TYPE_CHECKING:
    from .._store.patience import Trouble
    from .feed import Feed

logger = logging.getLogger("lifecycle.scheduler")

ADVICE = "what has ended is recorded as soon as it can be; new work is refused meanwhile"


class StoreWatch:
    """Logs and publishes that the store waits, as often as the store tells it.

    Args:
        feed: publishes it.
        owner: the scheduler's name, for logs.
    """

    def __init__(self, feed: Feed, owner: str) -> None:
        self._feed = feed
        self._owner = owner
        self._since: float | None = None

    @property
    def waiting(self) -> float:
        """Seconds for which the store cannot be written; 0 when it can."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def tell(self, trouble: Trouble) -> None:
        """Say what the store tells."""
        seconds = round(trouble.seconds, 1)
        extra = {"owner": self._owner, "reason": trouble.reason, "seconds": seconds}
        if trouble.over:
            self._since = None
            logger.warning("store can be written again", extra=extra)
            self._feed.publish(Event("store_recovered", data={"seconds": seconds}))
            return
        self._since = time.monotonic() - trouble.seconds
        logger.warning("store cannot be written", extra={**extra, "advice": ADVICE})
        self._feed.publish(Event("store_waiting", data={"reason": trouble.reason, "seconds": seconds}))
