"""HTTP requests: a client with one connection, owned by the block, and an answer that is bounded; the room of httpx."""

from __future__ import annotations

import functools
import json
import ssl
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import httpx

from .._ground.errors import HttpFailed, OutputTooLarge
from .._ground.limits import VALUE_DEPTH
from .._ground.text import one_line, quote, shorten

if TYPE_CHECKING:
    from .frame import Frame

ANSWER_HEADERS: Final = 100
"""Headers of an answer that are kept, of 2,000 characters each."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request and what counts as an answer.

    Attributes:
        method: GET, POST, ...
        url: where it goes.
        headers: what it says.
        content: the body, None for none.
        ok: tells whether a status counts as success.
        redirects: how many redirects are followed.
        limit: how many bytes the answer's body may have.
        verify: whether the server's certificate is checked.
        ca: a file with certificates to check it against, None for the usual ones.
        path: the block's path.
        hide: takes secrets out of a text.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None
    ok: tuple[tuple[int, int], ...]
    redirects: int
    limit: int
    verify: bool
    ca: Path | None
    path: str
    hide: Callable[[str], str] = str

    def succeeded(self, status: int) -> bool:
        """Return whether a status counts as success."""
        return any(first <= status <= last for first, last in self.ok)


async def send(frame: Frame, request: Request) -> dict[str, Any]:
    """Send a request and return the answer's ``status``, ``headers``, ``text``, ``json`` and ``url``.

    Cancellation: the connection is closed before this returns; the server may have acted.

    Raises:
        HttpFailed: the status does not count as success.
        OutputTooLarge: the body is larger than the limit.
        OSError: the server cannot be reached, or does not speak HTTP.
    """
    context = await _tls_context(request)
    async with frame.scope.child(f"http of {request.path}") as scope:
        client = await scope.acquire(_client, request, context, release=httpx.AsyncClient.aclose, name="http client")
        try:
            answer = await _exchange(client, request)
        except httpx.HTTPError as error:
            # httpx's own errors hold the request with all its headers, and often have no text.
            text = one_line(shorten(request.hide(str(error) or type(error).__name__), 400))
            raise ConnectionError(f"{request.method} {_shown(request.url, request)}: {text}") from None
        except httpx.InvalidURL as error:
            raise ValueError(f"{_shown(request.url, request)} is not a URL: {error}") from None
    return answer


def _client(request: Request, context: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=context,
        timeout=None,  # the block's own timeout bounds everything
        follow_redirects=request.redirects > 0,
        max_redirects=request.redirects,
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
    )


async def _tls_context(request: Request) -> ssl.SSLContext:
    # Reading the certificates takes tens of milliseconds: never in the loop, and the usual ones only once.
    if request.ca is not None:
        return await anyio.to_thread.run_sync(functools.partial(ssl.create_default_context, cafile=request.ca))
    return await anyio.to_thread.run_sync(_usual_context, request.verify)


@functools.lru_cache(maxsize=2)
def _usual_context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _exchange(client: httpx.AsyncClient, request: Request) -> dict[str, Any]:
    headers = {"accept-encoding": "identity", **{name.lower(): value for name, value in request.headers.items()}}
    async with client.stream(request.method, request.url, headers=headers, content=request.content) as response:
        body = await _body(response, request)
    text = _text(response, body)
    if not request.succeeded(response.status_code):
        said = one_line(shorten(request.hide(text.strip()), 400))
        message = f"{request.method} {_shown(str(response.url), request)} was answered with {response.status_code}"
        if response.reason_phrase:
            message += f" {one_line(shorten(response.reason_phrase, 100))}"
        raise HttpFailed(
            f"{message}{f': {said}' if said else ''}", status=response.status_code, text=request.hide(text)[:4_000]
        )
    return {
        "status": response.status_code,
        "headers": {name: value[:2_000] for name, value in list(response.headers.items())[:ANSWER_HEADERS]},
        "text": text,
        "json": _json(response, text),
        "url": str(response.url),
    }


async def _body(response: httpx.Response, request: Request) -> bytes:
    """Return the body, never holding much more than its limit, however well it is compressed."""
    limit = request.limit
    decoder = _decoder(response.headers.get("content-encoding", "").strip().lower())
    body = bytearray()
    # Raw: httpx's own decoding has no bound, and 64 KiB can become 64 MiB in one step.
    async for chunk in response.aiter_raw(65_536):
        body += decoder.decompress(chunk, limit + 1 - len(body)) if decoder else chunk
        if len(body) > limit:
            raise OutputTooLarge(
                f"the answer of {_shown(str(response.url), request)} is larger than {limit:,} bytes; "
                "fetch it with a handler that writes it to a file, or raise max_bytes"
            )
    return bytes(body)


def _decoder(encoding: str) -> Any:
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | (16 if "gzip" in encoding else 0))
    raise ValueError(f"the answer is encoded as {quote(encoding)}, which the request did not ask for")


def _text(response: httpx.Response, body: bytes) -> str:
    try:
        return body.decode(response.charset_encoding or "utf-8", "replace")
    except LookupError:  # an unknown charset
        return body.decode("utf-8", "replace")


def _json(response: httpx.Response, text: str) -> Any:
    """Return the body as data when it says that it is JSON and is, else None."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if _depth_within(value, VALUE_DEPTH - 2) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth_within(value: Any, depth: int) -> bool:
    if not isinstance(value, (list, dict)):
        return True
    children = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_depth_within(child, depth - 1) for child in children)


def _shown(url: str, request: Request) -> str:
    """Return a URL for messages: without secrets, and without what often is one, user and query."""
    bare, _, _ = request.hide(url).partition("?")
    scheme, slashes, rest = bare.partition("://")
    host, slash, place = rest.partition("/")
    return shorten(f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{place}", 200)
