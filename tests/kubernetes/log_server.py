"""The part of a kubelet that API servers ask for logs: an HTTPS server on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from .logs import Log, Question

if TYPE_CHECKING:
    from .kubelet import Kubelet
    from .pod import Pod

Key = tuple[str, str]


class LogServer:
    """The server, and what it is told to do wrong.

    Args:
        node: whose pods it knows.

    Attributes:
        port: where it listens, while it serves.
        paused: pods whose logs are not handed out, with an event that is set when they are again; None is for all.
        breaks: after how many lines each of the next requests for the log of a pod is cut.
    """

    def __init__(self, node: Kubelet) -> None:
        self._node = node
        self.port = 0
        self.paused: dict[Key | None, asyncio.Event] = {}
        self.breaks: dict[Key, list[int]] = {}
        self._streams: dict[int, tuple[Key, asyncio.Event, web.Request]] = {}

    @contextlib.asynccontextmanager
    async def serve(self, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
        """Serve for the time of the block, which gets the port."""
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._answer)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        # Not 0: that means for ever, and whoever follows a log that is paused would hold us.
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            self.port = runner.addresses[0][1]
            yield self.port
        finally:
            await runner.cleanup()

    def cut(self, key: Key) -> int:
        """Cut all streams of the log of a pod in the middle of their next line; return how many there are."""
        cut = [event for it, event, _ in self._streams.values() if it == key]
        for event in cut:
            event.set()
        return len(cut)

    def close_streams(self) -> None:
        """Break all connections."""
        for _, _, request in list(self._streams.values()):
            if request.transport is not None:
                request.transport.abort()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Hand out the log of a container."""
        if not self._node.online.is_set():
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        key = (request.match_info["namespace"], request.match_info["pod"])
        name = request.match_info["container"]
        if (pod := self._node.pods.get(key)) is None:
            return web.Response(status=404, text=f'pod "{key[1]}" does not exist\n')
        try:
            question = Question.read(request.query)
            log = self._find(pod, name, previous=question.previous)
        except (LookupError, ValueError) as error:
            return web.Response(status=400, text=f"{error.args[0]}\n")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        cut = asyncio.Event()
        breaks = self.breaks.get(key)
        left = breaks.pop(0) if breaks else -1
        self._streams[id(request)] = key, cut, request
        try:
            await self._stream(request, response, question.answer(log), key, cut, left)
        finally:
            del self._streams[id(request)]
        return response

    async def _stream(
        self,
        request: web.Request,
        response: web.StreamResponse,
        lines: AsyncGenerator[bytes, None],
        key: Key,
        cut: asyncio.Event,
        left: int,
    ) -> None:
        """Send lines until there are no more, or until the connection is to be broken."""
        buffer = bytearray()  # a log of many lines is not that many packets
        cutting = asyncio.ensure_future(cut.wait())
        line: asyncio.Task[bytes] | None = None
        try:
            while True:
                await self._wait_while_paused(key)
                line = asyncio.create_task(_next(lines))
                await asyncio.sleep(0)  # a line that is there already is there after a step
                if not line.done() and buffer:
                    await response.write(bytes(buffer))
                    buffer.clear()
                await asyncio.wait([line, cutting], return_when=asyncio.FIRST_COMPLETED)
                await self._wait_while_paused(key)
                text = line.result() if line.done() else b""
                if cut.is_set() or left == 0:
                    await response.write(bytes(buffer) + text[: len(text) // 2])
                    assert request.transport is not None
                    request.transport.close()  # what was written goes out; the end of the answer does not
                    return
                if not text:
                    break
                left -= 1
                buffer += text
                if len(buffer) > 64 * 1024:
                    await response.write(bytes(buffer))
                    buffer.clear()
            await response.write(bytes(buffer))
            await response.write_eof()
        except ConnectionError:
            pass  # who asked has left
        finally:
            running = [cutting, *([line] if line is not None else [])]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await lines.aclose()

    async def _wait_while_paused(self, key: Key) -> None:
        for it in (None, key):
            if (event := self.paused.get(it)) is not None:
                await event.wait()

    def _find(self, pod: Pod, name: str, *, previous: bool) -> Log:
        """Return the log of a container.

        Raises:
            LookupError: there is none, in the words of a kubelet.
        """
        states = {it.name: it for it in (*pod.inits, *pod.containers)}
        if name not in states:
            raise LookupError(f'container "{name}" in pod "{pod.key[1]}" is not available')
        if previous:
            if name not in pod.previous:
                raise LookupError(f'previous terminated container "{name}" in pod "{pod.key[1]}" not found')
            return pod.previous[name]
        if name not in pod.logs or ("waiting" in states[name].state and not states[name].last):
            reason = states[name].state.get("waiting", {}).get("reason", "ContainerCreating")
            raise LookupError(f'container "{name}" in pod "{pod.key[1]}" is waiting to start: {reason}')
        return pod.logs[name]


async def _next(lines: AsyncGenerator[bytes, None]) -> bytes:
    """Return the next line, nothing at the end."""
    return await anext(lines, b"")
