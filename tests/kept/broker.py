"""A server that the tests kill: it writes each message down before it acknowledges it.

Run as a script, with a port and a file. It may be told to hang up at once on whoever connects.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path


async def main(port: int, file: Path, *, hangs_up: bool) -> None:
    """Serve until killed."""
    log = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if hangs_up:
                os.write(log, b"connect\n")
                writer.close()
                return
            while line := await reader.readline():
                if line.endswith(b"\n"):
                    os.write(log, line)
                    writer.write(line)
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), hangs_up=sys.argv[3:] == ["hangs up"]))
