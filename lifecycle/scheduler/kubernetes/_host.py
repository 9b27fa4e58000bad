"""Kubernetes as a host for work that outlives this process: jobs on any number of clusters, a client for each."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, TypeVar

from lifecycle import Registry, Scope

from .._ground.checks import check_integer, check_seconds
from .._ground.errors import RemoteFailed, RemoteLost, StoreError
from .._ground.text import did_you_mean, listing, quote
from .._work.error_text import kind_of, text_of
from ..remote import Over, RemoteEnd, Say, Ticket
from . import _ends
from ._client import Client, ClientStale, open_client
from ._cluster import Cluster, read_clusters, usual_cluster
from ._creating import PATIENCE, Creating
from ._credentials import NoCredentials
from ._faults import worth_another_try
from ._follow import Following
from ._job import KubernetesJob, check_size
from ._logs import Logs, Slots
from ._ownership import find_job, is_being_deleted, is_of, take_over
from ._removing import remove
from ._sweep import sweep_namespace
from ._view import View, open_view

logger = logging.getLogger("lifecycle.scheduler")

T = TypeVar("T")
Place = tuple[str, str]

SWEEPS: Final = 3
"""Sweeps of a namespace after it was used last; more would keep its client from ever being idle."""

REFUSAL: Final = 0.05
"""Of a sweep, what one that was refused counts for."""

VIEW_IDLE: Final = 15.0
"""Seconds for which a namespace is still watched when nobody follows a job there any more."""


@dataclass(frozen=True, slots=True)
class KubernetesStatistics:
    """What a host does at this moment, and what it has done.

    Attributes:
        clients: how many there are.
        leases: how often they are lent out now: to views, and to what asks or deletes.
        opened, closed: how many clients there were, and how many of those are closed.
        oldest: seconds for which the oldest client has lived, 0 where there is none.
        views: how many namespaces are watched.
        lists: how often those that are watched now were listed.
        streams: how many streams are open now: watches and logs.
    """

    clients: int
    leases: int
    opened: int
    closed: int
    oldest: float
    views: int
    lists: int
    streams: int


class Kubernetes:
    """Runs jobs on clusters; an async context manager, and a `RemoteHost` for work of the type `KubernetesJob`.

    A scheduler that is given one opens and closes it; without one, the first ``kubernetes`` block makes one that knows
    the contexts of the usual kubeconfig. There is one client for each cluster, however many jobs run there: shared by
    lease, closed when it was idle for a while or is one too many, and never while it is used. A token that has expired,
    or whose file has changed, is renewed within the client. When a cluster is reached in another way, by another
    address or certificate, a new client takes the place of the old one, which is closed when its last user is done.
    The context and the namespace of a cluster that names none are those that its file has when it is first used.

    Args:
        clusters: by the names that jobs give; or the path of a TOML file with a table for each. None: a name is a
            context of the usual kubeconfig, and ``default`` the current one, or in a pod the pod's own cluster.
        idle_ttl: seconds after which a client that nobody uses is closed.
        max_clients: clients at once; the least recently used go first.
        max_logs: containers whose logs are followed at once, over all clusters; the others' come when there is room, or
            when they have ended.
        unreachable_timeout: seconds for which a cluster may be out of reach before its jobs are given up.
        name: for statistics and snapshots.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of its range, or the file is not right.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        clusters: Mapping[str, Cluster] | str | os.PathLike[str] | None = None,
        *,
        idle_ttl: float = 300.0,
        max_clients: int = 16,
        max_logs: int = 100,
        unreachable_timeout: float = 3600.0,
        name: str = "kubernetes",
    ) -> None:
        check_seconds(idle_ttl, "idle_ttl", needed=True)
        check_seconds(unreachable_timeout, "unreachable_timeout", needed=True)
        check_integer(max_clients, "max_clients", 1)
        check_integer(max_logs, "max_logs", 1)
        self._clusters = _checked_clusters(clusters)
        self._settled: dict[str, Cluster] = {}  # by its first client: its context and its namespace
        self._unreachable = unreachable_timeout
        self._max_logs = max_logs
        self._slots: Slots | None = None
        self._to_sweep: dict[Place, float] = {}  # how often, where jobs were: clusters and namespaces
        self._unswept: dict[Place, str] = {}  # why, where it did not succeed the last time
        self._swept = False
        self._name = name
        self._scope = Scope(name)
        self._clients: Registry[str, Client] = Registry(
            f"clients of {name}", idle_ttl=idle_ttl, max_size=max_clients, finalizer=Client.aclose
        )
        self._views: Registry[tuple[str, str, str], View] = Registry(
            f"views of {name}", idle_ttl=VIEW_IDLE, finalizer=View.aclose
        )

    def problem(self, cluster: str) -> str | None:
        """Return why there is no cluster of this name, None if there is, as far as the configuration says."""
        if self._clusters is None or cluster in self._clusters:
            return None
        if not self._clusters:
            return f"unknown cluster {quote(cluster)}: none is configured"
        hint = did_you_mean(cluster, self._clusters)
        return f"unknown cluster {quote(cluster)}{hint}; expected {listing(self._clusters)}"

    def statistics(self) -> KubernetesStatistics:
        """Return what it does at this moment, and what it has done."""
        registry, clients, views = self._clients.statistics(), list(self._clients.values()), list(self._views.values())
        return KubernetesStatistics(
            clients=registry.live + registry.retired,
            leases=registry.leases,
            opened=registry.opened,
            closed=registry.closed,
            oldest=max((client.age for client in clients), default=0.0),
            views=len(views),
            lists=sum(view.lists for view in views),
            streams=sum(client.streams for client in clients),
        )

    async def __aenter__(self) -> Kubernetes:
        self._slots = Slots(self._max_logs)
        await self._scope.__aenter__()
        await self._scope.enter_async_context(self._clients)
        await self._scope.enter_async_context(self._views)  # each of them leases a client
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._scope.__aexit__(exc_type, error, traceback)

    # What is shared

    @asynccontextmanager
    async def client(self, cluster: str) -> AsyncIterator[Client]:
        """Give the client of a cluster, leased: it is not closed in the block.

        Cancellation: while it is made, ends the making unless somebody else waits for it too.

        Raises:
            RemoteFailed: there is no cluster of this name.
            OSError: the files that say how it is reached are missing or not right.
        """
        if problem := self.problem(cluster):
            raise RemoteFailed(problem, reason=_ends.REFUSED)
        while True:
            lease = self._clients.lease(cluster, partial(self._open_client, cluster))
            async with lease as client:
                if await client.is_current():
                    yield client
                    return
                lease.discard()

    async def _open_client(self, cluster: str) -> Client:
        """Return a new client of a cluster: of the same context and the same namespace as the first one."""
        known = self._settled.get(cluster) or (self._clusters or {}).get(cluster) or usual_cluster(cluster)
        client = await open_client(cluster, known)
        self._settled[cluster] = client.cluster
        return client

    async def _with_client(self, cluster: str, do: Callable[[Client], Awaitable[T]]) -> T:
        """Do something with the client of a cluster, once more when it is reached in another way meanwhile."""
        while True:
            async with self.client(cluster) as client:
                with contextlib.suppress(ClientStale):
                    return await do(client)

    @asynccontextmanager
    async def _view(self, cluster: str, namespace: str, store: str) -> AsyncIterator[View]:
        while True:
            lease = self._views.lease(
                (cluster, namespace, store), lambda: open_view(self.client(cluster), namespace, store)
            )
            async with lease as view:
                if view.failure is None and await view.client.is_current():  # its watches may not have noticed
                    yield view
                    return
                lease.discard()

    async def _namespace(self, work: KubernetesJob) -> str:
        if problem := self.problem(work.cluster):  # before the place is noted: nobody could ever sweep it
            raise RemoteFailed(problem, reason=_ends.REFUSED)
        given = work.namespace or (work.manifest.get("metadata") or {}).get("namespace")
        if not given:
            async with self.client(work.cluster) as client:
                given = client.namespace
        self._to_sweep[work.cluster, given] = SWEEPS
        return str(given)

    # What a host does

    async def start(self, ticket: Ticket, work: KubernetesJob, say: Say) -> None:
        """Create the Job, unless it is there. See `RemoteHost.start`.

        Cancellation: it may have been created.

        Raises:
            RemoteFailed: it is refused, or no server was reached: there is none.
            RemoteLost: a later attempt has it.
            OSError: no server can be reached any more; there may be one.
        """
        sent = False  # whether a request may have reached the server, by whichever client
        try:
            namespace = await self._namespace(work)
            manifest = work.named(ticket, namespace)
            check_size(manifest)
            while True:
                async with self.client(work.cluster) as client:
                    creating = Creating(client, ticket, namespace, manifest, work.start_timeout, say, sent=sent)
                    try:
                        await creating.make()
                    except ClientStale:
                        continue  # the cluster is reached in another way now
                    finally:
                        sent = creating.sent
                    say(f"runs as Job {ticket.name} in namespace {namespace} of cluster {work.cluster}")
                    return
        except NoCredentials as error:
            if sent:
                raise
            raise RemoteFailed(str(error), reason=_ends.REFUSED) from error

    async def adopt(self, ticket: Ticket, work: KubernetesJob) -> bool:
        """Take the Job over that another attempt has created. See `RemoteHost.adopt`.

        Cancellation: it may have been taken over.

        Raises:
            RemoteLost: a later attempt has it; or there is no cluster of this name any more.
            ApiError, OSError: the server cannot be asked.
        """
        if problem := self.problem(work.cluster):  # the earlier attempt was another process's, with other clusters
            raise RemoteLost(f"{problem}; what was begun there may still run", reason=_ends.UNREACHABLE)
        namespace = await self._namespace(work)

        async def take(client: Client) -> bool:
            job = await find_job(client, namespace, ticket.name, patience=PATIENCE)
            if job is None or is_being_deleted(job):
                return False
            return await take_over(client, job, ticket, patience=PATIENCE)

        return await self._with_client(work.cluster, take)

    async def follow(self, ticket: Ticket, work: KubernetesJob, say: Say) -> RemoteEnd:
        """Return how the Job has ended. See `RemoteHost.follow`.

        Cancellation: ends the waiting.

        Raises:
            RemoteLost: the cluster was out of reach for too long.
        """
        namespace = await self._namespace(work)
        while True:
            async with self._view(work.cluster, namespace, ticket.store) as view:
                try:
                    following = Following(
                        view,
                        ticket.name,
                        namespace,
                        work,
                        self._unreachable,
                        say,
                        is_ours=lambda job: is_of(job, ticket),
                    )
                    return await following.end()
                except ClientStale:
                    continue

    async def log(self, ticket: Ticket, work: KubernetesJob, say: Say) -> None:
        """Hand over the lines of all containers. See `RemoteHost.log`.

        Cancellation: ends it.
        """
        assert self._slots is not None, "a host is entered before it is used"
        namespace = await self._namespace(work)
        logs = Logs(ticket.name, namespace, say, self._slots, adopted=ticket.attempt > ticket.first)
        while not await self._log_once(logs, work.cluster, namespace, ticket.store):
            pass  # with another client, from where it was

    async def _log_once(self, logs: Logs, cluster: str, namespace: str, store: str) -> bool:
        async with self._view(cluster, namespace, store) as view:
            try:
                await logs.follow(view)
            except* ClientStale:
                logs.complete = False
            return logs.complete

    async def stop(self, ticket: Ticket, work: KubernetesJob) -> None:
        """Delete the Job, and return when its pods are gone. See `RemoteHost.stop`.

        Cancellation: it may have been deleted.

        Raises:
            ApiError, OSError: it cannot be deleted, or cannot be known to be.
        """
        namespace = await self._namespace(work)
        await self._with_client(work.cluster, lambda client: remove(client, ticket, namespace))

    async def sweep(self, store: str, over: Over) -> int:
        """Delete what is left of jobs that are over, wherever jobs were and may be. See `RemoteHost.sweep`.

        A cluster that cannot be asked is told of in the log, and asked again the next time.

        Cancellation: ends it.

        Raises:
            StoreError: the store cannot say which jobs are over.
        """
        if not self._swept:  # what a process has left that was killed may be anywhere
            self._swept = True
            self._to_sweep = {**{(name, ""): SWEEPS for name in self._clusters or ()}, **self._to_sweep}
        found = 0
        for place in list(self._to_sweep):
            # To the end: should this be cut off, because some do not answer, the next one begins with the others.
            self._to_sweep[place] = self._to_sweep.pop(place)
            found += await self._sweep(place, store, over)
        self._to_sweep = {place: times for place, times in self._to_sweep.items() if times > 0}
        return found

    async def _sweep(self, place: Place, store: str, over: Over) -> int:
        """Sweep one namespace, the cluster's own where it has no name.

        One that cannot be asked keeps its turn, but for what asking again does not mend: that is tried for an hour.
        Whatever goes wrong in one place, the others are swept.
        """
        cluster, namespace = place
        try:
            found = await self._with_client(
                cluster, lambda client: sweep_namespace(client, namespace or client.namespace, store, over)
            )
        except StoreError:
            raise
        except Exception as error:
            said = f"{kind_of(error)}: {text_of(error)}"
            told = {why for (where, _), why in self._unswept.items() if where == cluster}
            self._unswept[place] = said
            if said not in told:  # once, and not each minute of a night, nor for each namespace
                extra = {"host": f"cluster {cluster!r}", "error": said}
                logger.warning("work elsewhere could not be swept", extra=extra)
            if not worth_another_try(error) or isinstance(error, NoCredentials):
                self._to_sweep[place] -= REFUSAL
            return 0
        self._unswept.pop(place, None)
        self._to_sweep[place] -= 1
        return found

    def __repr__(self) -> str:
        return f"<Kubernetes {self._name!r}>"


def _checked_clusters(
    clusters: Mapping[str, Cluster] | str | os.PathLike[str] | None,
) -> dict[str, Cluster] | None:
    if clusters is None:
        return None
    if not isinstance(clusters, Mapping):
        return read_clusters(clusters)
    for name, cluster in clusters.items():
        if not isinstance(name, str) or not isinstance(cluster, Cluster):
            raise TypeError(f"clusters must be Cluster objects by name, got {quote(name)}: {quote(cluster)}")
    return dict(clusters)
