"""The log of one container: followed from its first line to its last, over streams that break, bounded.

Each line has the time at which it was written, in nanoseconds, and a stream can be asked for what came since a time, in
whole seconds. So after a break the lines of that second come again: those that were handed on before are known by
their time, and of those of the very last time, by how many there were.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import anyio

from lifecycle import Retry

from ._client import Client, ClientStale
from ._faults import NOT_FOUND, ApiError
from ._lines import lines_of

BYTES: Final = 1024 * 1024
"""Bytes of one container's log that are followed; of what comes after only the end is read, when there is one."""

LINE: Final = 8192
"""Bytes of one line that are read; the job's log keeps less."""

TAIL: Final = 50
"""Lines that are read of a log's end: the job's log keeps no more."""

SILENCE: Final = 120.0
"""Seconds without a line after which the stream is begun anew: on some servers it goes dumb on a rotation."""

_PAUSES: Final = Retry(backoff=(0.2, 10.0))
_TIMED: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d) ?")
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
        self._time = ""  # of the last line that was handed on, sortable
        self._since = ""  # the same, as it is asked for
        self._at_that_time = 0
        self._bytes = 0

    async def follow(self, client: Client, over: Callable[[], bool], tail: int | None = None) -> None:
        """Hand over all lines, and return when there are no more; may be called again, and goes on where it was.

        Cancellation: ends it.

        Args:
            client: of the cluster.
            over: tells whether the container has ended, so that the end of a stream is the end of the log.
            tail: begin with this many of the last lines; None for the first line.
        """
        failures = 0
        while True:
            was_over, before = over(), self._bytes
            try:
                await self._stream(client, tail, follow=not was_over)
            except ClientStale:
                raise
            except ApiError as error:
                if error.status == NOT_FOUND and was_over:
                    self.complete = True
                    return
            except OSError:
                pass
            else:
                if was_over:
                    self.complete = True
                    return
            if self._bytes >= BYTES:
                await self._read_end(client, over)
                return
            failures = 0 if self._bytes > before else failures + 1
            tail = None if self._since else tail
            await anyio.sleep(_PAUSES.pause(max(failures, 1)))

    async def _read_end(self, client: Client, over: Callable[[], bool]) -> None:
        """Wait for the end of a log of which too much came, and hand over its last lines."""
        self._say(f"[{self._container}: more than {BYTES:,} bytes; the last lines follow at the end]")
        while not over():  # noqa: ASYNC110 (told of by a view, which knows no lines)
            await anyio.sleep(1.0)
        self.complete = True
        try:
            await self._stream(client, TAIL, follow=False)
        except (ApiError, OSError):
            self._say(f"[{self._container}: the end of the log cannot be had]")

    async def _stream(self, client: Client, tail: int | None, *, follow: bool) -> None:
        query: dict[str, str | int] = {"container": self._container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        if tail is not None:
            query["tailLines"] = tail
        if self._since:
            query["sinceTime"] = self._since
        seen = 0  # lines of the last time that was handed on, met again
        async with client.stream(self._path, query, silence=SILENCE) as pieces:
            async for line in lines_of(pieces, longest=LINE):
                seen = self._take(line, seen)
                if follow and self._bytes >= BYTES:
                    return

    def _take(self, line: bytes, seen: int) -> int:
        """Hand a line on unless that was done before; return how many lines of the last time were met."""
        match = _TIMED.match(line)
        if match is None:  # the rest of a line that was too long, or the kubelet's own word
            if line.startswith(_NO_LOG):
                return seen
            self._hand_on(line)
            return seen
        time = f"{match[1].decode()}.{(match[2] or b'').decode():0<9}"
        if time < self._time:
            return seen
        if time == self._time:
            seen += 1
            if seen <= self._at_that_time:
                return seen
            self._at_that_time = seen
        else:
            self._time, self._since, self._at_that_time = time, f"{match[1].decode()}{match[3].decode()}", 1
            seen = 1
        self._hand_on(line[match.end() :])
        return seen

    def _hand_on(self, line: bytes) -> None:
        self._bytes += len(line) + 1
        self._say(line.decode("utf-8", "replace").rstrip("\r"))
