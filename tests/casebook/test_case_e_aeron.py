"""Case E, Aeron's cluster client: the asynchronous connect that forgot the subscription it was waiting for.

Attempts in hundreds against a peer process that is slow, loses answers, refuses, answers late and closes in the middle;
awaited, as a block, polled, cancelled and closed at any moment. In the end the peer is asked what it keeps, and this
process what it has. The miniature of the original runs through the very same test, which finds what it forgot.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from lifecycle import ConnectError, Retry, connect, take_snapshot
from lifecycle.types import ConnectAttempt

from .cluster_client import Driver, LeakyConnect, Refused, Script, cluster

#: Seconds for an attempt that waits in vain, and for one that ends by itself, on however busy a machine.
SHORT, LONG = 0.03, 30.0

#: How many attempts go on at the same time.
WIDTH = 20


@pytest.fixture
def peer() -> Iterator[int]:
    """Start the peer, and give its port."""
    script = Path(__file__).with_name("cluster_peer.py")
    process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Each attempt that is made again is logged, as it should be; thousands of them help nobody."""
    logging.getLogger("lifecycle.connect").setLevel(logging.ERROR)
    yield
    logging.getLogger("lifecycle.connect").setLevel(logging.NOTSET)


# Chance


class Case:
    """One attempt: what the peer will do, and what its caller will.

    Attributes:
        script: for the peer, by step.
        timeout: for the attempt.
        leaves_after: seconds after which the caller gives up, None if it does not.
        fine: whether nothing stands in the way of success.
    """

    def __init__(self, chance: random.Random) -> None:
        self.script: Script = {"subscription": {}, "ingress": {}, "response": {}, "conclude": {}}
        step = chance.choice([*self.script, "none", "none"])
        fault = chance.choice(["delay", "late", "lose", "refuse", "cut"])
        self.fine = step == "none" or (step, fault) in HARMLESS or fault == "delay"
        if step != "none":
            self.script[step] = {"delay": chance.uniform(0, 0.005)} if fault == "delay" else {fault: True}
            if fault == "late":
                self.script[step] = {"delay": chance.uniform(SHORT, 3 * SHORT)}
        self.timeout = SHORT if fault in ("late", "lose") and not self.fine else LONG
        self.leaves_after = chance.uniform(0, 0.02) if chance.random() < 0.3 else None
        self.manner = chance.choice(["awaited", "block", "polled"])
        self.retry = chance.choice([None, Retry(attempts=2, backoff=(0.001, 0.002))])


#: Faults that a step cannot have: the driver does not hang up, a connection is refused or it is not.
HARMLESS = {
    ("subscription", "cut"),
    ("ingress", "late"),
    ("ingress", "lose"),
    ("ingress", "cut"),
    ("conclude", "late"),
    ("conclude", "refuse"),
}


# Ours, in all the manners there are


async def run_ours(driver: Driver, case: Case) -> str:
    """Make one attempt; return how it ended."""
    attempt = connect(cluster, driver, case.script, timeout=case.timeout, retry=case.retry, name="cluster")
    use: Callable[[ConnectAttempt[int]], Coroutine[Any, Any, None]]
    use = {"awaited": awaited, "block": block, "polled": polled}[case.manner]
    try:
        if case.leaves_after is None:
            await use(attempt)
        else:
            async with asyncio.timeout(case.leaves_after):
                await use(attempt)
    except ConnectError as error:
        if error.rollback_errors or case.fine:
            raise
        return f"failed in {error.stage}"
    except TimeoutError:
        return "left"
    except OSError:
        if case.leaves_after is None:
            raise
        return "left while it failed"
    return "connected"


async def awaited(attempt: ConnectAttempt[int]) -> None:
    """Await it, and close the connection."""
    await attempt
    await attempt.scope.aclose()
    await attempt.aclose()


async def block(attempt: ConnectAttempt[int]) -> None:
    """Use it for a moment."""
    async with attempt as session:
        assert session > 0
        await asyncio.sleep(0.001)


async def polled(attempt: ConnectAttempt[int]) -> None:
    """Poll it in a duty cycle, and close it whatever happens."""
    try:
        while not attempt.poll():
            await asyncio.sleep(0.001)
        await attempt.scope.aclose()
    finally:
        await attempt.aclose()


# As it was


async def run_leaky(driver: Driver, case: Case) -> str:
    """Make one attempt the way the original did; return how it ended."""
    attempt = LeakyConnect(driver, case.script, case.timeout)
    leaves_at = asyncio.get_running_loop().time() + (case.leaves_after or LONG)
    try:
        while not attempt.poll():
            await asyncio.sleep(0.001)
            if asyncio.get_running_loop().time() > leaves_at:
                return "left"
    except (Refused, OSError) as error:
        return f"failed: {error}"
    finally:
        await attempt.aclose()
    return "connected"


# The test


def here() -> tuple[int, int, str]:
    """Return what this process has: descriptors, tasks, owners."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    owners = "\n".join(f"{node.kind} {node.name} {node.state}" for node in take_snapshot().roots)
    return descriptors, len(asyncio.all_tasks()), owners


async def until_it_rests(driver: Driver, before: tuple[int, int, str]) -> dict[str, int]:
    """Wait until peer and process have come to rest, or some seconds are over; return what the peer keeps."""
    for _ in range(100):
        await asyncio.sleep(0.05)
        kept = await driver.kept()
        if not kept["pending"] and not kept["ingress"] and here() == before:
            break
    return kept


async def make_attempts(
    port: int, count: int, run: Callable[[Driver, Case], Coroutine[Any, Any, str]]
) -> tuple[dict[str, int], Counter[str]]:
    """Make so many attempts; return what the peer keeps in the end, and how they ended."""
    chance = random.Random(count)
    outcomes: Counter[str] = Counter()
    async with Driver.to(port) as driver:
        await driver.kept()
        before = here()
        cases = iter([Case(chance) for _ in range(count)])

        async def worker() -> None:
            for case in cases:
                outcomes[await run(driver, case)] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(WIDTH):
                group.create_task(worker())
        kept = await until_it_rests(driver, before)
        assert here() == before
    return kept, outcomes


def check_ours(port: int, count: int) -> None:
    kept, outcomes = asyncio.run(make_attempts(port, count, run_ours))
    print(outcomes)
    assert kept == {"subscriptions": 0, "pending": 0, "ingress": 0, "sessions": 0}
    stages = {"failed in egress", "failed in ingress", "failed in response", "failed in conclude"}
    assert {"connected", "left", *stages} <= set(outcomes)


def test_no_attempt_leaves_anything_at_the_peer_or_here(peer: int) -> None:
    """Hundreds of attempts that end in every way: no subscription, connection or session, no descriptor or task."""
    check_ours(peer, 400)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_no_attempt_of_ten_thousand_leaves_anything(peer: int) -> None:
    """The same, ten thousand times."""
    check_ours(peer, 10_000)


def test_the_original_leaves_subscriptions_at_the_peer(peer: int) -> None:
    """The same test, run with the close that forgets: one subscription for each attempt that gave up too early."""
    kept, outcomes = asyncio.run(make_attempts(peer, 400, run_leaky))
    print(outcomes)
    assert outcomes["connected"] > 0
    assert kept["subscriptions"] > 10
    assert (kept["pending"], kept["ingress"], kept["sessions"]) == (0, 0, 0)
