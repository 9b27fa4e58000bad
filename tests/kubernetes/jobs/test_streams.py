"""Watches, followers and logs over streams that break in every way, in virtual time: what comes is whole, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from lifecycle import Scope
from lifecycle.scheduler.kubernetes._client import ClientStale
from lifecycle.scheduler.kubernetes._follow import Following
from lifecycle.scheduler.kubernetes._log import ContainerLog
from lifecycle.scheduler.kubernetes._watch import Watch
from lifecycle.scheduler.remote import RemoteEnd
from lifecycle.testing import Bubble, explore_cancellation, faults, run_virtual

from .attempts import STORE, TICKET, WORK, Engine, nothing
from .scripted import JOBS, Api, Request, Wrong, every, first, status

pytestmark = pytest.mark.usefixtures("in_memory")


class Kept:
    """What a watch has told."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.changes: list[tuple[str, str]] = []
        self.errors: list[Exception] = []

    def replace(self, objects: Any) -> None:
        """Take all."""
        self.objects = dict(objects)

    def change(self, kind: str, item: Any) -> None:
        """Take one change."""
        name = item["metadata"]["name"]
        self.changes.append((kind, item["metadata"]["resourceVersion"]))
        if kind == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = item

    def tell(self, error: Exception | None) -> None:
        """Take an error."""
        if error is not None:
            self.errors.append(error)


async def watch_for(bubble: Bubble, api: Api, seconds: float, during: Callable[[], Any] = lambda: None) -> Kept:
    """Watch the Jobs for some time, in which something happens."""
    await api.serve(bubble)
    client, kept = api.client(), Kept()
    bubble.state.client = client
    watch = Watch(
        client, JOBS, f"asyncio-lifecycle/store={STORE}", replace=kept.replace, change=kept.change, tell=kept.tell
    )
    try:
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(watch.run)
                await anyio.sleep(1)
                during()
                await anyio.sleep(seconds)
    finally:
        await client.aclose()
    return kept


# Watches

BAD_WATCHES = {
    "cut before the head": Wrong(cut=0),
    "cut in the head": Wrong(cut=10),
    "cut in the body": Wrong(cut=120),
    "ended at once": Wrong(cut=0, clean=True),
    "ended in an event": Wrong(cut=20, clean=True),
    "an empty answer": Wrong(answer=(200, b"")),
    "429 in words": Wrong(answer=(429, b"Too many requests, please try again later."), headers=("Retry-After: 1",)),
    "a proxy's page": Wrong(answer=(502, b"<html>bad gateway</html>")),
    "a page that says it is well": Wrong(answer=(200, b"<html>login</html>\n")),
    "data that is no event": Wrong(answer=(200, {"status": "well"})),
    "an event of nothing": Wrong(answer=(200, {"type": "ADDED", "object": None})),
    "an event without a name": Wrong(answer=(200, {"type": "ADDED", "object": {"metadata": {}}})),
    "an error of words": Wrong(answer=(200, {"type": "ERROR", "object": "no"})),
    "gone, by its status": Wrong(answer=(410, status(410, "Expired"))),
    "gone, as an event": Wrong(answer=(200, {"type": "ERROR", "object": status(410, "Expired")})),
    "an error as an event": Wrong(answer=(200, {"type": "ERROR", "object": status(500, "InternalError")})),
    "forbidden": Wrong(answer=(403, status(403, "Forbidden"))),
    "an answer for its own": Wrong(answer=(200, {"answer": 1})),
}


@pytest.mark.parametrize("wrong", BAD_WATCHES.values(), ids=BAD_WATCHES)
def test_a_watch_that_goes_wrong_asks_with_pauses_and_says_nothing(wrong: Wrong) -> None:
    """For ten minutes: what it knows stays as it was listed, and the requests are few."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=every("watch jobs", wrong))
        api.create(WORK.named(TICKET, "n"))
        kept = await watch_for(bubble, api, 600)
        assert list(kept.objects) == [TICKET.name]
        assert len(api.requests) <= 180  # of a connection that breaks at once aiohttp makes two
        early = [request for request in api.requests if request.time <= 10]
        assert len(early) <= 16

    run_virtual(scenario)


@pytest.mark.parametrize("wrong", BAD_WATCHES.values(), ids=BAD_WATCHES)
def test_a_watch_recovers_and_misses_nothing(wrong: Wrong) -> None:
    """After three that went wrong it knows what is true."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=first("watch jobs", *[wrong] * 3))
        kept = await watch_for(bubble, api, 60, lambda: api.create(WORK.named(TICKET, "n")))
        assert kept.objects == {one["metadata"]["name"]: one for one in api.of("jobs")}
        assert kept.objects[TICKET.name]["status"]["succeeded"] == 1

    run_virtual(scenario)


def test_a_watch_that_is_silent_is_not_trusted() -> None:
    """Everything is listed again, about once in each bound, and in the end it is right."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=every("watch jobs", Wrong(cut=20, silent=True)))
        kept = await watch_for(bubble, api, 600, lambda: api.create(WORK.named(TICKET, "n")))
        assert kept.objects[TICKET.name]["status"]["succeeded"] == 1
        assert 7 <= api.count("list jobs") <= 9
        assert api.count("watch jobs") <= 9

    run_virtual(scenario)


def test_a_watch_goes_on_from_the_last_version_that_it_has_seen() -> None:
    """Also after a stream that broke: what came before comes but once, and time does not run backwards."""

    async def scenario(bubble: Bubble, cut: int) -> None:
        api = Api(script=first("watch jobs", Wrong(cut=cut)))
        kept = await watch_for(bubble, api, 30, lambda: api.create(WORK.named(TICKET, "n")))
        versions = [int(version) for _, version in kept.changes]
        assert versions == sorted(set(versions)), f"cut after {cut} bytes"
        assert len(versions) == 2

    for cut in range(100, 3000, 61):
        run_virtual(partial(scenario, cut=cut))


# Those who follow


def test_ten_follow_and_do_not_disturb_each_other() -> None:
    """One whose log raises, one that is cancelled: the other eight come to the end; with whatever fault in one."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api().serve(bubble)
        bubble.state.ends = ends = {}
        async with Engine() as engine, engine.host._view("default", "n", STORE) as view:
            api.create(WORK.named(TICKET, "n"))

            def say(_line: str) -> None:
                raise ValueError("the log is full")

            async def follow(number: int) -> None:
                following = Following(view, TICKET.name, "n", WORK, 60.0, say if number == 8 else nothing)
                if number == 8:
                    following._tell("a word", "")
                ends[number] = await following.end()

            tasks = [
                asyncio.get_running_loop().create_task(follow(number), name=f"follower {number}")
                for number in range(10)
            ]
            await anyio.sleep(0.2)
            tasks[9].cancel()
            await asyncio.wait(tasks)
            outcomes = [not task.cancelled() and task.exception() for task in tasks]
            assert isinstance(outcomes[8], ValueError)
            assert tasks[9].cancelled()
            assert view.failure is None
            assert not view._followers
        assert all(session.closed for session in api.sessions)
        assert api.count("list jobs") <= 2  # a list can be cut off

    async def then(bubble: Bubble) -> None:
        assert {1, 2, 3, 4, 5, 6, 7} <= bubble.state.ends.keys()

    run_virtual(scenario)
    report = explore_cancellation(scenario, targets=["follower 0"], then=then, budget=30)
    report.assert_clean()


def test_a_view_whose_watch_ends_tells_those_who_follow() -> None:
    """Whoever ends it: they look for another view, and come to the end of their job."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api().serve(bubble)
        bubble.state.done = None
        async with Engine() as engine:
            api.create(WORK.named(TICKET, "n"))
            with anyio.fail_after(100):
                bubble.state.done = await engine.host.follow(TICKET, WORK, nothing)
        assert all(session.closed for session in api.sessions)

    async def then(bubble: Bubble) -> None:
        assert isinstance(bubble.state.done, RemoteEnd)
        assert bubble.state.done.succeeded

    watches = ["watch of Jobs", "watch of Pods"]
    ends = [faults.CANCEL, faults.CANCEL_TWICE, faults.CANCEL_SCOPE, faults.TIMEOUT, faults.KILL_TRANSPORT]
    report = explore_cancellation(scenario, faults=ends, targets=watches, then=then, may_swallow=watches, budget=40)
    report.assert_clean()


def test_a_view_of_a_client_that_is_stale_is_not_given_to_others() -> None:
    """Its watches may not notice for minutes; those who have it are sent to the other."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api().serve(bubble)
        async with Engine() as engine, engine.host._view("default", "n", STORE) as view:
            view.client._stale = True
            async with engine.host._view("default", "n", STORE) as other:
                assert other is not view
                assert other.client is not view.client
                api.create(WORK.named(TICKET, "n"))
                assert (await Following(other, TICKET.name, "n", WORK, 60.0, nothing).end()).succeeded
                with pytest.raises(ClientStale):
                    await Following(view, TICKET.name, "n", WORK, 60.0, nothing).end()
        assert [session.closed for session in api.sessions] == [True, True]

    run_virtual(scenario)


# Logs

LINES = (
    (0.0, b"first"),
    (0.25, b"same"),
    (0.25, b"same"),
    (0.25, b"other"),
    (0.75, "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n".encode()),
    (1.5, b""),
    (1.5, b"last but one"),
    (2.0, b"last"),
)


async def read_log(bubble: Bubble, api: Api) -> list[str]:
    """Return the lines of a pod's log, followed to its end."""
    await api.serve(bubble)
    api.create(WORK.named(TICKET, "n"))
    await anyio.sleep(0.5)
    (pod,) = api.of("pods")
    lines: list[str] = []
    client = api.client()
    try:
        log = ContainerLog("n", pod["metadata"]["name"], "main", lines.append)
        await log.follow(client, lambda: api.of("pods")[0]["status"]["phase"] != "Running")
        assert log.complete
    finally:
        await client.aclose()
    return lines


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("clean", [False, True], ids=["broken", "ended"])
def test_no_line_is_lost_or_comes_twice_wherever_the_stream_ends(clean: bool, step: int) -> None:
    """At every byte; a kubelet whose connection broke looks like the proper end of a stream."""

    async def scenario(bubble: Bubble, cut: int) -> None:
        api = Api(script=first("log", Wrong(cut=cut, clean=clean)), lines=LINES, lasts=3.0)
        assert await read_log(bubble, api) == [line.decode() for _, line in LINES], f"cut after {cut} bytes"

    for cut in range(0, 450, step):
        run_virtual(partial(scenario, cut=cut))


def test_lines_whose_times_go_back_are_all_there() -> None:
    """Two streams of one container are written by two hands, and a clock can be set."""

    async def scenario(bubble: Bubble, cut: int | None) -> None:
        lines = ((0.5, b"one"), (0.25, b"two"), (0.5, b"three"), (0.375, b"four"), (2.0, b"five"))
        script = nothing_wrong if cut is None else first("log", Wrong(cut=cut))
        api = Api(script=script, lines=lines, lasts=3.0)
        assert await read_log(bubble, api) == ["one", "two", "three", "four", "five"], f"cut after {cut} bytes"

    for cut in (None, *range(80, 320, 5)):
        run_virtual(partial(scenario, cut=cut))


def nothing_wrong(_request: Request) -> None:
    """Let all go well."""


def test_what_is_no_log_is_no_line() -> None:
    """Neither a refusal nor a page of a proxy; and it is asked for with pauses."""

    async def scenario(bubble: Bubble, wrong: Wrong) -> None:
        api = Api(script=first("log", *[wrong] * 5), lasts=60.0)
        assert await read_log(bubble, api) == ["one", "two"]
        assert api.count("log") <= 7

    for wrong in (
        Wrong(answer=(400, status(400, "BadRequest", "is waiting to start"))),
        Wrong(answer=(502, b"<html>bad gateway</html>")),
        Wrong(answer=(500, status(500, "InternalError"))),
        Wrong(answer=(204, b"")),
        Wrong(answer=(200, b"unable to retrieve container logs for containerd://x")),
        Wrong(answer=(404, status(404, "NotFound"))),
    ):
        run_virtual(partial(scenario, wrong=wrong))


async def second_job(bubble: Bubble) -> None:
    """Follow the log of a job on a view that others have begun."""
    api: Api = bubble.state.api
    lines: list[str] = []
    async with Engine() as engine, engine.host._view("default", "n", STORE) as view:
        while not view.synchronous:
            await anyio.sleep(0.1)
        async with Scope("job") as scope:
            task = scope.start_soon(engine.host.log, TICKET, WORK, lines.append)
            await engine.host.start(TICKET, WORK, nothing)
            end = await engine.host.follow(TICKET, WORK, nothing)
            with anyio.move_on_after(5):
                await task.wait()
    assert end.succeeded
    assert lines == ["one", "two"]
    assert api.count("list jobs") == 1


def test_the_log_of_a_job_that_the_view_has_not_seen_yet_is_read() -> None:
    """The view is another's, and behind the creation by a moment."""

    async def scenario(bubble: Bubble) -> None:
        bubble.state.api = await Api().serve(bubble)
        await second_job(bubble)

    run_virtual(scenario)


def test_the_log_of_a_job_that_has_ended_before_its_pod_was_seen_is_read() -> None:
    """The watch of the pods is behind that of the Jobs."""

    async def scenario(bubble: Bubble) -> None:
        script = first("watch pods", Wrong(cut=0, silent=True))
        bubble.state.api = await Api(script=script, lasts=0.5).serve(bubble)
        bubble.state.api.script = first("watch pods", Wrong(wait=3.0))
        await second_job(bubble)

    run_virtual(scenario)


@pytest.mark.parametrize("drawn", [40, pytest.param(None, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])])
def test_a_log_that_is_cut_off_anywhere_leaves_nothing(drawn: int | None) -> None:
    """Every fault at every point of a log over two streams."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=first("log", Wrong(cut=150)), lasts=1.0)
        lines = await read_log(bubble, api)
        assert lines == ["one", "two"]

    report = explore_cancellation(scenario, budget=drawn)
    report.assert_clean()


@pytest.mark.parametrize("drawn", [40, pytest.param(None, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])])
def test_a_watch_that_is_cut_off_anywhere_leaves_nothing(drawn: int | None) -> None:
    """Every fault at every point of a watch that is cut, refused and gone."""

    async def scenario(bubble: Bubble) -> None:
        wrongs = iter([Wrong(cut=150), BAD_WATCHES["a proxy's page"], BAD_WATCHES["gone, as an event"]])
        api = Api(script=lambda request: next(wrongs, None) if request.kind == "watch jobs" else None)
        await watch_for(bubble, api, 10, lambda: api.create(WORK.named(TICKET, "n")))

    report = explore_cancellation(scenario, budget=drawn)
    report.assert_clean()
