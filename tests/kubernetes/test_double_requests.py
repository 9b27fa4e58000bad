"""What the double takes and refuses: bodies, versions, patches, lists, and who asks; and what goes wrong on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from .double import Answer, Delay, Double, Lose, Reset, api_double
from .raw import JOBS, MAPS, MERGE, PODS, STRATEGIC, Raw, a_map, a_pod_of, asking, job

pytestmark = pytest.mark.asyncio


# What is taken


async def test_unknown_fields_are_errors(raw: Raw) -> None:
    """Whatever the request says: a test must not pass with a word that nobody knows."""
    for spec in ({"paralelism": 1}, {"template": {"spec": {"containers": [{"name": "a", "img": "b"}]}}}):
        status, said = await raw.ask(
            "POST", f"{JOBS}?fieldValidation=Ignore", {"metadata": {"name": "x"}, "spec": spec}
        )
        assert (status, said["reason"]) == (400, "BadRequest")
        assert "strict decoding error: unknown field" in said["message"]


async def test_unknown_fields_are_dropped_like_by_the_real_one() -> None:
    """By a lenient double, unless the request wants to hear of them."""
    async with api_double(strict=False) as double, asking(double) as raw:
        assert "odd" not in (await raw.done("POST", JOBS, job(odd=1)))["spec"]
        assert (await raw.ask("POST", f"{JOBS}?fieldValidation=Strict", job("more", odd=1)))[0] == 400


async def test_what_is_invalid_says_why(raw: Raw) -> None:
    """Each cause on its own, with the field."""
    wrong = job("Bad_Name", parallelism=-1, pod={"restartPolicy": "Always", "containers": [{"name": "a"}]})
    status, said = await raw.ask("POST", JOBS, wrong)
    assert (status, said["reason"], said["details"]["kind"]) == (422, "Invalid", "Job")
    fields = {each["field"] for each in said["details"]["causes"]}
    spec = "spec.template.spec"
    assert fields >= {"metadata.name", "spec.parallelism", f"{spec}.containers[0].image", f"{spec}.restartPolicy"}


async def test_what_must_not_change(raw: Raw) -> None:
    """The template of a Job, and most of a pod."""
    await raw.done("POST", JOBS, job())
    image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}}
    status, said = await raw.ask("PATCH", f"{JOBS}/task", image, STRATEGIC)
    assert (status, said["details"]["causes"][0]["field"]) == (422, "spec.template")
    pod = await a_pod_of(raw, "task")
    status, said = await raw.ask("PATCH", f"{PODS}/{pod}", {"spec": {"hostname": "x"}}, MERGE)
    assert (status, said["details"]["causes"][0]["reason"]) == (422, "FieldValueForbidden")


async def test_generated_names(raw: Raw) -> None:
    """Each is another one."""
    body: Any = {**a_map(), "metadata": {"generateName": "some-"}}
    names = {(await raw.done("POST", MAPS, body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("some-") and len(name) == 10 for name in names)


async def test_versions_guard_changes(raw: Raw) -> None:
    """Who has read an old one is told of a conflict; a change that changes nothing makes no version."""
    made = await raw.done("POST", MAPS, a_map())
    changed = await raw.done("PUT", f"{MAPS}/map", {**made, "data": {"a": "b"}})
    status, said = await raw.ask("PUT", f"{MAPS}/map", {**made, "data": {"a": "c"}})
    assert (status, said["reason"]) == (409, "Conflict")
    assert "the object has been modified" in said["message"]
    same = await raw.done("PUT", f"{MAPS}/map", changed)
    assert same == changed
    status, said = await raw.ask("POST", MAPS, a_map())
    assert (status, said["reason"]) == (409, "AlreadyExists")


async def test_a_status_is_written_on_its_own(raw: Raw) -> None:
    """It takes nothing of the spec, and the spec nothing of it; only the spec is counted."""
    await raw.done("POST", JOBS, job(suspend=True))
    body = {"status": {"failed": 1}, "spec": {"parallelism": 5}}
    one = await raw.done("PATCH", f"{JOBS}/task/status", body, MERGE)
    assert (one["status"]["failed"], one["spec"]["parallelism"], one["metadata"]["generation"]) == (1, 1, 1)
    two = await raw.done("PATCH", f"{JOBS}/task", {"status": {"failed": 7}, "spec": {"parallelism": 5}}, MERGE)
    assert (two["status"].get("failed") != 7, two["spec"]["parallelism"], two["metadata"]["generation"]) == (True, 5, 2)


async def test_patches(raw: Raw) -> None:
    """Conditions are merged by their type, statuses of containers replaced; operations in a list; no applying."""
    pod = {"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    await raw.done("POST", PODS, pod)
    for word in ("Ready", "Initialized"):
        status: Any = {"conditions": [{"type": word, "status": "True"}], "containerStatuses": [{"name": word}]}
        told = await raw.done("PATCH", f"{PODS}/pod/status", {"status": status}, STRATEGIC)
    assert [each["type"] for each in told["status"]["conditions"]] == ["Initialized", "Ready"]
    assert [each["name"] for each in told["status"]["containerStatuses"]] == ["Initialized"]
    added = [{"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}}]
    told = await raw.done("PATCH", f"{PODS}/pod", added, "application/json-patch+json")
    assert told["metadata"]["labels"] == {"a/b": "c"}
    removed = [
        {"op": "test", "path": "/metadata/labels/a~1b", "value": "x"},
        {"op": "remove", "path": "/metadata/labels"},
    ]
    assert (await raw.ask("PATCH", f"{PODS}/pod", removed, "application/json-patch+json"))[0] == 422
    status, said = await raw.ask("PATCH", f"{PODS}/pod", "a: b", "application/apply-patch+yaml")
    assert (status, said["reason"]) == (415, "UnsupportedMediaType")


async def test_a_list_in_pieces(double: Double, raw: Raw) -> None:
    """All pieces show one moment; when that is forgotten, one can go on from there nevertheless."""
    for number in range(5):
        await raw.done("POST", MAPS, a_map(f"m{number}"))
    first = await raw.done("GET", f"{MAPS}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    assert "kind" not in first["items"][0]  # so the real one sends it
    await raw.done("DELETE", f"{MAPS}/m3")
    await raw.done("POST", MAPS, a_map("m9"))
    token = first["metadata"]["continue"]
    second = await raw.done("GET", f"{MAPS}?limit=2&continue={token}")
    third = await raw.done("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
    names = [each["metadata"]["name"] for each in first["items"] + second["items"] + third["items"]]
    assert names == ["m0", "m1", "m2", "m3", "m4"]
    assert "continue" not in third["metadata"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    double.compact()
    status, said = await raw.ask("GET", f"{MAPS}?limit=2&continue={token}")
    assert (status, said["reason"]) == (410, "Expired")
    rest = await raw.done("GET", f"{MAPS}?continue={said['metadata']['continue']}")
    assert [each["metadata"]["name"] for each in rest["items"]] == ["m2", "m4", "m9"]


async def test_lists_of_a_version(double: Double, raw: Raw) -> None:
    """As it was then, or not older; what is forgotten is gone, what is to come is waited for elsewhere."""
    made = await raw.done("POST", MAPS, a_map("one"))
    version = made["metadata"]["resourceVersion"]
    await raw.done("POST", MAPS, a_map("two"))
    for match, count in (("Exact", 1), ("NotOlderThan", 2)):
        told = await raw.done("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch={match}")
        assert len(told["items"]) == count
    status, said = await raw.ask("GET", f"{MAPS}?resourceVersion=99999")
    assert (status, said["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
    double.compact()
    assert (await raw.ask("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact"))[0] == 410


# Who asks


async def test_tokens(double: Double, raw: Raw) -> None:
    """One that is unknown, revoked or over is worth nothing; who has none may ask for the version."""
    extra = double.access.add_token(user="eve")
    short = double.access.add_token(user="eve", seconds=0.05)
    for token in (extra, short):
        raw.token = token
        assert (await raw.ask("GET", JOBS))[0] == 200
    double.access.revoke(extra)
    await asyncio.sleep(0.06)
    for token in (extra, short, "odd"):
        raw.token = token
        status, said = await raw.ask("GET", JOBS)
        assert (status, said["reason"]) == (401, "Unauthorized")
    async with raw.session.get(f"{double.url}/version") as answer:
        assert answer.status == 200
    async with raw.session.get(double.url + JOBS) as answer:
        assert answer.status == 403
        assert 'User "system:anonymous" cannot list resource "jobs"' in (await answer.json())["message"]


async def test_a_token_of_a_service_account(raw: Raw) -> None:
    """It speaks for the account."""
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    made = await raw.done("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    raw.token = made["status"]["token"]
    said = await raw.done("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert said["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"


async def test_rules(double: Double, raw: Raw) -> None:
    """They refuse what they match, as often as they say, and reviews know it."""
    double.access.refuse(verb="create", plural="jobs", user="admin", times=1)
    review = {
        "spec": {"resourceAttributes": {"verb": "create", "group": "batch", "resource": "jobs", "namespace": "x"}}
    }
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await raw.done("POST", reviews, review))["status"] == {"allowed": False}
    status, said = await raw.ask("POST", JOBS, job())
    assert (status, said["reason"]) == (403, "Forbidden")
    assert (
        'User "admin" cannot create resource "jobs" in API group "batch" in the namespace "default"' in said["message"]
    )
    await raw.done("POST", JOBS, job())
    assert (await raw.done("POST", reviews, review))["status"] == {"allowed": True}


@pytest.mark.parametrize("code", [400, 403, 422])
async def test_a_webhook(double: Double, raw: Raw, code: int) -> None:
    """It refuses with the code that it likes."""
    double.access.refuse(verb="create", plural="jobs", webhook="w.example.com", why="too late", code=code)
    status, said = await raw.ask("POST", JOBS, job())
    assert status == said["code"] == code
    assert said["message"] == 'admission webhook "w.example.com" denied the request: too late'


# What goes wrong on the way


@pytest.mark.parametrize("when", ["before", "middle", "after"])
async def test_an_answer_that_is_lost(double: Double, raw: Raw, when: str) -> None:
    """What was asked for has been done."""
    double.faults.add(Lose(when=when), method="POST", path="/jobs$")
    if when == "after":  # it may have been read before the connection was reset
        await asyncio.gather(raw.ask("POST", JOBS, job()), return_exceptions=True)
    else:
        with pytest.raises(aiohttp.ClientError):
            await raw.ask("POST", JOBS, job())
    assert (await raw.ask("POST", JOBS, job()))[0] == 409


async def test_a_request_that_is_lost(double: Double, raw: Raw) -> None:
    """Nothing was done."""
    double.faults.add(Reset(), method="POST")
    with pytest.raises(aiohttp.ClientError):
        await raw.ask("POST", JOBS, job())
    await raw.done("POST", JOBS, job())


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_errors_in_between(double: Double, raw: Raw, code: int) -> None:
    """The second and third request are met, with a word about when to come again."""
    fault = double.faults.add(Answer(code=code, retry_after=1), verb="list", nth=2, times=2)
    codes = [(await raw.ask("GET", MAPS))[0] for _ in range(4)]
    assert codes == [200, code, code, 200]
    assert (fault.seen, fault.met) == (4, 2)
    double.faults.add(Answer(code=code, retry_after=3), verb="list")
    _, said = await raw.ask("GET", MAPS)
    assert raw.headers["Retry-After"] == "3"
    assert said["details"]["retryAfterSeconds"] == 3
    double.faults.add(Answer(code=code, raw="<html>no</html>"), verb="list")
    assert await raw.ask("GET", MAPS) == (code, "<html>no</html>")


async def test_delays_and_their_end(double: Double, raw: Raw) -> None:
    """They last as long as they are wanted."""
    fault = double.faults.add(Delay(seconds=30), path=MAPS, times=None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(raw.ask("GET", MAPS), 0.1)
    double.faults.remove(fault)
    await raw.done("GET", MAPS)


async def test_a_server_that_is_away_for_a_while(double: Double, raw: Raw) -> None:
    """It comes back at the same place with all that it had; who watched is told by a reset."""
    await raw.done("POST", MAPS, a_map())
    lines = raw.lines(MAPS)
    await anext(lines)
    url = double.url
    await double.stop_api()
    with pytest.raises(aiohttp.ClientError):
        await anext(lines)
    with pytest.raises(aiohttp.ClientConnectorError):
        await raw.ask("GET", MAPS)
    await double.start_api()
    assert double.url == url
    assert len((await raw.done("GET", MAPS))["items"]) == 1
