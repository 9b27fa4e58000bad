"""A real browser, for what only one can show: chromium without a window, which prints the page that it has come to."""

from __future__ import annotations

import asyncio
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no browser: install Debian's chromium (it is in .ci/debian-packages)"
)

QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-features=LocalNetworkAccessChecks "
    "--virtual-time-budget=10000 --dump-dom"
)


async def visit(url: str, profile: Path) -> str:
    """Return what a browser shows at *url*, when its scripts have come to rest; names below ``example`` lead here."""
    assert CHROMIUM is not None
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    command = [CHROMIUM, *QUIET.split(), rules, f"--user-data-dir={profile}", url]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60.0):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode()


@contextmanager
def site(page: str) -> Iterator[int]:
    """Serve a page at every path of a port, and return the port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
