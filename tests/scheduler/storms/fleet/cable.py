"""The cable between a client and a server: it may be slow, torn, or dead without anybody noticing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable

RESET = struct.pack("ii", 1, 0)
"""To linger for no time: a connection that is closed so is reset, with nothing of it left to wait for."""


class Cable:
    """Carries connections to a server's Unix socket; a thread of its own moves the bytes.

    Args:
        target: the path of the server's socket.
        host: where it listens.
        delay: seconds that each byte is on its way, in each direction.

    Attributes:
        port: where it listens.
        carried: how many connections it has carried so far.
    """

    def __init__(self, target: str, host: str = "127.0.0.1", delay: float = 0.0) -> None:
        self.host, self.delay, self.carried = host, delay, 0
        self._target = target
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self._torn = False
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._lines: set[Line] = set()
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)
        self._thread.start()

    def tear(self) -> None:
        """Reset all connections, and refuse new ones until it is mended."""
        self._do(self._tear)

    def silence(self) -> None:
        """Let nothing through any more, in neither direction, and close nothing, until it is mended."""
        self._do(self._flows.clear)

    def forget(self) -> None:
        """Lose the server's side of all connections without a word to the clients: these stay open, and dead."""
        self._do(self._forget)

    def mend(self) -> None:
        """Let everything through again that has been held back, and new connections."""
        self._do(self._mend)

    def close(self) -> None:
        """End it, with all connections."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()

    # In its thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._listener.setblocking(False)
        accepting = self._loop.create_task(self._accept())
        self._loop.run_forever()
        accepting.cancel()
        self._tear()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            if self._torn:
                _linger(client)
                client.close()
                continue
            client.setblocking(False)
            line = Line(client, self)
            self._lines.add(line)
            line.task = self._loop.create_task(line.carry(self._target))
            line.task.add_done_callback(lambda _, line=line: self._lines.discard(line))  # type: ignore[misc]
            self.carried += 1

    async def flow(self) -> None:
        """Wait for as long as it is silent."""
        await self._flows.wait()

    def _tear(self) -> None:
        self._torn = True
        for line in list(self._lines):
            line.tear()

    def _forget(self) -> None:
        for line in self._lines:
            line.forget()

    def _mend(self) -> None:
        self._torn = False
        self._flows.set()

    def _do(self, what: Callable[[], object]) -> None:
        done = threading.Event()

        def act() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(act)
        assert done.wait(10)


class Line:
    """One connection through the cable."""

    def __init__(self, client: socket.socket, cable: Cable) -> None:
        self.task: asyncio.Task[None] | None = None
        self._client = client
        self._server: socket.socket | None = None
        self._cable = cable
        self._dead = False

    async def carry(self, target: str) -> None:
        """Carry bytes to and fro until one side has ended."""
        try:
            await self._cable.flow()
            self._server = socket.socket(socket.AF_UNIX)
            self._server.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(self._server, target)
            ways = [
                loop.create_task(self._pump(self._client, self._server)),
                loop.create_task(self._pump(self._server, self._client)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if self._dead:
                    await asyncio.Event().wait()
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._client.close()
            if self._server is not None:
                self._server.close()

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        on_the_way: deque[tuple[float, bytes]] = deque()
        arrived = asyncio.Event()

        async def deliver() -> None:
            while True:
                await arrived.wait()
                arrived.clear()
                while on_the_way:
                    due, data = on_the_way.popleft()
                    await asyncio.sleep(max(0.0, due - loop.time()))
                    await self._cable.flow()
                    if not data:
                        return
                    await loop.sock_sendall(sink, data)

        delivering = loop.create_task(deliver())
        try:
            data = b" "
            while data and not delivering.done():
                data = await loop.sock_recv(source, 65_536)
                on_the_way.append((loop.time() + self._cable.delay, data))
                arrived.set()
            await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    def tear(self) -> None:
        """Reset the client's side, and end the server's; both are closed by the task that carries them."""
        _linger(self._client)
        if self.task is not None:
            self.task.cancel()

    def forget(self) -> None:
        """End the server's side alone."""
        self._dead = True
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)


def _linger(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
