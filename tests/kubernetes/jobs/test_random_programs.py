"""Attempts of one job, cut off at random, over a server that fails at random: one Job, and nothing of nobody."""

from __future__ import annotations

import asyncio
from functools import partial

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lifecycle.scheduler.kubernetes._faults import ApiError
from lifecycle.scheduler.remote import RemoteFailed
from lifecycle.testing import Bubble, run_virtual

from .attempts import Attempt, Engine, leaves, settle
from .scripted import Api, Request, Script, Wrong, status

pytestmark = pytest.mark.usefixtures("in_memory")

CONFLICT = Wrong(act=False, answer=(409, status(409, "Conflict")))
WRONGS = [
    Wrong(act=False, cut=0),
    Wrong(cut=0),
    Wrong(cut=50),
    Wrong(cut=150),
    Wrong(cut=400),
    Wrong(act=1.0, cut=0),
    Wrong(act=False, cut=0, silent=True),
    Wrong(cut=0, silent=True),
    Wrong(wait=3.0),
    Wrong(answer=(500, status(500, "InternalError"))),
    Wrong(act=False, answer=(503, b"no server")),
    Wrong(answer=(502, b"<html>bad gateway</html>")),
    Wrong(answer=(200, b"<html>login</html>")),
    Wrong(answer=(200, {"status": "well"})),
    CONFLICT,
    Wrong(act=False, answer=(429, b"too many"), headers=("Retry-After: 1",)),
    Wrong(act=False, answer=(410, status(410, "Expired"))),
]
"""What can go wrong with a request of whatever kind."""

TIMES = st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 2.15, 2.5, 4.0, 10.0, 40.0])
PROGRAMS = {
    "wrongs": st.dictionaries(st.integers(0, 25), st.sampled_from(WRONGS), max_size=8),
    "interruptions": st.lists(TIMES, max_size=3),
    "cancelled": st.none() | TIMES,
}


def _script(wrongs: dict[int, Wrong]) -> Script:
    def script(request: Request) -> Wrong | None:
        return wrongs.get(request.number)

    return script


async def _attempt(engine: Engine, number: int, after: float | None, *, interrupted: bool) -> Attempt:
    """Make one attempt, ended after some time unless that is None."""
    attempt = Attempt(number, interrupted=False)
    task = asyncio.get_running_loop().create_task(attempt.run(engine), name="attempt")
    if after is not None:
        await asyncio.wait([task], timeout=after)
        attempt.interrupted = interrupted and not task.done()
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        expected = (RemoteFailed, ApiError, OSError, asyncio.CancelledError)
        assert any(isinstance(one, expected) for one in leaves(task.exception() or OSError()))
    return attempt


async def _program(
    bubble: Bubble, wrongs: dict[int, Wrong], interruptions: list[float], cancelled: float | None
) -> None:
    late = any(wrong.act is not True and wrong.act > 0 for wrong in wrongs.values())
    api = await Api(_script(wrongs)).serve(bubble)
    anew = 0
    async with Engine() as engine:
        for number, after in enumerate([*interruptions, cancelled], start=1):
            asked = len(api.requests)
            attempt = await _attempt(engine, number, after, interrupted=number <= len(interruptions))
            if not attempt.interrupted:
                break
            # Had it failed already when it was interrupted, it was stopping its Job, and that is done before it ends.
            anew += any(request.kind == "delete" for request in api.requests[asked:])
            await anyio.sleep(0.5)
        await settle(engine, api, attempt, late=late, anew=anew)
    assert all(session.closed for session in api.sessions)


@example(wrongs={5: Wrong(answer=(200, {"status": "well"}))}, interruptions=[0.05, 0.05], cancelled=None)
@example(wrongs={5: CONFLICT}, interruptions=[0.05, 0.05], cancelled=None)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**PROGRAMS)
def test_random_programs(wrongs: dict[int, Wrong], interruptions: list[float], cancelled: float | None) -> None:
    """A few with every commit."""
    run_virtual(partial(_program, wrongs=wrongs, interruptions=interruptions, cancelled=cancelled))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**PROGRAMS)
def test_many_random_programs(wrongs: dict[int, Wrong], interruptions: list[float], cancelled: float | None) -> None:
    """Many by night."""
    run_virtual(partial(_program, wrongs=wrongs, interruptions=interruptions, cancelled=cancelled))
