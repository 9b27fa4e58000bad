"""The control server beside the same commands on a bare asyncio server: throughput, memory, latency under churn.

    python -m benchmarks.serve [--rounds 5] [--seconds 2]

The bare server is what people write by hand: ``asyncio.start_server`` and one loop per connection that reads, answers
and writes, without a reader of its own, limits on output, timeouts, a drain, or anything that says who owns what.
Parser, commands and encoder are the same. Each server is a process of its own, and redis-benchmark drives them in turn.
The load generator takes a core of its own, so throughput is measured twice: as requests per second, and as the
processor time that the server took per request, which says more on a machine that others use as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import gc
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks._sizes import sized
from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.control import ControlServer, Limits
from lifecycle.scheduler.control._session import Session

GOAL = 0.8
TICK = 0.01
"""The least processor time that a process is seen to take, in seconds."""
LOADS = sized([(50, 1), (50, 16), (1_000, 1), (1_000, 16)], [(10, 1), (10, 16)])
IDLE = sized(1_000, 20)
CROWD = sized(1_000, 20)
CROWDED = sized(3, 1)
"""Seconds until the whole crowd is about."""


# The servers, each in a process of its own


def ready(port: int) -> None:
    """Tell the port, and keep what has been loaded out of the garbage collector's way, as ``lifecycle serve`` does."""
    gc.collect()
    gc.freeze()
    print(port, flush=True)


async def serve_ours() -> None:
    """Run the control server until the process is ended."""
    async with Scheduler() as scheduler, ControlServer(scheduler, port=0) as control:
        ready(control.port)
        await asyncio.Event().wait()


class Peer:
    """What a command needs of a stream."""

    peer = "bare"
    closed = False
    unsent = 0


async def serve_bare() -> None:
    """Run the same commands on a bare server until the process is ended."""
    scheduler = Scheduler()
    commands: Any = ControlServer(scheduler, port=0)
    commands.limits = Limits()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session: Any = Session(1, commands, Peer())  # type: ignore[arg-type]
        try:
            while data := await reader.read(65_536):
                answers = []
                for words in session._parser.feed(data):
                    answer = session._do(words)
                    answers.append(answer if answer is not None else await session._do_waiting(words))
                writer.write(b"".join(answers))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1_024)
    ready(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


SERVERS = {"ours": serve_ours, "bare": serve_bare}


@dataclass
class Running:
    """A server's process."""

    port: int
    process: psutil.Process

    def spent(self) -> float:
        """Return the processor time that it has taken, in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def running(which: str, loop: str) -> Iterator[Running]:
    """Run a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serve", "--serve", which, "--loop", loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Running(int(process.stdout.readline()), psutil.Process(process.pid))
        finally:
            process.terminate()


# Throughput


def drive(server: Running, clients: int, pipeline: int, requests: int) -> tuple[float, float]:
    """Return requests per second, and microseconds of the server's processor time per request."""
    command = ["redis-benchmark", "-p", str(server.port), "-t", "ping_mbulk", "--csv"]
    command += ["-n", str(requests), "-c", str(clients), "-P", str(pipeline)]
    before = server.spent()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = max(server.spent() - before, TICK)
    (row,) = [row for row in csv.DictReader(output.splitlines()) if row["test"] == "PING_MBULK"]
    return float(row["rps"]), spent / requests * 1e6


def throughput(servers: dict[str, Running], rounds: int, seconds: float) -> bool:
    """Print both measures for every load; return whether the goal was reached in processor time everywhere."""
    print(f"  {'':24} {'ours/s':>10} {'bare/s':>10} {'ratio':>7} {'ours us':>9} {'bare us':>9} {'ratio':>7}")
    good = True
    for clients, pipeline in LOADS:
        requests = int(drive(servers["bare"], clients, pipeline, sized(10_000, 1_000))[0] * seconds)
        rates: list[float] = []
        costs: list[float] = []
        seen: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
        for _ in range(rounds):
            for which, server in servers.items():
                seen[which].append(drive(server, clients, pipeline, requests))
            rates.append(seen["ours"][-1][0] / seen["bare"][-1][0])
            costs.append(seen["bare"][-1][1] / seen["ours"][-1][1])
        ours, bare = ([statistics.median(column) for column in zip(*seen[which], strict=True)] for which in seen)
        rate, cost = statistics.median(rates), statistics.median(costs)
        good = good and cost >= GOAL
        verdict = "reached" if cost >= GOAL else "missed"
        print(
            f"  {f'{clients:,} clients, -P {pipeline}':24} {ours[0]:>10,.0f} {bare[0]:>10,.0f} {rate:>7.2f} "
            f"{ours[1]:>9.2f} {bare[1]:>9.2f} {cost:>7.2f} {verdict}"
        )
    return good


# Memory and latency


async def memory(server: Running) -> float:
    """Return the bytes of resident memory that one idle connection takes."""
    await latencies(server, seconds=0.2)  # whatever is loaded or grown with the first
    before = server.process.memory_info().rss
    clients = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(IDLE)]
    for reader, writer in clients:
        writer.write(b"PING\r\n")
        await reader.readline()
    taken = server.process.memory_info().rss - before
    for _, writer in clients:
        writer.transport.abort()
    await asyncio.sleep(0.5)
    return taken / IDLE


async def latencies(server: Running, seconds: float) -> list[float]:
    """Return how long each of many PINGs took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        writer.write(b"PING\r\n")
        await reader.readline()
        taken.append(time.perf_counter() - begin)
        await asyncio.sleep(0.002)
    writer.transport.abort()
    return taken


async def come_and_go(port: int) -> None:
    """Be a thousand clients, in a process of their own, that connect, ask, stay about a second and leave, for ever."""

    async def client() -> None:
        while True:
            await asyncio.sleep(random.uniform(0.0, 1.0))
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"PING\r\n")
                await reader.readline()
                await asyncio.sleep(random.uniform(0.0, 1.0))
                writer.transport.abort()

    await asyncio.gather(*[client() for _ in range(CROWD)])


def disturbed(server: Running, seconds: float) -> list[float]:
    """Return the same while a thousand clients come and go."""
    command = [sys.executable, "-m", "benchmarks.serve", "--churn", str(server.port)]
    with subprocess.Popen(command) as crowd:
        try:
            time.sleep(CROWDED)
            return asyncio.run(latencies(server, seconds))
        finally:
            crowd.terminate()


def percentile(values: list[float], part: float) -> float:
    """Return the value below which *part* of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def beside(servers: dict[str, Running], seconds: float) -> None:
    """Print memory per idle connection, and latency while a thousand clients come and go."""
    for which, server in servers.items():
        taken = asyncio.run(memory(server))
        calm = asyncio.run(latencies(server, seconds))
        busy = disturbed(server, seconds)
        print(
            f"  {which}: {taken / 1024:.1f} KB per idle connection; PING p50 {percentile(calm, 0.5) * 1e3:.2f} ms, "
            f"p99 {percentile(calm, 0.99) * 1e3:.2f} ms; while {CROWD:,} clients come and go "
            f"p50 {percentile(busy, 0.5) * 1e3:.2f} ms, p99 {percentile(busy, 0.99) * 1e3:.2f} ms"
        )


def main() -> None:
    """Compare the two servers on the chosen loops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=sized(5, 1), help="how often each load is put on each server")
    parser.add_argument("--seconds", type=float, default=sized(2.0, 0.1), help="about how long one load takes")
    parser.add_argument("--loop", choices=["asyncio", "uvloop", "both"], default="asyncio", help="the event loop")
    parser.add_argument("--serve", choices=sorted(SERVERS), help="be one of the servers")
    parser.add_argument("--churn", type=int, metavar="PORT", help="be a thousand clients that come and go")
    options = parser.parse_args()
    if options.churn:
        asyncio.run(come_and_go(options.churn))
        return
    if options.serve:
        serve = SERVERS[options.serve]
        if options.loop == "uvloop":
            import uvloop

            uvloop.run(serve())
        else:
            asyncio.run(serve())
        return
    if shutil.which("redis-benchmark") is None:
        print("redis-benchmark is not installed (Debian: redis-tools); nothing was measured")
        return
    for loop in ["asyncio", "uvloop"] if options.loop == "both" else [options.loop]:
        print(f"== {loop}, {options.rounds} rounds; goal: ratio >= {GOAL}")
        with running("ours", loop) as ours, running("bare", loop) as bare:
            servers = {"ours": ours, "bare": bare}
            beside(servers, options.seconds)  # first: memory is that of fresh processes
            throughput(servers, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
