"""``http``: one request; its response is data."""

from __future__ import annotations

import importlib.util
import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .._ground.errors import ExpressionError
from .._ground.limits import HTTP_BYTES, RESULT_BYTES
from .._ground.text import quote
from .._ground.values import to_plain
from .._language.expressions import Reference, Template, as_text, references
from .._language.paths import Boundary
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader

TIMEOUT: Final = 30.0
"""Seconds that a request may take unless the flow says otherwise: a silent server must not hold up a job."""

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_BODIES: Final = ("json", "form", "text")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Http(Block):
    """Sends a request; the output is the answer's status, headers, text, JSON and URL.

    Its client and connection are owned by the job and closed when the block ends.

    Attributes:
        url: where it goes, compiled.
        method: GET, POST, ...
        query: added to the URL, compiled.
        headers: compiled.
        body: what is sent, compiled, None for nothing.
        body_kind: ``json``, ``form`` or ``text``.
        ok: ranges of the statuses that count as success.
        redirects: how many redirects are followed.
        limit: how many bytes the answer may have.
        verify: whether the server's certificate is checked.
        ca: a file of certificates to check it against, compiled; empty for the usual ones.
        boundary: where that file may be.
    """

    kind: ClassVar[str] = "http"
    url: Any
    method: str
    query: dict[str, Any]
    headers: dict[str, Any]
    body: Any
    body_kind: str | None
    ok: tuple[tuple[int, int], ...]
    redirects: int
    limit: int
    verify: bool
    ca: Any
    boundary: Boundary

    async def run(self, frame: Frame) -> object:
        """Send the request, and return the answer when its status counts as success."""
        from .._work.http import Request, send

        headers = {name: as_text(value) for name, value in frame.resolve(self.headers).items()}
        content, kind = self._content(frame)
        if kind is not None and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = kind
        ca = as_text(frame.resolve(self.ca))
        request = Request(
            method=self.method,
            url=self._full_url(frame),
            headers=headers,
            content=content,
            ok=self.ok,
            redirects=self.redirects,
            limit=self.limit,
            verify=self.verify,
            ca=self.boundary.inside(ca, "ca") if ca else None,
            path=frame.path,
            hide=frame.context.secrets.hide,
        )
        return to_plain(await send(frame, request), f"the answer to {frame.path}")

    def _full_url(self, frame: Frame) -> str:
        url = _filled_in(self.url, frame)
        query = {name: as_text(value) for name, value in frame.resolve(self.query).items()}
        if query:
            url += ("&" if "?" in url else "?") + urllib.parse.urlencode(query)
        if not url.lower().startswith(("http://", "https://")):
            raise ExpressionError(f"http: expected a URL with http:// or https://, got {quote(url)}")
        return url

    def _content(self, frame: Frame) -> tuple[bytes | None, str | None]:
        body = frame.resolve(self.body)
        if self.body_kind == "json":
            return json.dumps(body).encode(), "application/json"
        if self.body_kind == "form":
            if not isinstance(body, dict):
                raise ExpressionError(f"form: expected a table, got {quote(body)}")
            fields = {name: as_text(value) for name, value in body.items()}
            return urllib.parse.urlencode(fields).encode(), "application/x-www-form-urlencoded"
        if self.body_kind == "text":
            return as_text(body).encode("utf-8", "surrogatepass"), "text/plain; charset=utf-8"
        return None, None

    def references(self) -> Iterator[Reference]:
        """Yield the references in everything that is sent."""
        for value in (self.url, self.query, self.headers, self.body, self.ca):
            yield from references(value)


def _filled_in(url: Any, frame: Frame) -> str:
    """Return the URL with its expressions filled in: one at its beginning as it is, each other as one encoded piece."""
    if not isinstance(url, Template):
        return str(url)
    texts = []
    for number, part in enumerate(url.parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        text = as_text(frame.resolve(Template((part,))))
        if number == 0:
            texts.append(text)
        elif text in (".", ".."):
            raise ExpressionError(f"http: {part} is {text!r}, which would lead to another place of the server")
        else:
            texts.append(urllib.parse.quote(text, safe="", errors="surrogatepass"))
    return "".join(texts)


def read_http(reader: BlockReader) -> Http:
    """Read ``http`` (the URL) and what belongs to the request."""
    if importlib.util.find_spec("httpx") is None:
        reader.problem("http", "needs httpx: pip install 'asyncio-lifecycle[scheduler]'")
    common = reader.common()
    if common["timeout"] is None:
        common["timeout"] = TIMEOUT
    body_kind = _read_body_kind(reader)
    return Http(
        **common,
        url=_read_url(reader),
        method=reader.choice("method", METHODS) if "method" in reader or not body_kind else "POST",
        query=_read_values(reader, "query"),
        headers=_read_headers(reader),
        body=reader.value(body_kind) if body_kind else None,
        body_kind=body_kind,
        ok=_read_ok(reader),
        redirects=reader.integer("redirects", 0, minimum=0, maximum=20),
        limit=reader.integer("max_bytes", HTTP_BYTES, minimum=0, maximum=RESULT_BYTES),
        verify=reader.flag("verify", True),
        ca=reader.path_to("ca"),
        boundary=reader.flow.boundary,
    )


def _read_url(reader: BlockReader) -> Any:
    url = reader.value("http")
    if not isinstance(url, (str, Template)):
        reader.problem("http", f"expected a URL, got {quote(url)}")
        return ""
    start = url.parts[0] if isinstance(url, Template) else url
    if isinstance(start, str):
        scheme, slashes, host = start.partition("://")
        if scheme.lower() not in ("http", "https") or not slashes or not (host or isinstance(url, Template)):
            reader.problem("http", f"expected a URL with http:// or https://, got {quote(start)}")
        elif any(character.isspace() or not character.isprintable() for character in start):
            reader.problem("http", "a URL holds no spaces and no control characters; encode them")
    return url


def _read_body_kind(reader: BlockReader) -> str | None:
    kinds = [kind for kind in _BODIES if kind in reader]
    for other in kinds[1:]:
        reader.raw(other)
        reader.problem(other, f"a request has one body, and this one has {kinds[0]!r} already")
    return kinds[0] if kinds else None


def _read_values(reader: BlockReader, key: str) -> dict[str, Any]:
    table = reader.value(key, {})
    if not isinstance(table, dict):
        reader.problem(key, f"expected a table, got {quote(table)}")
        return {}
    for name, value in table.items():
        if isinstance(value, (list, dict)) or value is None:
            reader.problem(f"{key}.{name}", f"expected a string or a number, got {quote(value)}")
    return table


def _read_headers(reader: BlockReader) -> dict[str, Any]:
    headers = _read_values(reader, "headers")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            reader.problem("headers", f"expected a header's name, got {quote(name)}")
        if isinstance(value, str) and not (value.isprintable() or value == ""):
            reader.problem(f"headers.{name}", "a header's value is one line")
    return headers


def _read_ok(reader: BlockReader) -> tuple[tuple[int, int], ...]:
    given = reader.raw("ok", ["200-299"])
    ranges = [_status_range(entry) for entry in given] if isinstance(given, list) and given else [None]
    if None in ranges:
        reader.problem("ok", f"expected a list of statuses, as in [200, 404] or ['200-299'], got {quote(given)}")
        return ((200, 299),)
    return tuple(entry for entry in ranges if entry is not None)


def _status_range(entry: object) -> tuple[int, int] | None:
    if type(entry) is int and 100 <= entry <= 599:
        return entry, entry
    if isinstance(entry, str) and (match := re.fullmatch(r"([1-5]\d\d)-([1-5]\d\d)", entry)):
        first, last = int(match[1]), int(match[2])
        return (first, last) if first <= last else None
    return None
