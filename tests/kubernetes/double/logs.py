"""The logs of pods, which the server fetches from the node on which the pod runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from .faults import Slow
from .kinds import NODES, PODS
from .statuses import Refused, bad_request, not_found
from .storage import Record, Storage

ASKED = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes")


def container_of(pod: Record, wanted: str) -> str:
    """Return of which container the log is wanted."""
    spec = pod.object["spec"]
    names = [each["name"] for each in spec.get("containers", ())]
    others = [each["name"] for each in spec.get("initContainers") or ()]
    if wanted:
        if wanted not in names + others:
            raise bad_request(f"container {wanted} is not valid for pod {pod.key[1]}")
        return wanted
    if len(names) == 1 and not others:
        return str(names[0])
    more = f" or one of the init containers: [{' '.join(others)}]" if others else ""
    if len(names) == 1:
        return str(names[0])
    raise bad_request(
        f"a container name must be specified for pod {pod.key[1]}, choose one of: [{' '.join(names)}]{more}"
    )


def address_of(storage: Storage, name: str) -> str:
    """Return where a node is asked for logs."""
    node = storage.get(NODES, "", name)
    if node is None:
        raise not_found(PODS.plural, "", name)  # so it is said
    status = node.object.get("status", {})
    found = {each["type"]: each["address"] for each in status.get("addresses") or ()}
    host = found.get("InternalIP") or found.get("Hostname")
    if host is None:
        raise Refused(500, "Internal error occurred: no preferred addresses found; known addresses: []", None, {})
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 10250)
    return f"https://{host}:{port}"


async def send_log(
    request: web.BaseRequest, storage: Storage, pod: Record, session: aiohttp.ClientSession, slow: Slow | None
) -> web.StreamResponse:
    """Send the log of a pod, as long as the node has more of it."""
    query = request.rel_url.query
    container = container_of(pod, query.get("container", ""))
    node = pod.object["spec"].get("nodeName")
    if not node:  # it runs nowhere yet: there is nothing to be had, and that is no error
        return web.Response(status=204)
    url = f"{address_of(storage, node)}/containerLogs/{pod.key[0]}/{pod.key[1]}/{container}"
    asked = {key: query[key] for key in ASKED if key in query}
    # A log that is followed may be quiet for hours.
    patience = aiohttp.ClientTimeout(total=None, sock_connect=10)
    try:
        async with session.get(url, params=asked, ssl=False, timeout=patience) as answer:
            if not 200 <= answer.status <= 206:
                raise from_node(answer.status, await answer.text(), pod)
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            pieces = answer.content.iter_any()
            while piece := await next_piece(pieces):
                if slow is not None:
                    await asyncio.sleep(slow.seconds)
                await response.write(piece)
            await response.write_eof()
            return response
    except aiohttp.ClientConnectorError as error:
        why = os.strerror(error.os_error.errno or 0).lower()
        message = f'Get "{url}": dial tcp {error.host}:{error.port}: connect: {why}'
    except aiohttp.ClientError:
        if request.transport is None or request.transport.is_closing():
            raise  # it was not the node that has gone
        message = f'Get "{url}": EOF'
    causes = {"causes": [{"message": message}]}
    raise Refused(500, f"Internal error occurred: {message}", None, causes)


async def next_piece(pieces: AsyncIterator[bytes]) -> bytes:
    """Return the next piece of a log, or nothing at its end; a node that breaks off in the middle ends it as well."""
    try:
        return await anext(pieces, b"")
    except aiohttp.ClientError:
        return b""


def from_node(code: int, text: str, pod: Record) -> Refused:
    """Return how the server passes on that a node refused."""
    if code == 400:
        return bad_request(text)
    if code == 500:
        return Refused(500, f"Internal error occurred: {text}", None, {"causes": [{"message": text}]})
    message = f"the server could not find the requested resource ( pods/log {pod.key[1]})" if code == 404 else text
    details = {
        "name": pod.key[1],
        "kind": "pods/log",
        "causes": [{"reason": "UnexpectedServerResponse", "message": text}],
    }
    return Refused(code, message, None, details)
