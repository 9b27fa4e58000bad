"""An API server in memory whose answers are scripted: plain data, a clock, and a word on each connection.

It keeps what a cluster keeps of Jobs and their pods, and what comes of them comes by the clock of the loop, whenever
somebody looks. A script says of each request what goes wrong with it; without one all goes well.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler

from lifecycle.scheduler.kubernetes._client import Client
from lifecycle.scheduler.kubernetes._cluster import Cluster
from lifecycle.scheduler.kubernetes._credentials import Credentials
from lifecycle.testing import Bubble

HOST, PORT = "api.test", 6443
PODS, JOBS = "/api/v1/namespaces/n/pods", "/apis/batch/v1/namespaces/n/jobs"


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    number: int
    time: float
    method: str
    path: str
    query: Mapping[str, str]
    body: Any

    @property
    def kind(self) -> str:
        """Return what it is in one word."""
        watch = "watch" if self.query.get("watch") else "list"
        if self.path.endswith("/log"):
            return "log"
        if self.path in (PODS, JOBS):
            return {"GET": f"{watch} {self.path.rpartition('/')[2]}", "POST": "create"}.get(self.method, self.method)
        return {"GET": "get", "DELETE": "delete", "PATCH": "patch"}[self.method]


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """What goes wrong with one request.

    Attributes:
        act: whether the server does what it is asked for; a number of seconds for so much later.
        wait: seconds before it answers.
        answer: what it says in place of its own answer: a status and a body.
        headers: further ones of that answer.
        cut: bytes of the answer, the head included, after which the connection is gone; 0 for no answer.
        clean: whether the cut is a proper end of a body that has begun.
        silent: whether the connection stays open after the cut.
    """

    act: bool | float = True
    wait: float = 0.0
    answer: tuple[int, Any] | None = None
    headers: tuple[str, ...] = ()
    cut: int | None = None
    clean: bool = False
    silent: bool = False


Script = Callable[[Request], Wrong | None]


def every(kind: str, wrong: Wrong) -> Script:
    """Let all requests of a kind go wrong."""
    return lambda request: wrong if request.kind == kind else None


def first(kind: str, *wrongs: Wrong) -> Script:
    """Let the first requests of a kind go wrong, one after the other."""
    left = list(wrongs)
    return lambda request: left.pop(0) if request.kind == kind and left else None


_apis: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Api] = weakref.WeakKeyDictionary()


async def open_scripted(name: str, cluster: Cluster) -> Client:
    """Return a client of the server of this loop; stands in for `open_client`."""
    await asyncio.sleep(0)
    return _apis[asyncio.get_running_loop()].client(name, cluster.timeout)


def status(code: int, reason: str, message: str = "", **details: Any) -> dict[str, Any]:
    """Return a Status object."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message or reason}
    return {**said, "reason": reason, "details": details}


@dataclass
class Api:
    """The server and its cluster.

    Attributes:
        script: says what goes wrong.
        lasts: seconds that a container runs; None for ever.
        lines: what it writes, each line when the container is so many seconds old.
        events: how the containers of a pod are told of, one after the other, each so many seconds after the pod.
    """

    script: Script = lambda _: None
    lasts: float | None = 2.0
    lines: tuple[tuple[float, bytes], ...] = ((0.25, b"one"), (0.5, b"two"))
    pod_after: float = 0.1
    gone_after: float = 0.3
    requests: list[Request] = field(default_factory=list)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: Counter[str] = field(default_factory=Counter)
    together: int = 0  # the most Jobs of one label at once
    history: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    forgotten: int = 0
    sessions: list[aiohttp.ClientSession] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count(1)
        self._version = 100
        self._bells: dict[asyncio.Event, None] = {}  # in order: a set's would differ from run to run
        self._logs: dict[str, list[tuple[float, bytes]]] = {}

    async def serve(self, bubble: Bubble) -> Api:
        """Answer from now on."""
        await bubble.network.peer(self._answer_connection, HOST, PORT)
        _apis[asyncio.get_running_loop()] = self
        return self

    def client(self, name: str = "default", timeout: float = 60.0) -> Client:
        """Return a client that reaches it."""
        configuration = SimpleNamespace(host=f"http://{HOST}:{PORT}", api_key={}, tls_server_name=None, proxy=None)
        credentials = Credentials(configuration, "n", None, "", ())
        session = aiohttp.ClientSession(connector=InMemory(limit=0))
        client = Client(name, Cluster(timeout=timeout), credentials, session=session)
        self.sessions.append(session)
        return client

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return what there is of ``jobs`` or ``pods`` now."""
        self._catch_up()
        return [one for path, one in self.objects.items() if path.startswith({"jobs": JOBS, "pods": PODS}[kind])]

    def count(self, kind: str) -> int:
        """Return how often it was asked for something."""
        return sum(request.kind == kind for request in self.requests)

    # The cluster

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _later(self, seconds: float, function: Callable[[], object]) -> None:
        heapq.heappush(self._agenda, (self._now() + seconds, next(self._numbers), function))

    def _catch_up(self) -> None:
        while self._agenda and self._agenda[0][0] <= self._now():
            heapq.heappop(self._agenda)[2]()

    def put(self, path: str, item: dict[str, Any], change: str = "MODIFIED") -> dict[str, Any]:
        """Keep an object, and tell those who watch."""
        self._version += 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        if change == "DELETED":
            self.objects.pop(path, None)
        else:
            self.objects[path] = item
        self.history.append((self._version, change, path, item))
        for bell in tuple(self._bells):
            bell.set()
        return item

    def create(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Make a Job."""
        name = body["metadata"]["name"]
        path = f"{JOBS}/{name}"
        if path in self.objects:
            return 409, status(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        self.created[name] += 1
        meta = {**body["metadata"], "uid": f"job-{next(self._numbers)}", "creationTimestamp": "2026-12-01T00:00:00Z"}
        item = self.put(path, {**body, "metadata": meta, "status": {}}, "ADDED")
        self.together = max(self.together, sum(one.startswith(JOBS) for one in self.objects))
        self._later(self.pod_after, lambda: self._make_pod(path, meta["uid"]))
        return 201, item

    def _make_pod(self, owner: str, uid: str) -> None:
        job = self.objects.get(owner)
        if job is None or job["metadata"]["uid"] != uid:
            return
        name = f"{job['metadata']['name']}-{next(self._numbers)}"
        labels = {**job["spec"]["template"]["metadata"]["labels"], "job-name": job["metadata"]["name"]}
        meta = {"name": name, "namespace": "n", "uid": f"pod-{name}", "labels": labels}
        meta["ownerReferences"] = [{"uid": uid}]
        spec = {"nodeName": "node", "containers": job["spec"]["template"]["spec"]["containers"]}
        running = {"name": "main", "state": {"running": {}}, "containerID": "x"}
        path = f"{PODS}/{name}"
        self._logs[path] = [(self._now() + after, line) for after, line in self.lines]
        pod = {"metadata": meta, "spec": spec, "status": {"phase": "Running", "containerStatuses": [running]}}
        self.put(path, pod, "ADDED")
        if self.lasts is not None:
            self._later(self.lasts, lambda: self._end(owner, path))

    def _end(self, owner: str, path: str) -> None:
        pod, job = self.objects.get(path), self.objects.get(owner)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return
        state = {"terminated": {"exitCode": 0, "containerID": "x", "reason": "Completed"}}
        ended = {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": state}]}
        self.put(path, {**pod, "status": ended})
        if job is not None:
            condition = {"type": "Complete", "status": "True"}
            self.put(owner, {**job, "status": {"succeeded": 1, "conditions": [condition]}})

    def delete(self, path: str, body: Any) -> tuple[int, Any]:
        """Delete an object in the background."""
        item = self.objects.get(path)
        if item is None:
            return 404, status(404, "NotFound")
        wanted = (body or {}).get("preconditions") or {}
        if any(item["metadata"][key] != value for key, value in wanted.items()):
            return 409, status(409, "Conflict", "the precondition does not match")
        self.put(path, item, "DELETED")
        for own, pod in list(self.objects.items()):
            if item["metadata"]["uid"] in {one["uid"] for one in pod["metadata"].get("ownerReferences") or ()}:
                self.put(own, {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-12-01T00:00:00Z"}})
                self._later(self.gone_after, lambda own=own: self._remove(own))
        return 200, {"kind": "Status", "status": "Success"}

    def _remove(self, path: str) -> None:
        if (pod := self.objects.get(path)) is not None:
            self.put(path, pod, "DELETED")

    def patch(self, path: str, body: Any) -> tuple[int, Any]:
        """Merge annotations into an object."""
        item = self.objects.get(path)
        if item is None:
            return 404, status(404, "NotFound")
        meta = body["metadata"]
        if meta["resourceVersion"] != item["metadata"]["resourceVersion"]:
            return 409, status(409, "Conflict", "the object has been modified")
        annotations = {**(item["metadata"].get("annotations") or {}), **meta["annotations"]}
        return 200, self.put(path, {**item, "metadata": {**item["metadata"], "annotations": annotations}})

    def act(self, request: Request) -> tuple[int, Any]:
        """Do what a request asks for, and return the answer."""
        self._catch_up()
        if request.method == "POST":
            return self.create(request.body)
        if request.method == "DELETE":
            return self.delete(request.path, request.body)
        if request.method == "PATCH":
            return self.patch(request.path, request.body)
        if request.path in (PODS, JOBS):
            items = [one for path, one in self.objects.items() if _selected(request, path, one)]
            return 200, {"metadata": {"resourceVersion": str(self._version)}, "items": items}
        item = self.objects.get(request.path)
        return (200, item) if item is not None else (404, status(404, "NotFound"))

    # The connections

    async def _answer_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await _head(reader)) is not None:
            request = await self._request(head, reader)
            self.requests.append(request)
            wrong = self.script(request) or Wrong()
            out = _Out(writer, wrong)
            try:
                await self._answer(request, wrong, out)
            except _Cut:
                if wrong.silent:
                    await asyncio.get_running_loop().create_future()
                return  # which closes it, after what was written

    async def _request(self, head: str, reader: asyncio.StreamReader) -> Request:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        url = urlsplit(target)
        number = len(self.requests)
        return Request(
            number, self._now(), method, url.path, dict(parse_qsl(url.query)), json.loads(body) if body else None
        )

    async def _answer(self, request: Request, wrong: Wrong, out: _Out) -> None:
        streams = request.kind == "log" or request.kind.startswith("watch")
        answer: tuple[int, Any] = (200, {})
        if wrong.act is True and not streams:
            answer = self.act(request)
        elif wrong.act and wrong.act is not True:
            self._later(wrong.act, lambda: self.act(request))
        if wrong.wait:
            await self._sleep(wrong.wait)
        if wrong.answer is not None:
            answer, streams = wrong.answer, False
        if not streams:
            out.whole(*answer, wrong.headers)
        elif request.kind == "log":
            await self._log(request, out)
        else:
            await self._watch(request, out)

    async def _sleep(self, seconds: float) -> None:
        """Wait, and let the cluster go on meanwhile."""
        until = self._now() + seconds
        bell = asyncio.Event()
        while self._now() < until:
            await self._wait(bell, until)

    async def _wait(self, bell: asyncio.Event, until: float) -> None:
        """Wait for a change, or for the next thing on the agenda."""
        self._catch_up()
        due = min([until, *(time for time, _, _ in self._agenda[:1])])
        self._bells[bell] = None
        try:
            async with asyncio.timeout_at(due):
                await bell.wait()
        except TimeoutError:
            pass
        finally:
            self._bells.pop(bell, None)
            bell.clear()
            self._catch_up()

    async def _watch(self, request: Request, out: _Out) -> None:
        version, until = int(request.query["resourceVersion"]), self._now() + int(request.query["timeoutSeconds"])
        out.begin()
        bell, bookmark = asyncio.Event(), self._now() + 60
        if version < self.forgotten:
            out.line({"type": "ERROR", "object": status(410, "Expired", "too old resource version")})
            until = 0.0
        while self._now() < until:
            for number, change, path, item in self.history:
                if number > version and path.startswith(request.path) and _selected(request, path, item):
                    out.line({"type": change, "object": item})
                    version = number
            await self._wait(bell, min(until, bookmark))
            if self._now() >= bookmark:
                bookmark = self._now() + 60
                version = self._version
                out.line({"type": "BOOKMARK", "object": {"kind": "x", "metadata": {"resourceVersion": str(version)}}})
        out.end()

    async def _log(self, request: Request, out: _Out) -> None:
        path = request.path.removesuffix("/log")
        self._catch_up()
        if path not in self.objects:
            out.whole(404, status(404, "NotFound"), ())
            return
        out.begin()
        bell, given = asyncio.Event(), 0
        since = float(request.query["sinceTime"][17:19]) if "sinceTime" in request.query else 0.0
        while True:
            lines = self._logs[path]
            while given < len(lines) and lines[given][0] <= self._now():
                time, line = lines[given]
                given += 1
                if int(time) >= since:
                    out.piece(f"2026-12-01T00:00:{int(time):02}.{round(time % 1 * 1e9):09}Z ".encode() + line + b"\n")
            pod = self.objects.get(path)
            running = pod is not None and pod["status"]["phase"] == "Running"
            if not running or not request.query.get("follow"):
                break
            due = lines[given][0] if given < len(lines) else float("inf")
            await self._wait(bell, min(due, self._now() + 3600))
        out.end()


class _Cut(Exception):
    """The connection is gone as the script says."""


class _Out:
    """Writes one answer, up to where it is cut."""

    def __init__(self, writer: asyncio.StreamWriter, wrong: Wrong) -> None:
        self._writer = writer
        self._left = wrong.cut
        self._clean = wrong.clean
        self._in_body = False

    def _write(self, data: bytes) -> None:
        if self._left is None:
            self._writer.write(data)
            return
        self._writer.write(data[: self._left])
        self._left -= min(self._left, len(data))
        if not self._left:
            raise _Cut

    def whole(self, code: int, body: Any, headers: tuple[str, ...]) -> None:
        """Write an answer with its length."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, bytes) else "application/json"
        lines = (f"HTTP/1.1 {code} X", f"Content-Type: {kind}", f"Content-Length: {len(data)}", *headers)
        self._write("\r\n".join((*lines, "", "")).encode() + data)

    def begin(self) -> None:
        """Write the head of a stream; a cut counts the bytes of the body then, if it is a clean one."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        if not self._clean:
            self._write(head)
            return
        self._writer.write(head)
        if not self._left:
            self._writer.write(b"0\r\n\r\n")
            raise _End

    def piece(self, data: bytes) -> None:
        """Write a piece of a stream."""
        if self._clean and self._left is not None and len(data) >= self._left:
            if self._left:
                self._writer.write(f"{self._left:x}\r\n".encode() + data[: self._left] + b"\r\n")
            self._writer.write(b"0\r\n\r\n")
            raise _End
        if self._clean and self._left is not None:
            self._left -= len(data)
            self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        else:
            self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def line(self, item: Any) -> None:
        """Write an object and the end of its line."""
        self.piece(json.dumps(item).encode() + b"\n")

    def end(self) -> None:
        """Write the end of a stream."""
        self._write(b"0\r\n\r\n") if not self._clean else self._writer.write(b"0\r\n\r\n")


class _End(_Cut):
    """The same after a proper end of the body: what the client sees is no error."""


class _Protocol(ResponseHandler):
    """aiohttp's own, but for a timer that it would start when the connection is lost already, and leave."""

    def start_timeout(self) -> None:
        if not self._connection_lost_called:
            super().start_timeout()


class InMemory(aiohttp.BaseConnector):
    """Connects through the loop, as asyncio's own streams do: aiohttp's connector opens sockets by itself."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._factory = partial(_Protocol, loop=self._loop)

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        try:
            async with asyncio.timeout(timeout.sock_connect):
                _, protocol = await self._loop.create_connection(self._factory, HOST, PORT)
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return protocol


async def _head(reader: asyncio.StreamReader) -> str | None:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()[:-4]
    except asyncio.IncompleteReadError:
        return None


def _selected(request: Request, path: str, item: Mapping[str, Any]) -> bool:
    if not path.startswith(request.path + "/"):
        return False
    labels = item["metadata"].get("labels") or {}
    wanted = dict(_pairs(request.query.get("labelSelector", "")))
    return all(labels.get(key) == value for key, value in wanted.items())


def _pairs(selector: str) -> Iterator[tuple[str, str]]:
    for part in selector.split(","):
        if part:
            key, _, value = part.partition("=")
            yield key, value
