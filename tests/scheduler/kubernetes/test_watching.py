"""Watches on virtual time: how often a server is asked, whatever it answers, and what is known meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from lifecycle.scheduler.kubernetes import _faults
from lifecycle.scheduler.kubernetes._client import NotConnected, NotTrusted
from lifecycle.scheduler.kubernetes._faults import api_error
from lifecycle.scheduler.kubernetes._watch import Watch
from lifecycle.testing import Bubble, explore_cancellation, run_virtual

from ...kubernetes.jobs.scripted import JOBS, Api, Request, Wrong, every, first, status

HOUR = 3600.0

JOB = {"metadata": {"name": "work", "labels": {}}, "spec": {"template": {"metadata": {"labels": {}}, "spec": {}}}}
JOB["spec"]["template"]["spec"] = {"containers": []}


class Kept:
    """What a watch has told, and when it met what."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.told: list[Exception | None] = []

    def replace(self, objects: Any) -> None:
        """Take all."""
        self.objects = dict(objects)

    def change(self, kind: str, item: Any) -> None:
        """Take one change."""
        if kind == "DELETED":
            self.objects.pop(item["metadata"]["name"], None)
        else:
            self.objects[item["metadata"]["name"]] = item


async def watched(bubble: Bubble, api: Api, seconds: float, during: Callable[[], Any] = lambda: None) -> Kept:
    """Watch the Jobs for so many seconds; something happens in the middle."""
    random.seed(7)
    await api.serve(bubble)
    client, kept = api.client(), Kept()
    watch = Watch(client, JOBS, "", replace=kept.replace, change=kept.change, tell=kept.told.append)
    try:
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(watch.run)
                await anyio.sleep(seconds / 2)
                during()
                await anyio.sleep(seconds)
    finally:
        await client.aclose()
    return kept


def gaps(api: Api, kind: str) -> list[float]:
    """Return the seconds between requests of a kind."""
    return [after.time - before.time for before, after in pairwise(one for one in api.requests if one.kind == kind)]


# How often a server is asked in an hour

ANSWERS = {
    "nothing": Wrong(cut=0),
    "half a head": Wrong(cut=10),
    "half an answer": Wrong(cut=120),
    "an empty answer": Wrong(answer=(200, b"")),
    "an answer of spaces": Wrong(answer=(200, b"\n\n\n")),
    "an empty table": Wrong(answer=(200, {})),
    "null": Wrong(answer=(200, b"null")),
    "a list of nothing": Wrong(answer=(200, {"items": []})),
    "a page that says it is well": Wrong(answer=(200, b"<html>login</html>\n")),
    "nothing, and well": Wrong(answer=(204, b"")),
    "a redirection": Wrong(answer=(302, b"")),
    "a bad request": Wrong(answer=(400, status(400, "BadRequest"))),
    "no right": Wrong(answer=(403, status(403, "Forbidden"))),
    "not there": Wrong(answer=(404, status(404, "NotFound"))),
    "gone": Wrong(answer=(410, status(410, "Expired"))),
    "gone, as an event": Wrong(answer=(200, {"type": "ERROR", "object": status(410, "Expired")})),
    "an error as an event": Wrong(answer=(200, {"type": "ERROR", "object": status(500, "InternalError")})),
    "too many requests": Wrong(answer=(429, b"slow down")),
    "too many, come at once": Wrong(answer=(429, b"slow down"), headers=("Retry-After: 0",)),
    "too many, come back yesterday": Wrong(answer=(429, b"slow down"), headers=("Retry-After: -5",)),
    "an error": Wrong(answer=(500, status(500, "InternalError"))),
    "a proxy's page": Wrong(answer=(502, b"<html>bad gateway</html>")),
    "no service": Wrong(answer=(503, b""), headers=("Retry-After: nonsense",)),
}


@pytest.mark.parametrize("kind", ["list jobs", "watch jobs"])
@pytest.mark.parametrize("wrong", ANSWERS.values(), ids=ANSWERS)
def test_whatever_a_server_answers_it_is_asked_with_pauses(wrong: Wrong, kind: str) -> None:
    """At most 1,500 times an hour, and not more at the beginning than pauses that grow allow."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=every(kind, wrong))
        await watched(bubble, api, HOUR / 6)
        # Of a connection that breaks at once aiohttp makes two.
        asked = len(api.requests) / (2 if wrong.cut == 0 else 1)
        assert 8 <= asked <= 1500 / 6
        assert len([one for one in api.requests if one.time <= 10]) <= 32
        assert max(gaps(api, kind)) <= 61.0

    run_virtual(scenario)


@pytest.mark.parametrize("wrong", [Wrong(act=False, wait=1e9), Wrong(cut=20, silent=True)], ids=["mute", "silent"])
def test_a_server_that_says_nothing_is_asked_once_in_a_while(wrong: Wrong) -> None:
    """A watch that is silent is not trusted: everything is listed, about once in each bound."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=every("watch jobs", wrong), lasts=None)
        kept = await watched(bubble, api, HOUR, lambda: api.create({**JOB}))
        assert list(kept.objects) == ["work"]
        assert 46 <= api.count("list jobs") <= 49
        assert 46 <= api.count("watch jobs") <= 49
        assert all(abs(gap - 75) < 1 for gap in gaps(api, "watch jobs"))

    run_virtual(scenario)


def test_a_quiet_hour_costs_a_watch_every_few_minutes() -> None:
    """And one list, however many times the server ends the watch in its time."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(lasts=None)
        kept = await watched(bubble, api, HOUR, lambda: api.create({**JOB}))
        assert list(kept.objects) == ["work"]
        assert api.count("list jobs") == 1
        assert 12 <= api.count("watch jobs") <= 15
        assert kept.told == [None] * (1 + api.count("watch jobs"))

    run_virtual(scenario)


# Pauses


def test_pauses_grow_to_their_bound_and_begin_anew_when_it_was_well() -> None:
    """Well is what has held for some seconds; another outage begins with short pauses again."""

    async def scenario(bubble: Bubble) -> None:
        out = [Wrong(answer=(503, b"no"))] * 12
        api = Api(script=first("watch jobs", *out, Wrong(), *out), lasts=None)
        await watched(bubble, api, 800)
        pauses = gaps(api, "watch jobs")
        for series in (pauses[:12], pauses[13:25]):
            bounds = [min(10.0, 0.2 * 2**number) for number in range(12)]
            assert all(bound / 2 <= pause <= bound for pause, bound in zip(series, bounds, strict=True))
        assert pauses[12] >= 240  # that one held

    run_virtual(scenario)


def test_a_watch_that_holds_but_a_moment_does_not_begin_the_pauses_anew() -> None:
    """A server that falls over again and again is not helped by being asked at once."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=every("watch jobs", Wrong(cut=120)), lasts=None)
        for name in "abcdefgh":
            api.create({**JOB, "metadata": {**JOB["metadata"], "name": name}})
        await watched(bubble, api, 300, lambda: api.create({**JOB}))
        assert all(gap >= 5.0 for gap in gaps(api, "watch jobs")[8:])

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("7.5", 7.5), ("0", 0.0), ("-3", 0.0), ("99999999", 60.0), ("inf", 60.0), ("1e400", 60.0)],
)
def test_a_server_that_says_when_is_asked_then(said: str, seconds: float) -> None:
    """Not before; and not after a minute either, however long it says."""

    async def scenario(bubble: Bubble) -> None:
        wrong = Wrong(answer=(429, b"slow down"), headers=(f"Retry-After: {said}",))
        api = Api(script=first("watch jobs", wrong), lasts=None)
        await watched(bubble, api, 200)
        assert seconds <= gaps(api, "watch jobs")[0] <= seconds + 0.2

    run_virtual(scenario)


@pytest.mark.parametrize(("error", "longest"), [(NotConnected, 2.0), (NotTrusted, 10.0)])
def test_where_there_is_no_server_it_is_asked_again_soon(error: type[NotConnected], longest: float) -> None:
    """Nobody is troubled by it; one that is not trusted is."""

    async def scenario(bubble: Bubble) -> None:
        times: list[float] = []

        async def request(*_how: Any, **_more: Any) -> Any:
            times.append(anyio.current_time())
            raise error("no")

        random.seed(7)
        client: Any = SimpleNamespace(request=request)
        watch = Watch(client, JOBS, "", replace=lambda _: None, change=lambda *_: None, tell=lambda _: None)
        with anyio.move_on_after(100):
            await watch.run()
        pauses = [after - before for before, after in pairwise(times)]
        assert longest * 0.6 <= max(pauses[10:]) <= longest

    run_virtual(scenario)


def test_what_a_server_says_counts_in_the_list_and_in_the_answer_as_well() -> None:
    """A Status object has it too, where the header is missing."""

    async def scenario(bubble: Bubble) -> None:
        wrong = Wrong(answer=(504, status(504, "Timeout", retryAfterSeconds=9)))
        api = Api(script=first("list jobs", wrong), lasts=None)
        await watched(bubble, api, 200)
        assert 9.0 <= gaps(api, "list jobs")[0] <= 9.2

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("after", "seconds"), [(20, 20), (-1000, 0), (10**6, 60)], ids=["in a moment", "long ago", "far away"]
)
def test_a_server_may_say_when_as_a_date(after: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some that stand before an API server do; within the bounds of the other form."""
    now = datetime(2026, 12, 1, tzinfo=UTC)
    monkeypatch.setattr(_faults.time, "time", now.timestamp)
    date = (now + timedelta(seconds=after)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert api_error("GET /x", 429, b"", date).retry_after == seconds


@pytest.mark.parametrize("said", ["", "soon", "nan", "Mon, 99 Foo 2026", "1 2 3", "\udcff", "9" * 5000, "-inf"])
def test_what_nobody_understands_is_no_time(said: str) -> None:
    """The pauses are ours then, and nothing raises."""
    assert (api_error("GET /x", 429, b"", said).retry_after or 0.0) in (0.0, 60.0)


# What has been forgotten


@pytest.mark.parametrize("how", ["as a status", "as an event"])
def test_a_version_that_is_forgotten_costs_one_list(how: str) -> None:
    """And the watch goes on from there, at once; nothing is told as trouble."""

    async def scenario(bubble: Bubble) -> None:
        gone = status(410, "Expired", "too old resource version")
        answer = (410, gone) if how == "as a status" else (200, {"type": "ERROR", "object": gone})
        api = Api(script=first("watch jobs", Wrong(answer=answer)), lasts=None)
        kept = await watched(bubble, api, 100, lambda: api.create({**JOB}))
        assert api.count("list jobs") == 2
        assert gaps(api, "watch jobs")[0] <= 0.2
        assert set(kept.told) == {None}
        assert list(kept.objects) == ["work"]

    run_virtual(scenario)


def pages(request: Request, *answers: tuple[int, Any]) -> Wrong | None:
    """Answer a list page by page: each page says which comes next."""
    if request.kind != "list jobs":
        return None
    return Wrong(answer=answers[min(int(request.query.get("continue") or 0), len(answers) - 1)])


def page(number: int, following: str | None) -> tuple[int, Any]:
    """Return a page with one Job."""
    item = {**JOB, "metadata": {**JOB["metadata"], "name": f"job-{number}"}}
    return 200, {"metadata": {"resourceVersion": "100", "continue": following}, "items": [item]}


def test_a_list_comes_in_pages() -> None:
    """All of them are put together, and the watch begins at their version."""

    async def scenario(bubble: Bubble) -> None:
        script = partial(_flipped, (page(0, "1"), page(1, "2"), page(2, None)))
        kept = await watched(bubble, Api(script=script), 10)
        assert sorted(kept.objects) == ["job-0", "job-1", "job-2"]

    run_virtual(scenario)


def _flipped(answers: tuple[tuple[int, Any], ...], request: Request) -> Wrong | None:
    return pages(request, *answers)


ENDLESS = {
    "a page that follows itself": (page(0, "1"), page(1, "1")),
    "a page that has expired": (page(0, "1"), (410, status(410, "Expired", "the continue token is too old"))),
    "a page that is no list": (page(0, "1"), (200, b"<html>login</html>")),
}


@pytest.mark.parametrize("answers", ENDLESS.values(), ids=ENDLESS)
def test_a_list_that_never_ends_is_asked_for_with_pauses(answers: tuple[tuple[int, Any], ...]) -> None:
    """And nothing is known by half a list (kubernetes-client/python#953)."""

    async def scenario(bubble: Bubble) -> None:
        api = Api(script=partial(_flipped, answers))
        kept = await watched(bubble, api, HOUR / 6)
        assert kept.objects == {}
        assert len(api.requests) <= 1500 / 6

    run_virtual(scenario)


def test_a_watch_that_is_cancelled_anywhere_leaves_nothing() -> None:
    """While it lists, watches or pauses."""

    async def scenario(bubble: Bubble) -> None:
        wrongs = Wrong(answer=(503, b"no")), Wrong(cut=50), Wrong(answer=(410, status(410, "Expired")))
        await watched(bubble, Api(script=first("watch jobs", *wrongs)), 5)

    explore_cancellation(scenario, targets="main", budget=20).assert_clean()
