"""Clients of clusters, counted: how many are alive, what each request costs, whether one is closed under its user."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock

from lifecycle.scheduler.kubernetes import _client, _host


class Tally:
    """What was counted.

    Attributes:
        alive: how many clients live now.
        most: how many lived at once at most.
        made: how many there were.
        closed_in_use: how often one was closed while a request or a stream of it was open.
        requests: how many requests there were, by method and kind of thing.
    """

    def __init__(self) -> None:
        self.alive = self.most = self.made = self.closed_in_use = 0
        self.requests: Counter[str] = Counter()

    def opened(self) -> None:
        """Count a client."""
        self.made += 1
        self.alive += 1
        self.most = max(self.most, self.alive)

    def asked(self, method: str, path: str, query: Any) -> None:
        """Count a request."""
        if "watch" in (query or {}):
            method = "WATCH"
        elif method == "GET" and path.endswith(("/jobs", "/pods")):
            method = "LIST"
        kind = re.sub(r".*/namespaces/[^/]+/", "", path)
        kind = re.sub(r"/[^/]+", "", kind, count=1)
        self.requests[f"{method} {kind}"] += 1


@contextlib.contextmanager
def counted_clients() -> Iterator[Tally]:
    """Count all clients that are made in the block."""
    tally = Tally()

    class Counted(_client.Client):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._in_use = 0
            self._open = True
            tally.opened()

        async def aclose(self) -> None:
            if self._open:
                self._open = False
                tally.alive -= 1
                tally.closed_in_use += bool(self._in_use)
            await super().aclose()

        @contextlib.asynccontextmanager
        async def _answer(self, request: Any) -> AsyncIterator[Any]:
            tally.asked(request.method, request.path, request.query)
            self._in_use += 1
            try:
                async with super()._answer(request) as answer:
                    yield answer
            finally:
                self._in_use -= 1

    with mock.patch.object(_client, "Client", Counted), mock.patch.object(_host, "Client", Counted):
        yield tally
