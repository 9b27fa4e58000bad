"""Requests: who asks for what is found out here, faults are met, and the answer takes the form that was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from .access import Access, Request, Token
from .discovery import discovery
from .faults import Answer, Delay, Faults, Lose, Reset, Slow, reset
from .kinds import NAMESPACES, SERVICE_ACCOUNTS, Kind
from .listing import bare, listed, number, refuse_initial_events, true
from .logs import send_log
from .manners import Manner
from .pods import bind, evict
from .registry import Registry
from .removal import Removal
from .reviews import reviewed
from .routes import Route, place, routed
from .selectors import Selector
from .statuses import Object, Refused, bad_request, cause, encoded, gone, invalid, method_not_allowed
from .storage import Record
from .tables import Tables, metadata_of
from .watching import Watch, stream

#: How many bytes a body may have.
BODY = 3 * 1024 * 1024
ORPHANED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set"
    " propagationPolicy=Orphan to suppress this warning"
)


class Serving:
    """Answers requests.

    Args:
        registry, removal, access, faults: what it acts on, and who may.
        bookmark_interval: seconds between two bookmarks of a watch.
    """

    def __init__(self, registry: Registry, removal: Removal, access: Access, faults: Faults, manner: Manner) -> None:
        self.registry = registry
        self.storage = registry.storage
        self.removal = removal
        self.access = access
        self.faults = faults
        self.manner = manner
        self.bookmark_interval = 60.0
        #: Whether a watch from too old a version is refused at once, instead of in its first event.
        self.gone_at_once = False
        self.watches: dict[Watch, None] = {}
        #: What ends when a client has gone: a watch may have nothing to say for hours, and would not notice.
        self.leaving: dict[object, Callable[[], object]] = {}
        self.requests = 0
        self.control: Callable[[str, Object], Object] | None = None
        self._tables = Tables(manner)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let the connections to nodes go."""
        if self._session is not None:
            await self._session.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or spoil it."""
        self.requests += 1
        path = request.path
        if self.control is not None and path.startswith("/double/"):
            return self._controlled(path.removeprefix("/double/"), await request.read())
        watch = true(request.rel_url.query, "watch")
        actions: list[Any] = []
        try:
            try:
                route = routed(request.method, path, watch=watch)
            except Refused:
                self.access.identify(request.headers.get("Authorization", ""))
                raise
            actions = self.faults.take(request.method, route.verb, request.path_qs)
            for action in actions:
                if isinstance(action, Delay):
                    await asyncio.sleep(action.seconds)
                elif isinstance(action, Answer):
                    return spoiled(action)
                elif isinstance(action, Reset):
                    reset(request.transport)
                    return web.Response()
            answer = await self._answer(request, route, actions)
        except (ConnectionError, aiohttp.ClientError):
            reset(request.transport)  # one of the two others has gone in the middle
            return web.Response()
        except Exception as error:
            refused = error if isinstance(error, Refused) else None
            if refused is None:
                self.registry.failures.append(error)
                refused = Refused(500, f"the double has failed: {error!r}")
            answer = shown(refused.code, refused.encoded())
            after = (refused.details or {}).get("retryAfterSeconds")
            if after:
                answer.headers["Retry-After"] = str(after)
        lost = next((action for action in actions if isinstance(action, Lose)), None)
        if lost is not None and isinstance(answer, web.Response):
            return await lose(request, answer, lost.when)
        return answer

    def _controlled(self, name: str, raw: bytes) -> web.Response:
        """Do what a test wants of a double in another process."""
        assert self.control is not None
        return shown(200, encoded(self.control(name, json.loads(raw or b"{}"))))

    async def _answer(self, request: web.BaseRequest, route: Route, actions: list[Any]) -> web.StreamResponse:
        token = self.access.identify(request.headers.get("Authorization", ""))
        asked = Request(token.user, route.verb, route.kind, route.namespace, route.name, route.part, request.path)
        if not route.review:
            self.access.authorize(asked)
        if route.kind is None:
            return await self._about(request, route, token)
        dry = request.rel_url.query.get("dryRun", "All")
        if dry != "All":
            options = f"{route.verb.removesuffix('collection').capitalize()}Options"
            found = cause(
                "dryRun", "FieldValueNotSupported", f'Unsupported value: []string{{"{dry}"}}: supported values: "All"'
            )
            raise invalid(options, "meta.k8s.io", "", [found])
        if route.verb == "watch":
            return await self._watch(request, route, actions)
        if route.verb == "list":
            return self._list(request, route)
        if route.part == "log":
            if route.verb != "get":
                raise method_not_allowed()
            if self._session is None:
                self._session = aiohttp.ClientSession()
            slow = next((action for action in actions if isinstance(action, Slow)), None)
            pod = self.registry.need(*place(route))
            task = asyncio.current_task()
            assert task is not None
            self.leaving[request.protocol] = task.cancel
            try:
                return await send_log(request, self.storage, pod, self._session, slow)
            finally:
                self.leaving.pop(request.protocol, None)
        if route.verb == "get":
            return self._one(request, 200, self.registry.need(*place(route)))
        raw = await self._body(request)
        return self._change(request, route, token.user, raw)

    async def _body(self, request: web.BaseRequest) -> bytes:
        raw = await request.read()
        if len(raw) > BODY:
            raise Refused(413, f"Request entity too large: limit is {BODY}", "RequestEntityTooLarge", {})
        return raw

    async def _about(self, request: web.BaseRequest, route: Route, token: Token) -> web.Response:
        if route.review:
            if route.verb != "create":
                raise method_not_allowed()
            body = self.registry.read(await self._body(request), request.headers.get("Content-Type", ""))
            return shown(201, encoded(reviewed(route.review, body, token, self.access)))
        try:
            said = discovery(request.path, self.manner)
        except Refused:
            if request.path.startswith("/api"):
                return web.Response(status=404, text="404 page not found\n")
            return shown(404, encoded(discovery("/", self.manner)))
        return web.Response(text=said) if isinstance(said, str) else shown(200, encoded(said))

    # Changes

    def _change(self, request: web.BaseRequest, route: Route, user: str, raw: bytes) -> web.Response:
        kind, namespace, name = place(route)
        query = request.rel_url.query
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
        dry = query.get("dryRun") == "All"
        strict = query.get("fieldValidation") == "Strict" and self.manner.strict_fields
        if route.verb in ("delete", "deletecollection"):
            return self._delete(request, route, raw, content_type, dry=dry)
        if route.verb == "patch":
            patch = self._patch_of(raw, content_type)
            part = route.part
            record = self.registry.patch(
                kind, namespace, name, patch, content_type, user, part=part, strict=strict, dry=dry
            )
            return self._one(request, 200, record)
        body = self.registry.read(raw, content_type, kind.name)
        if route.part == "binding":
            return shown(201, encoded(bind(self.registry, namespace, name, body)))
        if route.part == "eviction":
            return shown(201, encoded(evict(self.removal, namespace, name, body)))
        if kind is SERVICE_ACCOUNTS and route.part == "token":
            return self._token(namespace, name, body)
        if route.verb == "update":
            if kind is NAMESPACES and route.part == "finalize":
                return self._one(request, 200, self.registry.need(kind, "", name))
            part = route.part
            record = self.registry.update(kind, namespace, name, body, user, part=part, strict=strict, dry=dry)
            return self._one(request, 200, record)
        if route.part:
            raise method_not_allowed()
        return self._one(request, 201, self.registry.create(kind, namespace, body, user, strict=strict, dry=dry))

    def _patch_of(self, raw: bytes, content_type: str) -> Any:
        try:
            return json.loads(raw)
        except ValueError as error:
            if content_type == "application/apply-patch+yaml":
                return {}  # it is refused for what it is
            if self.manner.strict_fields:
                raise bad_request(f"error decoding patch: {error}") from None
            raise Refused(500, f"error decoding patch: {error}", "") from None

    def _delete(
        self, request: web.BaseRequest, route: Route, raw: bytes, content_type: str, *, dry: bool
    ) -> web.Response:
        kind, namespace, name = place(route)
        query = request.rel_url.query
        options = self.registry.read(raw, content_type) if raw.strip() else {}
        if "propagationPolicy" in query:
            options.setdefault("propagationPolicy", query["propagationPolicy"])
        if query.get("gracePeriodSeconds"):
            options.setdefault("gracePeriodSeconds", number(query, "gracePeriodSeconds"))
        if "orphanDependents" in query:
            options.setdefault("orphanDependents", true(query, "orphanDependents"))
        dry = dry or options.get("dryRun") == ["All"]
        if route.verb == "delete":
            answer = shown(200, encoded(self.removal.delete(kind, namespace, name, options, dry=dry)))
        else:
            selector = Selector(kind, namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
            records, meta = listed(self.storage, kind, namespace, selector, query)
            for record in records:
                with contextlib.suppress(Refused):  # it has gone with another one
                    self.removal.delete(kind, *record.key, options, dry=dry)
            answer = shown(200, self._listed(kind, records, meta))
        if (
            kind.plural == "jobs"
            and self.manner.orphan_warning
            and not {"propagationPolicy", "orphanDependents"} & set(options)
        ):
            answer.headers["Warning"] = f'299 - "{ORPHANED}"'
        return answer

    def _token(self, namespace: str, name: str, body: Object) -> web.Response:
        """Give a service account a token that ends."""
        self.registry.need(SERVICE_ACCOUNTS, namespace, name)
        seconds = (body.get("spec") or {}).get("expirationSeconds", 3600)
        token = self.access.add_token(user=f"system:serviceaccount:{namespace}:{name}", seconds=seconds)
        return shown(201, encoded({**body, "status": {"token": token, "expirationTimestamp": None}}))

    # Answers

    def _one(self, request: web.BaseRequest, code: int, record: Record) -> web.Response:
        form = form_of(request)
        if form == "Table":
            include = request.rel_url.query.get("includeObject", "Metadata")
            meta = {"resourceVersion": record.meta.get("resourceVersion", "")}
            return shown(code, encoded(self._tables.table(record.kind, [record], meta, include)))
        if form == "PartialObjectMetadata":
            return shown(code, encoded(metadata_of(record)))
        return shown(code, record.encoded())

    def _list(self, request: web.BaseRequest, route: Route) -> web.Response:
        kind, namespace, _ = place(route)
        query = request.rel_url.query
        selector = Selector(kind, namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        records, meta = listed(self.storage, kind, namespace, selector, query)
        form = form_of(request)
        if form == "Table":
            return shown(200, encoded(self._tables.table(kind, records, meta, query.get("includeObject", "Metadata"))))
        if form == "PartialObjectMetadataList":
            items = [metadata_of(record) for record in records] or None
            return shown(200, encoded({"kind": form, "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}))
        return shown(200, self._listed(kind, records, meta))

    def _listed(self, kind: Kind, records: list[Record], meta: Object) -> bytes:
        head = encoded({"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": meta})
        return b'%s,"items":[%s]}' % (head[:-1], b",".join(map(bare, records)))

    async def _watch(self, request: web.BaseRequest, route: Route, actions: list[Any]) -> web.StreamResponse:
        kind, namespace, name = place(route)
        query = request.rel_url.query
        refuse_initial_events(query, self.manner)
        selector = Selector(kind, namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""), name)
        version = number(query, "resourceVersion")
        seconds = number(query, "timeoutSeconds")
        shape = self._shape(kind, request)
        try:
            watch = Watch(self.storage, kind, selector, version or None, shape)
        except Refused as refused:
            if self.gone_at_once:
                raise
            watch = Watch(self.storage, kind, selector, self.storage.version, shape)
            watch.fail(refused)
        bookmarks = (lambda: self.bookmark_interval) if true(query, "allowWatchBookmarks") else None
        self.leaving[request.protocol] = watch.end
        try:
            return await stream(request, watch, actions, seconds=seconds, bookmarks=bookmarks, watches=self.watches)
        finally:
            self.leaving.pop(request.protocol, None)

    def _shape(self, kind: Kind, request: web.BaseRequest) -> Callable[[str, Record], bytes]:
        """Return what makes the lines of a watch."""
        form = form_of(request)
        include = request.rel_url.query.get("includeObject", "Metadata")
        heads = [True]  # the columns are named once

        def table(word: str, record: Record) -> bytes:
            meta = {"resourceVersion": record.meta["resourceVersion"]}
            made = self._tables.table(kind, [record], meta, include, head=heads.pop() if heads else False)
            return encoded({"type": word, "object": made}) + b"\n"

        def partial(word: str, record: Record) -> bytes:
            return encoded({"type": word, "object": metadata_of(record)}) + b"\n"

        if form == "Table":
            return table
        return partial if form.startswith("Partial") else lambda word, record: record.event(word)

    def expire_watches(self) -> None:
        """Tell all watches that they are too old, and end them."""
        for watch in self.watches:
            watch.fail(gone(f"too old resource version: 1 ({self.storage.version})"))


class Listener(web.Server):
    """What answers connections; it tells the serving side when a client has gone."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving.handle, access_log=None)
        self._serving = serving

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """End what was for that client."""
        super().connection_lost(handler, exc)
        leave = self._serving.leaving.pop(handler, None)
        if leave is not None:
            leave()


def form_of(request: web.BaseRequest) -> str:
    """Return in which form the answer is wanted: a Table, PartialObjectMetadata, or "" for the objects."""
    accept = request.headers.get("Accept") or "*/*"
    for each in accept.split(","):
        words = [word.strip() for word in each.split(";")]
        asked = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if words[0] in ("application/json", "*/*", "application/*"):
            form = asked.get("as", "")
            known = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
            if not form or (form in known and asked.get("v") == "v1"):
                return form
    if "json" in accept:
        media = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        raise Refused(406, f"only the following media types are accepted: {media}")
    raise Refused(406, "406: Not Acceptable", None, {})


def shown(code: int, body: bytes) -> web.Response:
    """Return an answer in JSON."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
    return web.Response(status=code, body=body, headers=headers)


def spoiled(action: Answer) -> web.Response:
    """Return the error that a fault answers with."""
    if action.raw is not None:
        answer = web.Response(status=action.code, text=action.raw)
    else:
        details = {"retryAfterSeconds": action.retry_after} if action.retry_after is not None else None
        message = action.message or f"this is a fault with {action.code}"
        answer = shown(action.code, Refused(action.code, message, None, details).encoded())
    if action.retry_after is not None:
        answer.headers["Retry-After"] = str(action.retry_after)
    return answer


async def lose(request: web.BaseRequest, answer: web.Response, when: str) -> web.StreamResponse:
    """Reset the connection before, in the middle of, or after an answer."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if when != "before":
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body if when == "after" else body[: len(body) // 2])
        if when == "after":
            await response.write_eof()
    if when == "middle" and request.transport is not None:
        request.transport.close()  # what was written is still sent
    else:
        reset(request.transport)
    return response
