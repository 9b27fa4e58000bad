"""What is done to a fleet, one thing after the other, while jobs run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .fleet import COMMON, JOBS_AT_ONCE, URGENT, Fleet

Restart = Callable[[str], Awaitable[None]]
"""Restarts the database: ``fast`` tells its clients, ``immediate`` is a crash."""


async def rage(fleet: Fleet, restart: Restart | None, *, rounds: int = 1, long: float = 1.0, jobs: int = 40) -> None:
    """Do everything to it that can happen to it.

    Args:
        fleet: with nobody at work yet, and nothing submitted.
        restart: restarts the database; None where it cannot be.
        rounds: how often.
        long: seconds that the jobs take that something is done to.
        jobs: how many are submitted each time.
    """
    await prefer_what_is_urgent(fleet, jobs)
    for _ in range(rounds):
        await cancel_some(fleet, long)
        await lose_some(fleet, long, jobs)
        if restart is not None:
            for manner in ("fast", "immediate"):
                await fleet.submit(jobs, long / 4)
                await fleet.until_running(JOBS_AT_ONCE)
                await restart(manner)
                fleet.say(f"a {manner} restart")
                await fleet.submit(jobs, 0.01)
        await fleet.submit(jobs, long / 4)
        await fleet.until_running(JOBS_AT_ONCE)
        await fleet.replace_all()
        fleet.say("all were replaced")
    await fleet.until_all_have_ended()


async def prefer_what_is_urgent(fleet: Fleet, jobs: int) -> None:
    """Submit before anybody works, start all at once, and see what they begin with."""
    common = await fleet.submit(jobs, 0.02, COMMON)
    urgent = await fleet.submit(jobs, 0.02, URGENT)
    started = [await fleet.start(machine, wait=False) for machine in fleet.machines]
    await fleet.until_up(started)
    await fleet.until_all_have_ended()
    fleet.check_first_starts([*common, *urgent], urgent)


async def cancel_some(fleet: Fleet, long: float) -> None:
    """Cancel what runs and what waits."""
    seats = JOBS_AT_ONCE * len(fleet.workers)
    names = await fleet.submit(2 * seats, long)
    await fleet.until_running(seats)
    running = fleet.running()
    waiting = [name for name in names if name not in running]
    await fleet.cancel(running[: seats // 2])
    await fleet.cancel(waiting[: seats // 2])


async def lose_some(fleet: Fleet, long: float, jobs: int) -> None:
    """Kill one, stop one past its lease, and cut one off, each with jobs in its hands."""
    for act in (fleet.kill, fleet.stop_and_resume, fleet.cut_off):
        await fleet.submit(jobs, long / 4)
        seats = JOBS_AT_ONCE * len(fleet.workers)
        await fleet.submit(seats, long + fleet.lease * 2, URGENT)
        await fleet.until_running(seats)
        victim = fleet.chance.choice(fleet.workers)
        machine = victim.machine
        await act(victim)
        if act == fleet.kill:
            await fleet.start(machine)
        if act == fleet.cut_off:
            await asyncio.sleep(fleet.lease / 2)  # what it sends now was decided before it knew
