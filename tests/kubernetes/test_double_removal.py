"""How objects of the double go: at once, in grace, and what becomes of what they own."""

from __future__ import annotations

from typing import Any

import pytest

from .raw import JOBS, MAPS, MERGE, PODS, Raw, a_map, a_pod_of, end_pod, job, pods_of, says

pytestmark = pytest.mark.asyncio


async def gone(raw: Raw, path: str) -> bool:
    """Return whether there is nothing any more."""
    return bool((await raw.ask("GET", path))[0] == 404)


async def running(raw: Raw, name: str = "task") -> str:
    """Make a Job, and return the name of its pod, which is on a node."""
    await raw.done("POST", JOBS, job(name))
    pod = await a_pod_of(raw, name)
    await raw.done("POST", f"{PODS}/{pod}/binding", {"metadata": {"name": pod}, "target": {"name": "here"}})
    return pod


async def test_in_the_foreground_a_job_waits_for_its_pods(raw: Raw) -> None:
    """And these for their node, which confirms that they have ended."""
    pod = await running(raw)
    told = await raw.done("DELETE", f"{JOBS}/task", {"propagationPolicy": "Foreground"})
    assert told["metadata"]["finalizers"] == ["foregroundDeletion"]
    going = await raw.until(PODS, lambda it: it["metadata"].get("deletionTimestamp"))
    assert going["metadata"]["deletionGracePeriodSeconds"] == 30
    assert not await gone(raw, f"{JOBS}/task")
    await raw.done(
        "DELETE", f"{PODS}/{pod}", {"gracePeriodSeconds": 0, "preconditions": {"uid": going["metadata"]["uid"]}}
    )
    [(word, _)] = await raw.events(f"{JOBS}?resourceVersion={going['metadata']['resourceVersion']}", 1)
    assert word in ("MODIFIED", "DELETED")
    while not await gone(raw, f"{JOBS}/task"):
        pass
    assert await gone(raw, f"{PODS}/{pod}")


async def test_in_the_background_a_job_goes_at_once(raw: Raw) -> None:
    """Its pods go after it."""
    pod = await running(raw)
    told = await raw.done("DELETE", f"{JOBS}/task?propagationPolicy=Background")
    assert told["status"] == "Success"
    assert await gone(raw, f"{JOBS}/task")
    await raw.until(f"{PODS}/{pod}", lambda it: it["metadata"].get("deletionTimestamp"))


async def test_pods_are_orphans_unless_somebody_says_otherwise(raw: Raw) -> None:
    """So it is with this version of the API, and who does not know it is warned."""
    pod = await running(raw)
    await raw.done("DELETE", f"{JOBS}/task")
    assert "child pods are preserved by default" in raw.headers["Warning"]
    left = await raw.until(f"{PODS}/{pod}", lambda it: "ownerReferences" not in it["metadata"])
    assert not left["metadata"].get("deletionTimestamp")
    await raw.until(f"{PODS}/{pod}", lambda it: "finalizers" not in it["metadata"])
    assert await gone(raw, f"{JOBS}/task")


async def test_preconditions(raw: Raw) -> None:
    """Another object of that name is left alone."""
    made = await raw.done("POST", MAPS, a_map())
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    for wanted in ({"uid": "other"}, {"resourceVersion": "1"}):
        status, said = await raw.ask("DELETE", f"{MAPS}/map", {"preconditions": wanted})
        assert (status, said["reason"]) == (409, "Conflict")
    await raw.done("DELETE", f"{MAPS}/map", {"preconditions": {"uid": uid, "resourceVersion": version}})
    assert await gone(raw, f"{MAPS}/map")


async def test_a_pod_has_as_long_as_was_said_last(raw: Raw) -> None:
    """The time becomes shorter, never longer; one that has ended goes at once."""
    pod = await running(raw)
    for seconds, has in ((20, 20), (40, 20), (5, 5)):
        told = await raw.done("DELETE", f"{PODS}/{pod}", {"gracePeriodSeconds": seconds})
        assert told["metadata"]["deletionGracePeriodSeconds"] == has
    await raw.until(f"{PODS}/{pod}", lambda it: "finalizers" not in it["metadata"])
    await raw.done("DELETE", f"{PODS}/{pod}", {"gracePeriodSeconds": 0})
    assert await gone(raw, f"{PODS}/{pod}")
    other = await running(raw, "other")
    await end_pod(raw, other)
    await raw.until(f"{JOBS}/other", says("Complete"))
    await raw.done("DELETE", f"{PODS}/{other}")
    assert await gone(raw, f"{PODS}/{other}")


async def test_finalizers_hold_an_object(raw: Raw) -> None:
    """Until the last is taken away; no new one comes in between."""
    held: Any = a_map()
    held["metadata"]["finalizers"] = ["example.com/one"]
    await raw.done("POST", MAPS, held)
    told = await raw.done("DELETE", f"{MAPS}/map")
    assert told["metadata"]["deletionTimestamp"]
    more = {"metadata": {"finalizers": ["example.com/one", "example.com/two"]}}
    assert (await raw.ask("PATCH", f"{MAPS}/map", more, MERGE))[0] == 422
    await raw.done("PATCH", f"{MAPS}/map", {"metadata": {"finalizers": []}}, MERGE)
    assert await gone(raw, f"{MAPS}/map")


async def test_many_at_once(raw: Raw) -> None:
    """By a selector."""
    for name, labels in ("one", {"a": "b"}), ("two", {"a": "b"}), ("three", {"a": "c"}):
        await raw.done("POST", MAPS, a_map(name, labels))
    told = await raw.done("DELETE", f"{MAPS}?labelSelector=a%3Db")
    assert [each["metadata"]["name"] for each in told["items"]] == ["one", "two"]
    left = (await raw.done("GET", MAPS))["items"]
    assert [each["metadata"]["name"] for each in left] == ["three"]


async def test_a_namespace_goes_with_all_that_is_in_it(raw: Raw) -> None:
    """Nothing new is made there meanwhile."""
    await raw.done("POST", "/api/v1/namespaces", {"metadata": {"name": "there"}})
    path = "/api/v1/namespaces/there/configmaps"
    held: Any = a_map()
    held["metadata"]["finalizers"] = ["example.com/one"]
    await raw.done("POST", path, held)
    await raw.done("POST", "/apis/batch/v1/namespaces/there/jobs", job())
    await raw.done("DELETE", "/api/v1/namespaces/there")
    status, said = await raw.ask("POST", path, a_map("late"))
    assert (status, said["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    await raw.until(f"{path}/map", lambda it: it["metadata"].get("deletionTimestamp"))
    await raw.done("PATCH", f"{path}/map", {"metadata": {"finalizers": []}}, MERGE)
    while not await gone(raw, "/api/v1/namespaces/there"):
        pass
    assert await pods_of(raw, "task") == []


async def test_what_is_made_for_an_owner_that_is_gone(raw: Raw) -> None:
    """It goes as well: whoever made it did not know yet."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "task", "uid": "00000000-0000-0000-0000-000000000000"}
    left: Any = a_map()
    left["metadata"]["ownerReferences"] = [owner]
    await raw.done("POST", MAPS, left)
    while not await gone(raw, f"{MAPS}/map"):
        pass
