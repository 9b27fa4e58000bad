"""A bare client of an API server for tests: one request, one answer; or the lines of a watch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import aiohttp

from .double import Double

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"
EVENTS = "/api/v1/namespaces/default/events"


class Raw:
    """A client of one double.

    Args:
        url: where it is.
        token: who asks.
        session: for all requests.
    """

    def __init__(self, url: str, token: str, session: aiohttp.ClientSession) -> None:
        self.url, self.token, self.session = url, token, session

    async def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **headers: str
    ) -> Any:
        """Return the status and the object of an answer."""
        said = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, **headers}
        data = None if body is None else body if isinstance(body, str) else json.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=said) as answer:
            text = await answer.text()
            self.headers = answer.headers
            return answer.status, json.loads(text) if text[:1] in "{[" and text else text

    async def done(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Return the object of an answer that is no refusal."""
        status, said = await self.ask(method, path, body, kind)
        assert status < 300, said
        return said

    async def lines(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a watch, until it ends."""
        headers = {"Authorization": f"Bearer {self.token}"}
        sep = "&" if "?" in path else "?"
        async with self.session.get(f"{self.url}{path}{sep}watch=1", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                yield line

    async def events(self, path: str, count: int) -> list[tuple[str, Any]]:
        """Return the first events of a watch."""
        found: list[tuple[str, Any]] = []
        async with contextlib.aclosing(self.lines(path)) as lines:
            async for line in lines:
                told = json.loads(line)
                found.append((told["type"], told["object"]))
                if len(found) == count:
                    break
        return found

    async def until(self, path: str, holds: Callable[[Any], Any]) -> Any:
        """Watch one object, or all of a kind, until something holds for one; return it."""
        place, _, name = path.rpartition("/") if path.count("/") > 6 - path.startswith("/api/") else (path, "", "")
        only = f"?fieldSelector=metadata.name%3D{name}" if name else ""
        async with contextlib.aclosing(self.lines(place + only)) as lines:
            async for line in lines:
                told = json.loads(line)["object"]
                if holds(told):
                    return told
        raise AssertionError(f"{path} was never so")


@contextlib.asynccontextmanager
async def asking(double: Double) -> AsyncIterator[Raw]:
    """Return a client for the time of the block."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session:
        yield Raw(double.url, double.token, session)


def job(name: str = "task", *, pod: dict[str, Any] | None = None, **spec: Any) -> Any:
    """Return a Job."""
    inner = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}], **(pod or {})}
    meta = {"name": name}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": {"spec": inner}, **spec}}


def a_map(name: str = "map", labels: dict[str, str] | None = None, **data: str) -> Any:
    """Return a config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


async def pods_of(raw: Raw, name: str) -> list[Any]:
    """Return the pods of a Job."""
    found: list[Any] = (await raw.done("GET", f"{PODS}?labelSelector=job-name%3D{name}"))["items"]
    return found


async def a_pod_of(raw: Raw, name: str, but: tuple[str, ...] = ()) -> str:
    """Wait for a pod of a Job that is none of some others; return its name."""

    def such(pod: Any) -> bool:
        return pod["metadata"].get("labels", {}).get("job-name") == name and pod["metadata"]["name"] not in but

    return str((await raw.until(PODS, such))["metadata"]["name"])


async def end_pod(raw: Raw, name: str, phase: str = "Succeeded", code: int = 0) -> None:
    """Say of a pod that it has ended, as a kubelet does."""
    ended = {"exitCode": code, "reason": "Completed" if not code else "Error"}
    main = {"name": "main", "image": "busybox", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": phase, "containerStatuses": [{**main, "state": {"terminated": ended}}]}
    await raw.done("PATCH", f"{PODS}/{name}/status", {"status": status}, STRATEGIC)


def says(word: str) -> Callable[[Any], bool]:
    """Return a test whether a Job says a condition."""

    def test(value: Any) -> bool:
        told = value.get("status", {}).get("conditions", ())
        return any(each["type"] == word and each["status"] == "True" for each in told)

    return test


def condition(value: Any, word: str) -> Any:
    """Return a condition of a Job."""
    return next(each for each in value["status"]["conditions"] if each["type"] == word)
