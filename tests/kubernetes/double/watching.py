"""Watches: the events from a version on, one line each, until the time is up, the client leaves, or a fault says so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import web

from .faults import Break, Slow, reset
from .kinds import JOBS, PODS, Kind
from .selectors import Selector
from .statuses import Object, Refused, encoded, gone
from .storage import Change, Record, Storage

#: What a watcher may be behind; one that is further behind is ended, as the real server does.
BEHIND = 100_000

Shape = Callable[[str, Record], bytes]


class Watch:
    """One watch.

    Args:
        storage: of what.
        kind, selector: of which objects.
        version: from which version on; None for all that is there, and what comes after.
        shape: makes the line of an event.
    """

    def __init__(self, storage: Storage, kind: Kind, selector: Selector, version: int | None, shape: Shape) -> None:
        self._storage = storage
        self._selector = selector
        self._shape = shape
        self._lines: deque[bytes] = deque()
        self._news = asyncio.Event()
        self.kind = kind
        self.ends = False
        self._floor = version or 0  # a version that is still to come is waited for
        table = storage.tables[kind]
        if version is None:
            for record in table.now(selector.namespace):
                if selector.takes(record):
                    self._add("ADDED", record)
        else:
            if version < storage.compacted:
                raise gone(f"too old resource version: {version} ({storage.compacted})")
            for change in table.since(version):
                self._take(change)
        self._leave = table.watch(selector.bucket, self._take)

    def close(self) -> None:
        """Watch no more."""
        self._leave()

    def fail(self, refused: Refused) -> None:
        """Tell of an error, and end."""
        self._lines.append(b'{"type":"ERROR","object":%s}\n' % refused.encoded())
        self.ends = True
        self._news.set()

    def end(self) -> None:
        """End."""
        self.ends = True
        self._news.set()

    def bookmark(self) -> None:
        """Say up to which version all has been told."""
        blank: Object = {"kind": self.kind.name, "apiVersion": self.kind.api_version}
        blank["metadata"] = {"resourceVersion": str(self._storage.version), "creationTimestamp": None}
        if self.kind is JOBS:
            blank["spec"] = {"template": {"metadata": {"creationTimestamp": None}, "spec": {"containers": None}}}
        elif self.kind is PODS:
            blank["spec"] = {"containers": None}
        if self.kind.status:
            blank["status"] = {}
        self._lines.append(b'{"type":"BOOKMARK","object":%s}\n' % encoded(blank))
        self._news.set()

    async def next(self, until: float | None) -> list[bytes]:
        """Wait for lines, until a time of the loop's clock; return those that are there."""
        if not self._lines and not self.ends:
            try:
                async with asyncio.timeout_at(until):
                    await self._news.wait()
            except TimeoutError:
                pass
        self._news.clear()
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def _take(self, change: Change) -> None:
        if change.version <= self._floor:
            return
        was = change.before is not None and self._selector.takes(change.before)
        fits = not change.gone and self._selector.takes(change.after)
        if fits:
            self._add("MODIFIED" if was else "ADDED", change.after)
        elif was:
            last = change.after
            if not change.gone:  # it is there, but no longer among what is watched: it is shown as it was
                shown = change.before.copy() if change.before is not None else last.copy()
                shown["metadata"]["resourceVersion"] = str(change.version)
                last = Record(self.kind, shown)
            self._add("DELETED", last)

    def _add(self, word: str, record: Record) -> None:
        self._lines.append(self._shape(word, record))
        if len(self._lines) > BEHIND:
            self.ends = True
        self._news.set()


class Sender:
    """Writes the lines of one watch, and does to them what its faults say."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse, actions: list[Any]) -> None:
        self._request = request
        self._response = response
        self._break = next((each for each in actions if isinstance(each, Break)), None)
        self._slow = next((each.seconds for each in actions if isinstance(each, Slow)), 0.0)
        self._sent = 0

    async def send(self, lines: list[bytes]) -> bool:
        """Send lines; return whether the watch goes on."""
        if self._break is None and not self._slow:
            await self._response.write(b"".join(lines))
            return True
        for line in lines:
            if self._slow:
                await asyncio.sleep(self._slow)
            if (
                self._break is not None
                and self._sent >= self._break.after
                and not await self._fail(self._break.how, line)
            ):
                return False
            await self._response.write(line)
            self._sent += 1
        return True

    async def begin(self) -> bool:
        """Return whether the watch begins at all."""
        fault = self._break
        return fault is None or fault.after > 0 or fault.how in ("cut", "garbage") or await self._fail(fault.how, b"")

    async def _fail(self, how: str, line: bytes) -> bool:
        """Let it go wrong; return whether the watch goes on."""
        self._break = None
        if how == "silent":
            await asyncio.Event().wait()
        elif how == "cut":
            await self._response.write(line[: len(line) // 2])
            reset(self._request.transport)
        elif how == "reset":
            reset(self._request.transport)
        elif how == "garbage":
            await self._response.write(b'{"type":"ADDED","object":{"kind":,\n')
            return True
        elif how in ("gone", "error"):
            refused = gone("too old resource version") if how == "gone" else Refused(500, "etcdserver: leader changed")
            await self._response.write(b'{"type":"ERROR","object":%s}\n' % refused.encoded())
        return False


async def stream(
    request: web.BaseRequest,
    watch: Watch,
    actions: list[Any],
    *,
    seconds: float | None,
    bookmarks: Callable[[], float] | None,
    watches: dict[Watch, None],
) -> web.StreamResponse:
    """Send a watch until it is over.

    Args:
        seconds: until the server ends it; None for ever.
        bookmarks: returns how many seconds pass between two bookmarks; None for no bookmarks.
        watches: where the watch is kept while it goes on.
    """
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    loop = asyncio.get_running_loop()
    ends = None if seconds is None else loop.time() + seconds
    watches[watch] = None
    try:
        await response.prepare(request)
        sender = Sender(request, response, actions)
        going = await sender.begin()
        marked = loop.time()
        while going:
            mark = marked + bookmarks() if bookmarks is not None else None
            lines = await watch.next(min((each for each in (ends, mark) if each is not None), default=None))
            if lines:
                going = await sender.send(lines)
            now = loop.time()
            if mark is not None and now >= mark and going:
                marked = now
                watch.bookmark()
            over = ends is not None and now >= ends
            if going and (over or watch.ends):
                if over and bookmarks is not None:
                    watch.bookmark()
                await sender.send(await watch.next(now))
                going = False
        if request.transport is not None and not request.transport.is_closing():
            await response.write_eof()
    except ConnectionError:
        pass
    finally:
        watches.pop(watch, None)
        watch.close()
    return response
