"""The same requests to two API servers: what each answers, without that in which no two answers are alike."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
#: What a parser says of what it cannot read is its own.
AGE = re.compile(r"(\d+[smh])+")
PARSER = re.compile(r"(json parse error:|cannot be handled as a \w+: (?!no kind)).*", re.DOTALL)
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass
class Ask:
    """One request.

    Args:
        method, path: in which NS stands for the namespace, and {uid} or {rv} for those of the last object answered,
            and {pod} for the name of the first pod of the last list.
        body: what is sent: an object, or text as it is.
        type: its content type.
        accept: in which form the answer is wanted.
        until: it is asked again until this holds for the answer.
        lines: it is a watch, of which that many events are read.
        token: what is said of who asks; None for the one who may do everything.
        ignore: fields, by name, in which the two differ and may.
    """

    method: str
    path: str
    body: Any = None
    type: str = "application/json"
    accept: str = "application/json"
    until: Callable[[Any], Any] | None = None
    lines: int = 0
    token: str | None = None
    ignore: tuple[str, ...] = field(default=())


class Asker:
    """Asks one server.

    Args:
        kubeconfig: how it is reached.
        namespace: for all that is asked.
    """

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.url: str = cluster["server"]
        authority = cluster.get("certificate-authority-data")
        self._ssl: ssl.SSLContext | bool = True
        if authority:
            self._ssl = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
        self._token = config["users"][0]["user"]["token"]
        self._namespace = namespace
        self._last: dict[str, str] = {"uid": "", "rv": ""}

    async def ask(self, asks: list[Ask]) -> list[Any]:
        """Return the normalised answers to requests, made one after the other."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
            return [self._alike(await self._one(session, each), each) for each in asks]

    async def _one(self, session: aiohttp.ClientSession, ask: Ask) -> tuple[int, Any]:
        body = ask.body if isinstance(ask.body, str | None) else json.dumps(ask.body)
        path = ask.path
        for name, value in self._last.items():
            path = path.replace(f"{{{name}}}", value)
            body = body.replace(f"{{{name}}}", value) if body is not None else None
        token = self._token if ask.token is None else ask.token
        headers = {"Accept": ask.accept, **({"Authorization": f"Bearer {token}"} if token else {})}
        if body is not None:
            headers["Content-Type"] = ask.type
            body = body.replace("NS", self._namespace)
        url = self.url + path.replace("NS", self._namespace)
        for _ in range(200):
            async with session.request(ask.method, url, data=body, headers=headers, ssl=self._ssl) as answer:
                if ask.lines:
                    told = [json.loads(await answer.content.readline() or b"null") for _ in range(ask.lines)]
                    return answer.status, told
                text = await answer.text()
                said = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
                if ask.until is None or ask.until(said):
                    break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"it was never so: {ask}: {said}")
        meta = said.get("metadata", {}) if isinstance(said, dict) else {}
        if isinstance(said, dict) and said.get("kind") == "PodList" and said["items"]:
            self._last["pod"] = said["items"][0]["metadata"]["name"]
        elif meta.get("resourceVersion"):
            self._last |= {"uid": meta.get("uid", ""), "rv": meta["resourceVersion"]}
        return answer.status, said

    def _alike(self, answer: tuple[int, Any], ask: Ask) -> Any:
        """Return an answer without what is different every time."""
        uids: dict[str, str] = {}

        def text(value: str) -> str:
            value = UID.sub(lambda found: uids.setdefault(found[0], f"uid-{len(uids)}"), value)
            value = PARSER.sub(r"\1 ...", value)
            return TIME.sub("some time", value).replace(self._namespace, "NS")

        def walk(value: Any, name: str = "") -> Any:
            if isinstance(value, dict):
                dropped = ["managedFields", *ask.ignore]
                if isinstance(value.get("details"), dict) and value["details"].get("causes"):
                    dropped.append("message")  # it says what the causes say, some of them twice
                return {key: walk(inner, key) for key, inner in sorted(value.items()) if key not in dropped}
            if name == "causes":
                return sorted({json.dumps(walk(inner), sort_keys=True) for inner in value})
            if isinstance(value, list):
                return [walk(inner, name) for inner in value]
            if name in ("resourceVersion", "continue") and value:
                return f"some {name}"
            if name == "cells" and isinstance(value, str) and AGE.fullmatch(value):
                return "some age"
            return text(value) if isinstance(value, str) else value

        return [answer[0], walk(answer[1])]
