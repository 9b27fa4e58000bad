"""Watches of the double: from where on, of what, with which marks, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from .double import Break, Double, Slow, api_double
from .raw import JOBS, MAPS, MERGE, PODS, Raw, a_map, asking, job

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def double() -> AsyncIterator[Double]:
    """A double that marks often."""
    async with api_double(bookmark_interval=0.05) as it:
        yield it


@pytest_asyncio.fixture
async def raw(double: Double) -> AsyncIterator[Raw]:
    """A client of it."""
    async with asking(double) as it:
        yield it


def told(events: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Return of events what they are and of which object."""
    return [(word, value["metadata"].get("name", "")) for word, value in events]


async def test_from_a_version_on(raw: Raw) -> None:
    """All that came after, each once, in its order."""
    first = await raw.done("POST", MAPS, a_map("one"))
    await raw.done("PATCH", f"{MAPS}/one", {"data": {"a": "b"}}, MERGE)
    await raw.done("POST", MAPS, a_map("two"))
    gone = await raw.done("DELETE", f"{MAPS}/one")
    events = await raw.events(f"{MAPS}?resourceVersion={first['metadata']['resourceVersion']}", 3)
    assert told(events) == [("MODIFIED", "one"), ("ADDED", "two"), ("DELETED", "one")]
    versions = [int(value["metadata"]["resourceVersion"]) for _, value in events]
    assert versions == sorted(set(versions))
    assert events[2][1]["data"] == {"a": "b"}
    assert gone["details"]["uid"] == first["metadata"]["uid"]


async def test_from_what_is_there(raw: Raw) -> None:
    """Without a version, or with 0, what is there comes first."""
    await raw.done("POST", MAPS, a_map("one"))
    await raw.done("PATCH", f"{MAPS}/one", {"data": {"a": "b"}}, MERGE)
    for more in ("", "?resourceVersion=0"):
        assert told(await raw.events(MAPS + more, 1)) == [("ADDED", "one")]


async def test_what_a_selector_sees(raw: Raw) -> None:
    """An object that begins to be meant is added, one that is meant no more is deleted; it is shown as it was."""
    first = await raw.done("POST", MAPS, a_map("one"))
    version = first["metadata"]["resourceVersion"]
    for label in ("b", "c", "b"):
        await raw.done("PATCH", f"{MAPS}/one", {"metadata": {"labels": {"a": label}}}, MERGE)
    await raw.done("DELETE", f"{MAPS}/one")
    for select in ("a%3Db", "a+in+(b)"):
        events = await raw.events(f"{MAPS}?labelSelector={select}&resourceVersion={version}", 4)
        assert [word for word, _ in events] == ["ADDED", "DELETED", "ADDED", "DELETED"]
        assert events[1][1]["metadata"]["labels"] == {"a": "b"}
        assert int(events[1][1]["metadata"]["resourceVersion"]) > int(events[0][1]["metadata"]["resourceVersion"])


async def test_live_watches_are_told_by_what_they_ask_for(double: Double, raw: Raw) -> None:
    """Whether by name, label, or all: each gets its own."""
    await raw.done("POST", MAPS, a_map("zero"))
    asked = {
        "": ["one", "two"],
        "&fieldSelector=metadata.name%3Dtwo": ["two"],
        "&labelSelector=a%3Db": ["one"],
        "&labelSelector=a%3Db,c": [],
        "&labelSelector=!a": ["two"],
    }
    version = double.storage.version
    async with contextlib.AsyncExitStack() as stack:
        lines = []
        for more in asked:
            path = f"{MAPS}?resourceVersion={version}&timeoutSeconds=1{more}"
            lines.append(await stack.enter_async_context(contextlib.aclosing(raw.lines(path))))
        later = [anext(each, None) for each in lines]
        first = asyncio.gather(*later)
        while len(double.serving.watches) < len(asked):
            await asyncio.sleep(0)
        await raw.done("POST", MAPS, a_map("one", {"a": "b"}))
        await raw.done("POST", MAPS, a_map("two"))
        begun = await first
        for line, rest, names in zip(begun, lines, asked.values(), strict=True):
            got = [
                json.loads(each)["object"]["metadata"]["name"] for each in [line, *[it async for it in rest]] if each
            ]
            assert got == names


async def test_bookmarks(raw: Raw) -> None:
    """They come again and again where they are allowed, and tell of a version although nothing happened."""
    made = await raw.done("POST", MAPS, a_map("one"))
    version = made["metadata"]["resourceVersion"]
    await raw.done("POST", "/api/v1/namespaces/kube-public/configmaps", a_map("other"))
    events = await raw.events(f"{MAPS}?resourceVersion={version}&allowWatchBookmarks=true", 2)
    assert [word for word, _ in events] == ["BOOKMARK", "BOOKMARK"]
    assert int(events[0][1]["metadata"]["resourceVersion"]) > int(version)
    assert events[0][1]["kind"] == "ConfigMap"
    job_mark = (await raw.events(f"{JOBS}?allowWatchBookmarks=true", 1))[0][1]
    assert job_mark["spec"]["template"]["spec"] == {"containers": None}  # so the real one sends it


async def test_a_time_that_is_up(raw: Raw) -> None:
    """The watch ends properly; with bookmarks the last line is one."""
    await raw.done("POST", MAPS, a_map("one"))
    lines = [json.loads(line) async for line in raw.lines(f"{MAPS}?timeoutSeconds=1&allowWatchBookmarks=1")]
    assert lines[0]["type"] == "ADDED"
    assert lines[-1]["type"] == "BOOKMARK"
    assert [json.loads(line)["type"] async for line in raw.lines(f"{MAPS}?timeoutSeconds=1")] == ["ADDED"]


async def test_a_version_that_is_too_old(double: Double, raw: Raw) -> None:
    """It is told in the first event, or refused at once: the double can do both."""
    made = await raw.done("POST", MAPS, a_map("one"))
    version = made["metadata"]["resourceVersion"]
    await raw.done("PATCH", f"{MAPS}/one", {"data": {"a": "b"}}, MERGE)
    double.compact()
    [(word, status)] = await raw.events(f"{MAPS}?resourceVersion={version}", 2)
    assert (word, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    double.serving.gone_at_once = True
    code, status = await raw.ask("GET", f"{MAPS}?watch=1&resourceVersion={version}")
    assert (code, status["reason"]) == (410, "Expired")


async def test_watches_under_way_may_be_too_old(double: Double, raw: Raw) -> None:
    """They are told, and end; one from the newest version goes on."""
    await raw.done("POST", MAPS, a_map("one"))
    async with contextlib.aclosing(raw.lines(MAPS)) as lines:
        assert json.loads(await anext(lines))["type"] == "ADDED"
        double.compact(streams=True)
        assert json.loads(await anext(lines))["object"]["code"] == 410
        assert [line async for line in lines] == []


async def test_old_changes_are_forgotten_by_themselves() -> None:
    """When there are more than are kept."""
    async with api_double(history=3) as double, asking(double) as raw:
        made = await raw.done("POST", MAPS, a_map("one"))
        for number in range(8):
            await raw.done("PATCH", f"{MAPS}/one", {"data": {"a": str(number)}}, MERGE)
        [(word, _)] = await raw.events(f"{MAPS}?resourceVersion={made['metadata']['resourceVersion']}", 2)
        assert word == "ERROR"


async def test_initial_events_are_refused(raw: Raw) -> None:
    """As by servers that do not do this."""
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    code, said = await raw.ask("GET", f"{MAPS}?{query}")
    assert (code, said["details"]["causes"][0]["field"]) == (422, "sendInitialEvents")


@pytest.mark.parametrize("after", [0, 1])
async def test_a_watch_that_is_cut_in_a_line(double: Double, raw: Raw, after: int) -> None:
    """What came before is whole; the rest of the line never comes."""
    for name in ("one", "two"):
        await raw.done("POST", MAPS, a_map(name))
    double.faults.add(Break(how="cut", after=after), verb="watch")
    got = []
    with contextlib.suppress(aiohttp.ClientError):
        async for line in raw.lines(MAPS):
            got.append(line)  # noqa: PERF401 - what came before the error is kept
    assert [json.loads(line)["type"] for line in got[:after]] == ["ADDED"] * after
    for line in got[after:]:
        with pytest.raises(ValueError):
            json.loads(line)
    assert told(await raw.events(MAPS, 2)) == [("ADDED", "one"), ("ADDED", "two")]  # the next one is well


async def test_a_watch_with_garbage(double: Double, raw: Raw) -> None:
    """One line is no JSON; after it the watch goes on."""
    await raw.done("POST", MAPS, a_map("one"))
    double.faults.add(Break(how="garbage"), verb="watch")
    async with contextlib.aclosing(raw.lines(MAPS)) as lines:
        with pytest.raises(ValueError):
            json.loads(await anext(lines))
        assert json.loads(await anext(lines))["type"] == "ADDED"


async def test_a_watch_that_falls_silent(double: Double, raw: Raw) -> None:
    """Neither events nor bookmarks come any more, and the connection stays."""
    await raw.done("POST", MAPS, a_map("one"))
    double.faults.add(Break(how="silent", after=1), verb="watch")
    async with contextlib.aclosing(raw.lines(f"{MAPS}?allowWatchBookmarks=1")) as lines:
        assert json.loads(await anext(lines))["type"] == "ADDED"
        await raw.done("POST", MAPS, a_map("two"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(lines), 0.3)


@pytest.mark.parametrize(("how", "code"), [("gone", 410), ("error", 500)])
async def test_a_watch_that_ends_with_an_error(double: Double, raw: Raw, how: str, code: int) -> None:
    """An event tells of it."""
    await raw.done("POST", MAPS, a_map("one"))
    double.faults.add(Break(how=how, after=1), path="configmaps", verb="watch")
    events = [json.loads(line) async for line in raw.lines(f"{MAPS}?allowWatchBookmarks=1")]
    assert [each["type"] for each in events] == ["ADDED", "ERROR"]
    assert events[1]["object"]["code"] == code


async def test_a_slow_watch(double: Double, raw: Raw) -> None:
    """Its events come late, and all of them."""
    for name in ("one", "two"):
        await raw.done("POST", MAPS, a_map(name))
    double.faults.add(Slow(seconds=0.1), verb="watch")
    began = asyncio.get_running_loop().time()
    assert len(await raw.events(MAPS, 2)) == 2
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_watches_end_when_the_server_wants_it(double: Double, raw: Raw) -> None:
    """Properly, as after half an hour."""
    await raw.done("POST", MAPS, a_map("one"))
    async with contextlib.aclosing(raw.lines(MAPS)) as lines:
        await anext(lines)
        double.end_watches()
        assert [line async for line in lines] == []
    assert not double.serving.watches


async def test_a_node_sees_its_pods(raw: Raw) -> None:
    """A pod that is bound comes into the view of its node."""
    await raw.done("POST", JOBS, job())
    pod = await raw.until(PODS, lambda it: True)
    name = pod["metadata"]["name"]
    binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "here"}}
    await raw.done("POST", f"{PODS}/{name}/binding", binding)
    version = pod["metadata"]["resourceVersion"]
    path = f"/api/v1/pods?fieldSelector=spec.nodeName%3Dhere&resourceVersion={version}"
    assert told(await raw.events(path, 1)) == [("ADDED", name)]
