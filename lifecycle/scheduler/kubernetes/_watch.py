"""One kind of object in one namespace, kept up to date: listed once, then watched from where the list was.

The rules are those of the API ("Efficient detection of changes"): a watch goes on from the last version that it has
seen, bookmarks included; where the server has forgotten that version it answers 410, and everything is listed anew,
with growing pauses if that happens again and again. A watch that is silent for too long is not trusted: something
between here and the server may have dropped it, so everything is listed, and it is begun anew.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio

from lifecycle import Retry

from ._client import Client, ClientStale, NotConnected, NotTrusted
from ._faults import GONE, ApiError, api_error, next_page, page_of
from ._lines import lines_of
from ._shape import is_object

PAGE: Final = 500
"""Objects that are asked for at once."""

SILENCE: Final = 75.0
"""Seconds without a word after which a watch is not trusted; bookmarks come about each minute."""

LASTS: Final = (240, 300)
"""Seconds after which the server ends a watch by itself, at random between these: not all of them at once."""

SETTLED: Final = 5.0
"""Seconds for which a watch has to hold before the pauses begin anew."""

SHORTEST: Final = 1.0
"""Seconds that a watch has to last to be begun anew at once: an empty answer is a proper end as well."""

_PAUSES: Final = Retry(backoff=(0.2, 10.0))
_LONG: Final = Retry(backoff=(0.2, 30.0))
"""Where everything has to be listed again each time."""

_SHORT: Final = Retry(backoff=(0.2, 2.0))
"""Where there is no server: nobody is troubled by asking again soon."""

Objects = Mapping[str, Mapping[str, Any]]


class Watch:
    """Keeps one kind of object in one namespace up to date.

    Args:
        client: of the cluster.
        path: the collection's.
        selector: of the labels.
        replace: called with all objects by name when they were listed.
        change: called with the kind of a change (``ADDED``, ``MODIFIED``, ``DELETED``) and the object.
        tell: called with an error when it meets one, and with None when it is well again.

    Attributes:
        lists: how often everything was listed.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        selector: str,
        *,
        replace: Callable[[Objects], object],
        change: Callable[[str, Mapping[str, Any]], object],
        tell: Callable[[Exception | None], object],
    ) -> None:
        self.lists = 0
        self._client = client
        self._path = path
        self._selector = selector
        self._replace = replace
        self._change = change
        self._tell = tell
        self._version = ""  # that was seen last, bookmarks included
        self._failures = 0  # since it was well for some time

    async def run(self) -> None:
        """List and watch, again and again; no error of the network or of the server ends it.

        Cancellation: ends it, and its stream.

        Raises:
            ClientStale: the cluster is reached in another way now.
        """
        while True:
            try:
                await self._list()
                await self._watch()
            except ClientStale:
                raise
            except (ApiError, OSError) as error:
                await self._pause(error)

    async def _list(self) -> None:
        """Hand over all objects, page by page, and note the version at which they were so."""
        self.lists += 1
        objects: dict[str, Mapping[str, Any]] = {}
        query: dict[str, str | int] = {"labelSelector": self._selector, "limit": PAGE}
        while True:
            page = await self._client.request("GET", self._path, query=query)
            items, meta = page_of(page, self._path)
            objects |= {item["metadata"]["name"]: item for item in items}
            if not meta.get("continue"):
                break
            query["continue"] = next_page(query, meta, self._path)
        self._version = str(meta.get("resourceVersion") or "")
        self._replace(objects)
        self._tell(None)

    async def _watch(self) -> None:
        """Follow changes from there on; return when everything has to be listed again because it was silent."""
        while True:
            began = anyio.current_time()
            try:
                await self._watch_once()
                if anyio.current_time() - began < SHORTEST:  # a proper end, but not that of a server which is well
                    await self._pause(None)
            except ClientStale:
                raise
            except TimeoutError:
                return
            except (ApiError, OSError) as error:
                if isinstance(error, ApiError) and error.status == GONE:
                    raise
                if anyio.current_time() - began >= SETTLED:
                    self._failures = 0
                await self._pause(error)  # and go on from there: what was missed meanwhile comes then

    async def _watch_once(self) -> None:
        """Follow changes until the server ends the watch."""
        query: dict[str, str | int] = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": random.randint(*LASTS),
        }
        began = anyio.current_time()
        async with self._client.stream(self._path, query, silence=SILENCE) as pieces:
            self._tell(None)
            async for line in lines_of(pieces):
                if not line.strip():
                    continue
                self._take(line)
                if self._failures and anyio.current_time() - began >= SETTLED:
                    self._failures = 0

    def _take(self, line: bytes) -> None:
        """Hand one change over, and note its version: also of a stream that breaks it is not asked for again."""
        try:
            kind, changed, version = _read(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConnectionError(f"watch of {self._path}: not an event: {line[:80]!r}") from error
        if kind == "ERROR":
            raise api_error(f"watch of {self._path}", changed["code"], changed)
        if kind != "BOOKMARK":
            self._change(kind, changed)
        self._version = version or self._version

    async def _pause(self, error: Exception | None) -> None:
        self._failures += 1
        gone = isinstance(error, ApiError) and error.status == GONE
        if error is not None and not gone:
            self._tell(error)
        after = error.retry_after if isinstance(error, ApiError) else None
        nobody = isinstance(error, NotConnected) and not isinstance(error, NotTrusted)
        pauses = _SHORT if nobody else _LONG if gone else _PAUSES
        await anyio.sleep(max(pauses.pause(self._failures), after or 0.0))


def _read(line: bytes) -> tuple[str, Mapping[str, Any], str]:
    """Return what an event is, of which object, and its version.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none; a proxy has said something.
    """
    event = json.loads(line)
    kind, changed = event["type"], event["object"]
    if kind == "ERROR":
        return kind, {**changed, "code": int(changed.get("code") or 500)}, ""
    meta = changed["metadata"]
    if kind != "BOOKMARK" and not is_object(changed):
        raise TypeError("not an object")
    return str(kind), changed, str(meta.get("resourceVersion") or "")
