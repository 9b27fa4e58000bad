"""Creating, taking up and removing a Job, struck at every point, in virtual time: one Job, and never one of nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import anyio
import pytest

from lifecycle.scheduler.kubernetes import _ownership
from lifecycle.scheduler.kubernetes._creating import Creating
from lifecycle.scheduler.kubernetes._removing import remove
from lifecycle.scheduler.remote import RemoteFailed, RemoteLost
from lifecycle.testing import Bubble, explore_cancellation, run_virtual

from .attempts import TICKET, WORK, Attempt, Engine, engine_run, judge, leaves, nothing, struck
from .scripted import Api, Request, Script, Wrong, first, status

pytestmark = pytest.mark.usefixtures("in_memory")

#: How many runs of an exploration are drawn with every commit; by night all of them are made.
DRAWN = [12, pytest.param(None, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])]

CONFLICT = Wrong(act=False, answer=(409, status(409, "Conflict", "the object has been modified")))
QUOTA = Wrong(act=False, answer=(403, status(403, "Forbidden", "exceeded quota: q")))
FORBIDDEN = Wrong(act=False, answer=(403, status(403, "Forbidden", "no right")))

#: What can become of the request that creates, and of the second one.
CREATIONS = {
    "well": [],
    "never sent": [Wrong(act=False, cut=0)],
    "answer lost": [Wrong(cut=0)],
    "answer cut in the head": [Wrong(cut=40)],
    "answer cut in the body": [Wrong(cut=200)],
    "answer late": [Wrong(wait=7.0)],
    "answer too late": [Wrong(wait=70.0)],
    "done late, answer lost": [Wrong(act=1.0, cut=0)],
    "done late, no answer": [Wrong(act=8.0, cut=0, silent=True)],
    "error after it was done": [Wrong(answer=(500, status(500, "InternalError")))],
    "time out after it was done": [Wrong(answer=(504, status(504, "Timeout")))],
    "a proxy's page after it was done": [Wrong(answer=(502, b"<html>bad gateway</html>"))],
    "a conflict of another kind": [CONFLICT, CONFLICT],
    "too many": [Wrong(act=False, answer=(429, b"too many"), headers=("Retry-After: 2",))],
    "quota": [QUOTA, QUOTA],
    "answer lost, then the quota is full": [Wrong(cut=0), QUOTA],
    "error after it was done, then refused": [Wrong(answer=(500, status(500, "InternalError"))), FORBIDDEN],
    "error, then the quota is full": [Wrong(answer=(500, status(500, "InternalError"))), QUOTA],
    "forbidden": [FORBIDDEN],
    "done late, then refused": [Wrong(act=1.0, cut=0), FORBIDDEN],
    "no answer and no creation, then refused": [Wrong(act=False, cut=0), FORBIDDEN],
    "no JSON": [Wrong(answer=(200, b"<html>login</html>"))],
}


#: When an attempt is cancelled, in seconds; None for never.
TIMES = [
    (None, 0.15, 2.05),
    pytest.param(
        (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 1.9, 2.0, 2.1, 2.2, 3.0, 5.0, 9.0, 11.0, 30.0, 59.0, 61.0),
        marks=[pytest.mark.nightly, pytest.mark.timeout(3600)],
    ),
]


def creations(wrongs: list[Wrong]) -> Script:
    """Let the creations go wrong one after the other; what comes then is well."""
    return first("create", *wrongs)


def is_late(wrongs: list[Wrong]) -> bool:
    """Return whether the server creates a Job after the connection is gone."""
    return any(wrong.act is not True and wrong.act > 0 for wrong in wrongs)


# Whole attempts


@pytest.mark.parametrize("times", TIMES, ids=["some", "all"])
@pytest.mark.parametrize("interrupted", [False, True], ids=["for good", "interrupted"])
@pytest.mark.parametrize("wrongs", CREATIONS.values(), ids=CREATIONS)
def test_an_attempt_that_is_cancelled_at_any_time_leaves_nothing_of_nobody(
    wrongs: list[Wrong], interrupted: bool, times: tuple[float | None, ...]
) -> None:
    """Each time of a creation that goes wrong; the next attempt takes up what the first has left, once."""

    async def scenario(bubble: Bubble, after: float | None) -> None:
        api = Api(creations(wrongs))
        attempt = await engine_run(bubble, api, interrupted=interrupted, cancel_after=after, late=is_late(wrongs))
        if after is None and attempt.end is not None:
            assert attempt.end.succeeded
            assert attempt.lines[-2:] == ["one", "two"]

    for after in times:
        run_virtual(partial(scenario, after=after))


STRUCK = ["well", "answer lost", "answer cut in the body", "done late, answer lost", "error, then the quota is full"]


@pytest.mark.parametrize("interrupted", [False, True], ids=["for good", "interrupted"])
@pytest.mark.parametrize("kind", STRUCK)
def test_an_attempt_that_is_struck_leaves_nothing_of_nobody(kind: str, interrupted: bool) -> None:
    """Every fault, at points drawn from all."""
    _strike(kind, interrupted, budget=15)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("interrupted", [False, True], ids=["for good", "interrupted"])
@pytest.mark.parametrize("kind", [kind for kind in CREATIONS if "refused" not in kind and kind != "forbidden"])
def test_an_attempt_that_is_struck_anywhere_leaves_nothing_of_nobody(kind: str, interrupted: bool) -> None:
    """Every fault at every point of each creation that goes wrong."""
    _strike(kind, interrupted, budget=None)


def _strike(kind: str, interrupted: bool, budget: int | None) -> None:
    async def scenario(bubble: Bubble) -> None:
        api, late = Api(creations(CREATIONS[kind]), lasts=1.0), is_late(CREATIONS[kind])
        await engine_run(bubble, api, interrupted=interrupted, late=late)

    explore_cancellation(scenario, targets=struck, budget=budget).assert_clean()


def test_an_engine_that_is_struck_leaves_nothing_open() -> None:
    """Wherever it is while it opens, works and closes: no task, no timer, no connection; each client is closed."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=0.5).serve(bubble)
        async with Engine() as engine:
            await Attempt(1, interrupted=False).run(engine)
        assert all(session.closed for session in api.sessions)

    explore_cancellation(scenario, targets="main", budget=30).assert_clean()


def test_a_creation_that_is_done_after_its_attempt_was_refused_is_found() -> None:
    """The first request was not lost but slow, the second is refused: the Job is nobody's unless it is looked for."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(creations([Wrong(act=1.0, cut=0), FORBIDDEN]))
        attempt = await engine_run(bubble, api, interrupted=False)
        assert attempt.error is None
        assert attempt.end is not None
        assert attempt.end.succeeded

    run_virtual(scenario)


# Creating, by itself


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("wrongs", CREATIONS.values(), ids=CREATIONS)
def test_a_creation_that_is_struck_anywhere_makes_one_job_at_most(wrongs: list[Wrong], drawn: int | None) -> None:
    """Every fault at every point, and made again afterwards: there is one, with its owner's number."""

    async def scenario(bubble: Bubble) -> None:
        api = bubble.state.api = await Api(creations(wrongs), lasts=None).serve(bubble)
        client = api.client()
        try:
            with anyio.move_on_after(200):
                await Creating(client, TICKET, "n", WORK.named(TICKET, "n"), 100.0, nothing).make()
        except RemoteFailed:
            pass
        finally:
            await client.aclose()

    async def then(bubble: Bubble) -> None:
        api = bubble.state.api
        api.script = lambda _: None
        client = api.client()
        await Creating(client, TICKET, "n", WORK.named(TICKET, "n"), 100.0, nothing).make()
        await client.aclose()
        await anyio.sleep(10)
        assert api.together == 1
        (job,) = api.of("jobs")
        assert _ownership.attempt_of(job) == TICKET.attempt

    explore_cancellation(scenario, then=then, budget=drawn).assert_clean()


def test_an_answer_that_is_cut_at_any_byte_makes_one_job() -> None:
    """Head, body, and the byte before the last."""

    async def scenario(bubble: Bubble, cut: int) -> None:
        api = await Api(creations([Wrong(cut=cut)]), lasts=None).serve(bubble)
        client = api.client()
        await Creating(client, TICKET, "n", WORK.named(TICKET, "n"), 100.0, nothing).make()
        await client.aclose()
        assert api.created == {TICKET.name: 1}

    for cut in (*range(120), *range(120, 1500, 13)):
        run_virtual(partial(scenario, cut=cut))


# Removing, by itself

DELETIONS = {
    "well": [],
    "never sent": [Wrong(act=False, cut=0)],
    "answer lost": [Wrong(cut=0)],
    "answer lost twice": [Wrong(cut=0), Wrong(act=False, cut=0)],
    "answer cut": [Wrong(cut=70)],
    "done late": [Wrong(act=1.0, cut=0)],
    "no answer": [Wrong(cut=0, silent=True)],
    "not done, no answer": [Wrong(act=False, cut=0, silent=True)],
    "error after it was done": [Wrong(answer=(500, status(500, "InternalError")))],
    "a conflict": [CONFLICT],
}
"""What can become of the requests that delete."""


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("wrongs", DELETIONS.values(), ids=DELETIONS)
def test_a_removal_that_is_struck_anywhere_can_be_made_again(wrongs: list[Wrong], drawn: int | None) -> None:
    """Every fault at every point; when it returns nothing is left, however often it is called."""

    async def scenario(bubble: Bubble) -> None:
        left = list(wrongs)
        api = Api(lambda request: left.pop(0) if request.kind == "delete" and left else None, lasts=None)
        bubble.state.api = await api.serve(bubble)
        api.create(WORK.named(TICKET, "n"))
        await anyio.sleep(0.1)
        api.of("pods")
        client = api.client()
        try:
            await remove(client, TICKET, "n")
        finally:
            await client.aclose()
        assert not api.of("jobs")
        assert not api.of("pods")
        assert bubble.clock.time() <= 30

    async def then(bubble: Bubble) -> None:
        api = bubble.state.api
        api.script = lambda _: None
        client = api.client()
        for _ in range(2):
            await remove(client, TICKET, "n")
            assert not api.objects
        await client.aclose()

    explore_cancellation(scenario, then=then, budget=drawn).assert_clean()


def test_a_removal_that_always_meets_a_conflict_asks_with_pauses() -> None:
    """A webhook can answer so, and a controller that is at work: the requests are few."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lambda request: CONFLICT if request.kind == "delete" else None, lasts=None).serve(bubble)
        api.create(WORK.named(TICKET, "n"))
        client = api.client()
        with anyio.move_on_after(60):
            await remove(client, TICKET, "n")
        await client.aclose()
        assert 20 <= len(api.requests) <= 130

    run_virtual(scenario)


def test_a_job_that_can_never_be_taken_over_is_asked_for_with_pauses() -> None:
    """The same for the mark of an attempt; and it comes to an end."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lambda request: CONFLICT if request.kind == "patch" else None, lasts=None).serve(bubble)
        api.create(WORK.named(TICKET, "n"))
        client = api.client()
        (job,) = api.of("jobs")
        with pytest.raises(TimeoutError, match=r"could not be taken over: .*has been modified"):
            await _ownership.take_over(client, job, replace(TICKET, attempt=2), patience=60.0)
        await client.aclose()
        assert 60 <= bubble.clock.time() <= 65
        assert 20 <= len(api.requests) <= 130

    run_virtual(scenario)


def test_an_attempt_that_can_never_take_its_job_over_ends_and_leaves_nothing() -> None:
    """It asked for as long as is sensible, and what it could not have it removes."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lambda request: CONFLICT if request.kind == "patch" else None, lasts=None).serve(bubble)
        async with Engine() as engine:
            first = Attempt(1, interrupted=True)
            task = asyncio.get_running_loop().create_task(first.run(engine), name="attempt")
            await anyio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            second = Attempt(2, interrupted=False)
            with pytest.raises(TimeoutError, match="could not be taken over"):
                await second.run(engine)
            assert bubble.clock.time() <= 400
            await judge(engine, api, second)

    run_virtual(scenario)


def test_an_attempt_that_lost_its_job_while_it_began_does_not_stop_for_ever() -> None:
    """What it made cannot be deleted: it says so, after the time that stopping has."""

    async def scenario(bubble: Bubble) -> None:
        await Api(lambda request: CONFLICT if request.kind == "delete" else None, lasts=None).serve(bubble)
        async with Engine() as engine:
            attempt = Attempt(1, interrupted=False)
            answers = iter([True, False])

            async def is_current() -> bool:
                return next(answers)

            attempt.job.beyond = SimpleNamespace(  # type: ignore[assignment]
                **{name: getattr(attempt.job.beyond, name) for name in dir(attempt.job.beyond) if name[0] != "_"}
                | {"is_current": is_current}
            )
            with anyio.fail_after(60), pytest.raises(BaseExceptionGroup):
                await attempt.run(engine, 20.0)
            assert bubble.clock.time() <= 45
            assert attempt.lost(), repr(attempt.error)
            assert "could not be stopped" in str(list(map(str, leaves(attempt.error))))

    run_virtual(scenario)


@pytest.mark.parametrize("late", [0.3, 1.0, 1.9, 2.05])
def test_a_job_that_comes_after_the_first_look_is_removed(late: float) -> None:
    """Its creation was cut off, and the server did it nevertheless."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=None).serve(bubble)
        api._later(late, lambda: api.create(WORK.named(TICKET, "n")))
        client = api.client()
        await remove(client, TICKET, "n")
        await client.aclose()
        await anyio.sleep(10)
        assert not api.of("jobs")
        assert not api.of("pods")
        assert api.created

    run_virtual(scenario)


@pytest.mark.parametrize("trouble", ["pod stays", "server silent", "server refuses"])
def test_a_removal_that_takes_too_long_is_told_as_lost(trouble: str) -> None:
    """After the bound of the stop, and a little: it may still run."""

    async def scenario(bubble: Bubble) -> None:
        def script(request: Request) -> Wrong | None:
            if trouble == "pod stays" or request.kind != "delete":
                return None
            return FORBIDDEN if trouble == "server refuses" else Wrong(act=False, cut=0, silent=True)

        await Api(script, lasts=None, gone_after=1e6).serve(bubble)
        async with Engine() as engine:
            attempt = Attempt(1, interrupted=False)
            task = asyncio.get_running_loop().create_task(attempt.run(engine, 20.0), name="attempt")
            await anyio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            assert bubble.clock.time() <= 25
            assert attempt.lost(), repr(attempt.error)

    run_virtual(scenario)


def test_the_next_attempt_takes_up_what_the_first_has_left_running() -> None:
    """The same Job, with the number of the new attempt; the first, should it come back, leaves it alone."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=20.0).serve(bubble)
        async with Engine() as engine:
            attempt = Attempt(1, interrupted=True)
            task = asyncio.get_running_loop().create_task(attempt.run(engine), name="attempt")
            await anyio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            (job,) = api.of("jobs")
            assert "left running" in attempt.lines[-1]
            second = asyncio.get_running_loop().create_task(Attempt(2, interrupted=True).run(engine), name="second")
            await anyio.sleep(1)
            await engine.host.stop(replace(TICKET, name=job["metadata"]["name"]), WORK)
            assert [one["metadata"]["uid"] for one in api.of("jobs")] == [job["metadata"]["uid"]]
            await second
            await judge(engine, api, attempt)

    run_virtual(scenario)


def test_an_earlier_attempt_that_comes_back_takes_nothing_from_a_later_one() -> None:
    """It was paused meanwhile: the Job keeps its mark, and the attempt is told that it has lost it."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=None).serve(bubble)
        later = replace(TICKET, attempt=2)
        api.create(WORK.named(later, "n"))
        client = api.client()
        with pytest.raises(RemoteLost):
            await Creating(client, TICKET, "n", WORK.named(TICKET, "n"), 100.0, nothing).make()
        (job,) = api.of("jobs")
        with pytest.raises(RemoteLost):
            await _ownership.take_over(client, job, TICKET, patience=30.0)
        await remove(client, TICKET, "n")
        (job,) = api.of("jobs")
        assert _ownership.attempt_of(job) == 2
        await client.aclose()

    run_virtual(scenario)
