"""The log of one container: followed from its first line to its last, over streams that break, bounded.

Each line has the time at which it was written, in nanoseconds, and a stream can be asked for what came since a time, in
whole seconds. So after a break the lines of two seconds come again: it is counted which of them were handed on before.
Two, because lines are not quite in the order of their times: a container's two streams are written by two hands. What a
stream ends with is no line unless it has an end: where the server has lost the kubelet, the stream ends as if all were
well, in the midst of a line or of its time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

import anyio

from lifecycle import Retry

from .._ground.text import one_line, shorten
from ._client import Client, ClientStale
from ._faults import FORBIDDEN, NOT_FOUND, ApiError
from ._lines import lines_of

BYTES: Final = 1024 * 1024
"""Bytes of one container's log that are followed; of what comes after only the end is read, when there is one.

Those that are dropped of long lines count: they were read. Of the end, too, no more than these are.
"""

LINE: Final = 8192
"""Bytes of one line that are read; the job's log keeps less."""

TAIL: Final = 50
"""Lines that are read of a log's end: the job's log keeps no more."""

SILENCE: Final = 120.0
"""Seconds without a line after which the stream is begun anew: on some servers it goes dumb on a rotation."""

_SECONDS: Final = 2

_PAUSES: Final = Retry(backoff=(0.2, 3.0))
_TIMED: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d) ?")
_NO_LOG: Final = b"unable to retrieve container logs for "


class ContainerLog:
    """Follows the log of one container of a pod.

    Args:
        namespace: the pod's.
        pod: its name.
        container: the container's name.
        say: gets each line.

    Attributes:
        complete: whether the last line was handed on.
    """

    def __init__(self, namespace: str, pod: str, container: str, say: Callable[[str], None]) -> None:
        self.complete = False
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        self._container = container
        self._say = say
        self._handed: dict[str, Counter[int]] = {}  # the lines of the last two seconds, by their hashes
        self._rest = b""  # what the last stream has ended with, without an end
        self._tailed = False  # whether it was begun with its last lines
        self._bytes = 0
        self._refused = False

    async def follow(self, client: Client, over: Callable[[], bool], tail: int | None = None) -> None:
        """Hand over all lines, and return when there are no more; may be called again, and goes on where it was.

        Cancellation: ends it.

        Args:
            client: of the cluster.
            over: tells whether the container has ended, so that the end of a stream is the end of the log.
            tail: begin with this many of the last lines; None for the first line.
        """
        failures, self._tailed = 0, tail is not None or self._tailed
        while True:
            was_over, before = over(), self._bytes
            try:
                rest = await self._stream(client, tail, follow=not was_over)
            except ClientStale:
                raise
            except ApiError as error:
                if error.status == NOT_FOUND and was_over:
                    self.complete = True
                    return
                if error.status == FORBIDDEN:
                    self._say_refused(error)
                    if was_over:
                        self.complete = True  # nobody waits for a right that may never come
                        return
            except OSError:
                pass
            else:
                if was_over and self._is_whole(rest):
                    self.complete = True
                    return
            if self._bytes >= BYTES:
                await self._read_end(client, over)
                return
            failures = 0 if self._bytes > before else failures + 1
            tail = None if self._handed else tail
            await anyio.sleep(_PAUSES.pause(max(failures, 1)))

    def _say_refused(self, error: ApiError) -> None:
        """Say once that we may not read it: an empty log would look like that of a program that said nothing."""
        if not self._refused:
            self._refused = True
            self._say(f"[{self._container}: no log: {one_line(shorten(str(error), 400))}]")

    async def _read_end(self, client: Client, over: Callable[[], bool]) -> None:
        """Wait for the end of a log of which too much came, and hand over its last lines."""
        self._say(f"[{self._container}: more than {BYTES:,} bytes; the last lines follow at the end]")
        while not over():  # noqa: ASYNC110 (told of by a view, which knows no lines)
            await anyio.sleep(1.0)
        self.complete, self._bytes = True, 0
        try:
            if rest := await self._stream(client, TAIL, follow=False):
                self._take(rest, Counter())
        except (ApiError, OSError):
            self._say(f"[{self._container}: the end of the log cannot be had]")

    async def _stream(self, client: Client, tail: int | None, *, follow: bool) -> bytes:
        """Hand over the lines of one stream, and return what it has ended with that has no end."""
        query: dict[str, str | int] = {"container": self._container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        if tail is not None:
            query["tailLines"] = tail
        if len(self._handed) == _SECONDS or (self._handed and self._tailed):
            query["sinceTime"] = min(self._handed)
        again, rest = self._met_again(), b""
        async with client.stream(self._path, query, silence=SILENCE) as pieces:
            async for line in lines_of(self._within(pieces), longest=LINE, ends=True, dropped=self._count):
                if not line.endswith(b"\n"):
                    rest = line
                    break
                self._take(line[:-1], again)
                if follow and self._bytes >= BYTES:
                    break
        return rest

    async def _within(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces of a stream until it was too much: a single line can be."""
        async for piece in pieces:
            yield piece
            if self._bytes >= BYTES:
                return

    def _count(self, dropped: int) -> None:
        self._bytes += dropped

    def _is_whole(self, rest: bytes) -> bool:
        """Return whether a stream after the container's end had all; its rest is a line if it comes twice."""
        if rest and rest != self._rest:
            self._rest = rest
            return False
        if rest:
            self._take(rest, self._met_again())
        return True

    def _met_again(self) -> Counter[int]:
        """Return the lines that a stream gives once more."""
        return Counter({number: count for lines in self._handed.values() for number, count in lines.items()})

    def _take(self, line: bytes, again: Counter[int]) -> None:
        """Hand a line on unless that was done before."""
        match = _TIMED.match(line)
        if match is None:  # the kubelet's own word
            if not line.startswith(_NO_LOG):
                self._hand_on(line)
            return
        second, number = f"{match[1].decode()}{match[2].decode()}", hash(line)
        if again[number] > 0:
            again[number] -= 1
            return
        if second in self._handed or len(self._handed) < _SECONDS or second > min(self._handed):
            self._handed.setdefault(second, Counter())[number] += 1
            if len(self._handed) > _SECONDS:
                del self._handed[min(self._handed)]
        self._hand_on(line[match.end() :])

    def _hand_on(self, line: bytes) -> None:
        self._bytes += len(line) + 1
        self._say(line.decode("utf-8", "replace").rstrip("\r"))
