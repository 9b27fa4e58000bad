"""A client that knows only what the Kubernetes API says, for the kubelet of the tests and for the tests themselves."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_PAUSE = 0.1


class ApiError(Exception):
    """The API has said no.

    Attributes:
        status: the status of HTTP.
        reason: the reason in a word, as the API has it, such as ``NotFound``.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason = status, reason


class Api:
    """Connections to an API server; it is an async context manager, and closed with its block.

    Args:
        server: its address.
        token: who we are.
        trust: how it proves who it is; None for an address without TLS.
    """

    def __init__(self, server: str, token: str = "", trust: ssl.SSLContext | None = None) -> None:
        self.server, self._token = server.rstrip("/"), token
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Api:
        """Take from a file what the current context says."""
        config = _parse(path.read_text())
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"]).get("user") or {}
        trust = None
        if cluster["server"].startswith("https:"):
            # Told at once: without either it reads all certificates of the machine, which takes long.
            data = base64.b64decode(cluster.get("certificate-authority-data", "")).decode()
            trust = ssl.create_default_context(cafile=cluster.get("certificate-authority"), cadata=data or None)
            if cluster.get("insecure-skip-tls-verify"):
                trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        return cls(cluster["server"], user.get("token", ""), trust)

    async def __aenter__(self) -> Api:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connector = aiohttp.TCPConnector(ssl=self._trust or True, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._session = aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        kind: str = "application/json",
        query: Mapping[str, object] | None = None,
    ) -> Any:
        """Return what the API answers, as an object where it is one.

        Raises:
            ApiError: it has said no.
            aiohttp.ClientError: there is no answer.
        """
        assert self._session is not None
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": kind} if data else {}
        async with self._session.request(method, url, data=data, headers=headers) as response:
            answer = await response.read()
            if response.status >= 400:
                raise _error(response.status, answer)
            return json.loads(answer) if "json" in response.content_type else answer.decode()

    async def get(self, path: str, **query: object) -> Any:
        """Read something."""
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: Object) -> Any:
        """Create something."""
        return await self.call("POST", path, body)

    async def patch(self, path: str, body: Object) -> Any:
        """Change something, by a merge patch: lists are replaced."""
        return await self.call("PATCH", path, body, MERGE)

    async def delete(self, path: str, **options: object) -> Any:
        """Delete something."""
        return await self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    async def surely(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Any:
        """Ask again until there is an answer, as those do who serve a cluster: a server that is down comes back.

        Raises:
            ApiError: it has said no in a way that another try does not change.
        """
        while True:
            try:
                return await self.call(method, path, body, kind)
            except ApiError as error:
                if error.status < 500 and error.status != 429:
                    raise
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(_PAUSE)

    async def follow(self, path: str, **query: object) -> AsyncGenerator[tuple[str, Any], None]:
        """List, then watch, for ever: ``LISTED`` with all there is, first and after each gap, and the changes."""
        while True:
            try:
                listed = await self.get(path, **query)
                kind = listed["kind"].removesuffix("List")
                yield "LISTED", [{"kind": kind, **item} for item in listed["items"]]
                version = listed["metadata"]["resourceVersion"]
                while version:
                    async for event in self._watch(path, version, query):
                        if event["type"] == "ERROR":  # it does not know any more what was at that version
                            version = ""
                            break
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            yield event["type"], event["object"]
            except (aiohttp.ClientError, ApiError, TimeoutError, OSError, ValueError):
                await asyncio.sleep(_PAUSE)

    async def _watch(self, path: str, version: str, query: Object) -> AsyncIterator[Object]:
        """Yield the events of one request."""
        assert self._session is not None
        params = {**query, "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        async with self._session.get(f"{self.server}{path}?{urlencode(params)}") as response:
            if response.status >= 400:
                raise _error(response.status, await response.read())
            rest = b""
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield json.loads(line)


def _error(status: int, answer: bytes) -> ApiError:
    """Return what an answer says."""
    try:
        said = json.loads(answer)
        return ApiError(status, str(said.get("reason", "")), str(said.get("message", "")))
    except (ValueError, AttributeError):
        return ApiError(status, "", answer.decode(errors="replace"))


def _parse(text: str) -> Object:
    """Return what a kubeconfig says; ours are JSON, for which nothing has to be installed."""
    try:
        parsed: Object = json.loads(text)
    except ValueError:
        import yaml  # type: ignore[import-untyped]

        parsed = yaml.safe_load(text)
    return parsed


def _named(config: Object, group: str, name: str) -> Object:
    """Return one of the things with names in a kubeconfig."""
    found: Object = next(it for it in config[group] if it["name"] == name)
    return found
