"""The double as a process of its own, to be killed and started again.

``python -m tests.kubernetes.double`` prints one line of JSON, with the address, and runs until it is told to end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from pathlib import Path

from .double import api_double
from .manners import MANNERS


async def serve(asked: argparse.Namespace) -> None:
    """Run a double until a signal says that it is enough."""
    enough = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, enough.set)
    double = api_double(
        tls=asked.tls,
        port=asked.port,
        manner=MANNERS[asked.manner],
        strict=not asked.lenient,
        checked=not asked.unchecked,
        journal=asked.journal,
        history=asked.history,
        bookmark_interval=asked.bookmark_interval,
        backoff=asked.backoff,
    )
    async with double as it:
        if asked.token:
            it.access.revoke(it.token)
            it.token = it.access.add_token(asked.token)
        for token in asked.also:
            it.access.add_token(token)
        it.serving.control = it.control
        if asked.kubeconfig is not None:
            it.kubeconfig(asked.kubeconfig)
        print(json.dumps({"url": it.url, "token": it.token}), flush=True)
        await enough.wait()


def main() -> None:
    """Read what is asked for, and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes.double", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0)
    add("--tls", action="store_true")
    add("--token", help="the token of the administrator; by default a new one")
    add("--also", nargs="*", default=(), help="further tokens that are taken, as those of before a restart")
    add("--kubeconfig", type=Path, help="write a configuration for clients there")
    add("--journal", type=Path, help="a file that keeps all objects; without one they are lost with the process")
    add("--history", type=int, default=20_000, help="how many changes of each kind can be watched from at least")
    add("--manner", choices=sorted(MANNERS), default="1.32")
    add("--lenient", action="store_true", help="drop unknown fields as the real server does")
    add("--unchecked", action="store_true", help="do not hold objects to the official schemas")
    add("--bookmark-interval", type=float, default=60.0)
    add("--backoff", type=float, default=0.0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
