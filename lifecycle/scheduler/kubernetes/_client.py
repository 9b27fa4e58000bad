"""The client of one cluster: requests and streams, with credentials that are renewed when they expire."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import aiohttp
import anyio
from kubernetes_asyncio.client.rest import RESTClientObject
from multidict import CIMultiDict

from lifecycle import Retry

from ._cluster import Cluster
from ._credentials import REST, Credentials, NoCredentials, load_credentials
from ._faults import UNAUTHORIZED, api_error, worth_another_try

CONNECT_TIMEOUT: Final = 15.0
"""Seconds for a connection to an API server."""

BACKOFF: Final = (0.2, 10.0)
"""The first and the longest pause, in seconds, before a request is made again."""

MERGE: Final = "application/merge-patch+json"

Query = Mapping[str, str | int]


class _Request(NamedTuple):
    """What is sent, and how long at most its parts may take."""

    method: str
    path: str
    query: Query | None
    headers: Mapping[str, str]
    data: bytes | None
    timeout: aiohttp.ClientTimeout

    @property
    def target(self) -> str:
        """The path and the query, as they are in a URL."""
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")


class _Failure(NamedTuple):
    """That credentials could not be read: why, of which state of their files, and until when these are left alone."""

    said: tuple[Any, ...]
    stamp: tuple[Any, ...]
    rests_until: float


class NotConnected(ConnectionError):
    """A request was never sent: there was no connection to the server."""


class NotTrusted(NotConnected, PermissionError):
    """A server, or what stands before it, does not prove to be the one that is asked for; nothing was sent."""


class ClientStale(ConnectionError):
    """A cluster is reached in another way now: by another address, or with another certificate. Get a new client."""


class Client:
    """Speaks with the API server of one cluster; made by `open_client`, closed by `aclose`.

    Any number of tasks may use it at once. Its own words are plain data, as JSON has it: the models of
    kubernetes_asyncio know no field that is newer than they are.

    Args:
        name: the cluster's.
        cluster: how it is reached.
        credentials: what was read of its files.
        session: what requests are made with, closed with the client; None for one that the credentials describe. Tests
            give one whose connections are in memory.

    Attributes:
        name: the cluster's, as the configuration has it.
        cluster: how it is reached.
        requests: how many requests were answered.
        streams: how many streams are open now.
    """

    def __init__(
        self, name: str, cluster: Cluster, credentials: Credentials, *, session: aiohttp.ClientSession | None = None
    ) -> None:
        self.name = name
        self.cluster = cluster
        self.requests = 0
        self.streams = 0
        self._credentials = credentials
        # Without a bound of connections: streams must not keep requests waiting.
        self._session = session or RESTClientObject(credentials.configuration, maxsize=0).pool_manager
        self._renewing = anyio.Lock()
        self._stale = False
        self._failure: _Failure | None = None  # the last one
        self._began = time.monotonic()

    @property
    def age(self) -> float:
        """For how many seconds it has lived."""
        return time.monotonic() - self._began

    @property
    def namespace(self) -> str:
        """Where jobs go that name no namespace: the same for as long as it lives."""
        return self.cluster.namespace or self._credentials.namespace

    async def is_current(self) -> bool:
        """Return whether the cluster is still reached in the way that it was made for; if not, another is to be made.

        Where the files have changed that say how it is reached, they are read: a new token is taken over.

        Cancellation: ends the reading.
        """
        try:
            await self._keep_up()
        except ClientStale:
            return False
        return True

    async def aclose(self) -> None:
        """Close all connections. Idempotent.

        Cancellation: they are closed all the same.
        """
        self._credentials.discard()
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Return what the server answers to one request.

        Cancellation: closes the connection; the server may have acted.

        Raises:
            ApiError: the server refused it.
            OSError: there was no answer; the server may have acted. A TimeoutError is one.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Content-Type": content_type}
        # Not by `total`: when that is over in the moment in which the task is cancelled, aiohttp takes the cancellation
        # back, because it enters its timer twice; the request would be made again by a task that has to end.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
        request = _Request(method, path, query, headers, data, timeout)
        with anyio.move_on_after(self.cluster.timeout) as bound:
            async with self._answer(request) as response:
                try:
                    content = await response.read()
                except aiohttp.ClientError as error:
                    raise ConnectionError(f"{self._what(method, path)}: the answer broke off: {error}") from error
        if bound.cancelled_caught:
            raise TimeoutError(f"{self._what(method, path)}: no answer in time")
        self.requests += 1
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise ConnectionError(f"{self._what(method, path)}: the answer is no JSON: {error}") from None
        return answer if isinstance(answer, dict) else {"answer": answer}

    async def ask(
        self,
        method: str,
        path: str,
        *,
        patience: float,
        check: Callable[[dict[str, Any]], object] = lambda _: None,
        **more: Any,
    ) -> dict[str, Any]:
        """Return what the server answers, asked again for *patience* seconds while it has no time or is not there.

        Only for what may be done twice: `request` says what it raises. An answer for which *check* raises a
        ``ConnectionError`` is none: something before the server has said it.

        Cancellation: as for `request`.
        """
        # One that gets no answer must not use up all the patience: a connection can be dead that others would replace.
        retry = Retry(timeout=patience, attempt_timeout=patience / 3, backoff=BACKOFF, retry_on=_worth_another_try)

        async def once() -> dict[str, Any]:
            answer = await self.request(method, path, **more)
            check(answer)
            return answer

        return await retry.call(once)

    @asynccontextmanager
    async def stream(self, path: str, query: Query, *, silence: float | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a stream and give its pieces, of any size, as they come; closed at the end of the block.

        Cancellation: closes it.

        Args:
            path: what is read.
            query: how.
            silence: seconds without a piece after which iterating raises TimeoutError; None for no bound.

        Raises:
            ApiError: the server refused it.
            OSError: it cannot be opened, or broke off.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        async with self._answer(_Request("GET", path, query, {}, None, timeout)) as response:
            self.streams += 1
            try:
                yield self._pieces(response, path)
            finally:
                self.streams -= 1

    async def _pieces(self, response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
        try:
            async for piece in response.content.iter_any():
                yield piece
        except aiohttp.ClientError as error:
            raise _connection_error(self._what("GET", path), error) from error

    @asynccontextmanager
    async def _answer(self, request: _Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give the answer's beginning, once more with new credentials if these have expired."""
        for renewed in (False, True):
            await self._keep_up()
            credentials = self._credentials
            response = await self._send(request, credentials.token)
            try:
                if response.status == UNAUTHORIZED and not renewed:
                    await self._renew(credentials)
                    continue
                if response.status >= 300:  # a redirection is none of an API server's: the token is for this one
                    retry_after = response.headers.get("Retry-After")
                    what = self._what(request.method, request.path)
                    raise api_error(what, response.status, await _body(response), retry_after)
                yield response
                return
            finally:
                response.close()

    async def _send(self, request: _Request, token: str | None) -> aiohttp.ClientResponse:
        configuration, what = self._credentials.configuration, self._what(request.method, request.path)
        given = CIMultiDict({"User-Agent": "asyncio-lifecycle", **request.headers})
        if token:
            given["Authorization"] = token
        given.extend(self._credentials.headers)
        more = {"server_hostname": configuration.tls_server_name} if configuration.tls_server_name else {}
        try:
            return await self._session.request(
                request.method,
                configuration.host.rstrip("/") + request.target,
                headers=given,
                data=request.data,
                timeout=request.timeout,
                allow_redirects=False,  # the token is for this server
                proxy=configuration.proxy or None,
                **more,
            )
        except aiohttp.ClientError as error:
            raise _connection_error(what, error) from error
        except TimeoutError as error:
            raise TimeoutError(f"{what}: no answer in time") from error
        except (ValueError, AssertionError) as error:  # of aiohttp, which does not look at them before
            said = f"its address, or a proxy of the environment, cannot be used: {type(error).__name__}: {error}"
            raise NotConnected(f"{what}: {said}") from error

    async def _keep_up(self) -> None:
        """Read the credentials anew if their files have changed, or they expire; if that fails, the old ones count yet.

        Raises:
            ClientStale: the cluster is reached in another way now.
        """
        if self._stale:
            raise ClientStale(f"cluster {self.name!r} is reached in another way now")
        old, now = self._credentials, self._credentials.stamp_now
        if now == old.stamp and not old.expired:
            return
        if (last := self._failure) is not None and now == last.stamp and time.monotonic() < last.rests_until:
            return  # of the same files, a plugin that has just failed is not run for each request
        with contextlib.suppress(NoCredentials):  # somebody is about to write them
            await self._renew(old)

    async def _renew(self, old: Credentials) -> None:
        """Read the credentials anew, unless somebody has meanwhile: of all who meet the same end one does it."""
        before = self._failure
        async with self._renewing:
            if self._stale:
                raise ClientStale(f"cluster {self.name!r} is reached in another way now")
            if self._credentials is not old:
                return
            if self._failure is not None and self._failure is not before:  # that of the one who did it
                raise NoCredentials(*self._failure.said)
            stamp = old.stamp_now
            try:
                fresh = await load_credentials(self.cluster)
            except NoCredentials as error:
                self._failure = _Failure(error.args, stamp, time.monotonic() + REST)
                raise
            fresh.discard()  # what is in files, the session has read
            if fresh.lasting != old.lasting:
                self._stale = True
                raise ClientStale(f"cluster {self.name!r} is reached in another way now")
            self._credentials = fresh
            old.discard()

    def _what(self, method: str, path: str) -> str:
        return f"cluster {self.name!r}: {method} {path}"

    def __repr__(self) -> str:
        return f"<Client of cluster {self.name!r}>"


async def open_client(name: str, cluster: Cluster) -> Client:
    """Return a client of a cluster; no connection is made yet.

    Its `Client.cluster` names the context and the namespace, whichever the files have now. Whoever chooses another
    current context in the same file, for work of his own, must not move what runs.

    Cancellation: nothing is left.

    Raises:
        OSError: the files that say how it is reached are missing or not right.
    """
    credentials = await load_credentials(cluster)
    settled = replace(cluster, context=credentials.context, namespace=credentials.namespace)
    try:
        return Client(name, settled, credentials)
    except BaseException as error:
        credentials.discard()
        if isinstance(error, (OSError, ValueError)):  # a file has changed since it was looked at
            raise NoCredentials(f"cluster {name!r}: {error}") from error
        raise


def _worth_another_try(error: BaseException) -> bool | float:
    return not isinstance(error, ClientStale) and worth_another_try(error)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of what the server says to a refusal."""
    try:
        return await response.content.read(65_536)
    except (aiohttp.ClientError, TimeoutError):
        return b""


def _connection_error(what: str, error: aiohttp.ClientError) -> OSError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NotTrusted(f"{what}: {error}")  # nothing that a second attempt mends
    if isinstance(error, aiohttp.ClientConnectorError):
        return NotConnected(f"{what}: {error}")
    if isinstance(error, TimeoutError):
        return TimeoutError(f"{what}: silent for too long")
    return ConnectionError(f"{what}: {type(error).__name__}: {error}")
