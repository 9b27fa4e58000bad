"""What is known of the jobs of one store in one namespace: two watches, whoever many follow jobs there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio

from lifecycle import Scope

from .._ground.bridge import Bell
from ._client import Client, ClientStale
from ._names import JOB_NAME, STORE
from ._watch import Objects, Watch

REMEMBERED: Final = 5
"""Pods of a job that are gone and still known, the newest: how they were when they went says why."""


@dataclass(slots=True)
class Seen:
    """What is known of one job.

    Attributes:
        job: the Job as it was last, None when there is none.
        pods: its pods that there are, by name.
        gone: its pods that were deleted, as they were last.
    """

    job: Mapping[str, Any] | None = None
    pods: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    gone: dict[str, Mapping[str, Any]] = field(default_factory=dict)


class View:
    """What is known of the jobs of one store in one namespace; made by `open_view`, ended by `aclose`.

    Args:
        client: of the cluster, which is leased for as long as the view lives.
        scope: owns the watches, and whatever keeps the client.
        namespace: where the jobs are.
        store: the identity of the store.

    Attributes:
        trouble: what the watches have met, and since when on the loop's clock; None while all is well.
        failure: why it goes on no longer, None while it does; a ClientStale where another view can take its place.
    """

    def __init__(self, client: Client, scope: Scope, namespace: str, store: str) -> None:
        self.trouble: tuple[Exception, float] | None = None
        self.failure: Exception | None = None
        self._known: dict[str, Seen] = {}
        self._followers: dict[str, list[Bell]] = {}
        self._ended: set[str] = set()  # of those that are followed
        self._listed: set[str] = set()
        self._troubles: dict[str, tuple[Exception, float]] = {}
        self.client = client
        self._scope = scope
        selector = f"{STORE}={store}"
        self._watches = [
            Watch(
                client,
                path.format(namespace),
                selector,
                replace=partial(self._replace, kind),
                change=partial(self._change, kind),
                tell=partial(self._tell, kind),
            )
            for kind, path in PATHS.items()
        ]

    @property
    def synchronous(self) -> bool:
        """Whether both watches have listed what there is."""
        return len(self._listed) == len(PATHS)

    @property
    def lists(self) -> int:
        """How often everything was listed."""
        return sum(watch.lists for watch in self._watches)

    def of(self, name: str) -> Seen:
        """Return what is known of a job; empty where nothing is."""
        return self._known.get(name) or Seen()

    @contextmanager
    def following(self, name: str) -> Iterator[Bell]:
        """Give a bell that rings when something about a job has changed, or about the view."""
        bell = Bell()
        self._followers.setdefault(name, []).append(bell)
        try:
            yield bell
        finally:
            bells = self._followers[name]
            bells[:] = [other for other in bells if other is not bell]
            if not bells:
                del self._followers[name]
                self._ended.discard(name)
                if (seen := self._known.get(name)) is not None:
                    seen.gone.clear()
                    self._drop_if_empty(name, seen)

    def note_end(self, name: str) -> None:
        """Let those who follow a job know that it has ended, whatever else is seen of it."""
        if name in self._followers:
            self._ended.add(name)
            self._ring(name)

    def has_ended(self, name: str) -> bool:
        """Return whether a job that is followed is known to have ended."""
        return name in self._ended

    # What the watches say

    def _replace(self, kind: str, objects: Objects) -> None:
        self._listed.add(kind)
        by_name: dict[str, dict[str, Mapping[str, Any]]] = {}
        for item in objects.values():
            by_name.setdefault(_job_of(kind, item), {})[item["metadata"]["name"]] = trimmed(item)
        for name in [*self._known.keys() - by_name.keys(), *by_name]:
            seen, items = self._known.setdefault(name, Seen()), by_name.get(name, {})
            if kind == "Job":
                seen.job = items.get(name)
            else:
                for pod in seen.pods.keys() - items.keys():
                    self._remember(name, seen, seen.pods[pod])
                seen.pods = items
            self._drop_if_empty(name, seen)
        self._ring_all()

    def _change(self, kind: str, change: str, item: Mapping[str, Any]) -> None:
        name, own, deleted = _job_of(kind, item), item["metadata"]["name"], change == "DELETED"
        seen = self._known.setdefault(name, Seen())
        known = trimmed(item)
        if kind == "Job":
            seen.job = None if deleted else known
        elif deleted:
            seen.pods.pop(own, None)
            self._remember(name, seen, known)
        else:
            seen.pods[own] = known
        self._drop_if_empty(name, seen)
        self._ring(name)

    def _remember(self, name: str, seen: Seen, pod: Mapping[str, Any]) -> None:
        if name in self._followers:
            seen.gone[pod["metadata"]["name"]] = pod
            for oldest in list(seen.gone)[:-REMEMBERED]:
                del seen.gone[oldest]

    def _drop_if_empty(self, name: str, seen: Seen) -> None:
        if seen.job is None and not seen.pods and not (seen.gone and name in self._followers):
            self._known.pop(name, None)

    def _tell(self, kind: str, error: Exception | None) -> None:
        if error is None:
            if self._troubles.pop(kind, None) is None:
                return
        else:
            self._troubles[kind] = (error, self._troubles.get(kind, (error, anyio.current_time()))[1])
        self.trouble = min(self._troubles.values(), key=lambda one: one[1], default=None)
        self._ring_all()

    def _ring(self, name: str) -> None:
        for bell in self._followers.get(name, ()):
            bell.ring()

    def _ring_all(self) -> None:
        for name in self._followers:
            self._ring(name)

    # Its life

    async def _run(self, watch: Watch) -> None:
        error: Exception = ClientStale(f"the watch of {self.client!r} was ended")
        try:
            await watch.run()
        except Exception as raised:
            error = raised
        finally:  # those who follow are told, whatever has ended it, and look for another view
            self.failure = self.failure or error
            self._ring_all()

    def begin(self) -> None:
        """Start the watches."""
        for watch, kind in zip(self._watches, PATHS, strict=True):
            self._scope.start_soon(self._run, watch, name=f"watch of {kind}s")

    async def aclose(self) -> None:
        """End the watches. Idempotent.

        Cancellation: they end all the same.
        """
        await self._scope.aclose()


async def open_view(lease: AbstractAsyncContextManager[Client], namespace: str, store: str) -> View:
    """Return a view that has begun, with a client that it keeps.

    Cancellation: nothing is left.

    Raises:
        OSError: there is no client to be had.
    """
    scope = Scope(f"view of {namespace}")
    try:
        view = View(await scope.enter(lease, name="client"), scope, namespace, store)
    except BaseException:
        await scope.aclose()
        raise
    view.begin()
    return view


PATHS: Final = {"Job": "/apis/batch/v1/namespaces/{}/jobs", "Pod": "/api/v1/namespaces/{}/pods"}


def _job_of(kind: str, item: Mapping[str, Any]) -> str:
    """Return the name of the job that an object is, or is of."""
    meta = item["metadata"]
    if kind == "Job":
        return str(meta["name"])
    labels = meta.get("labels") or {}
    return str(labels.get(JOB_NAME) or labels.get("job-name") or "")


_WANTED: Final = (
    *("name", "uid", "labels", "annotations", "resourceVersion"),
    *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
)


def trimmed(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is needed of an object, which can be large: of its fields that others manage, of its environment."""
    meta, spec = item["metadata"], item.get("spec") or {}
    return {
        "metadata": {key: meta[key] for key in _WANTED if key in meta},
        "spec": {
            **{key: spec[key] for key in ("suspend", "nodeName") if key in spec},
            "containers": [{"name": one.get("name")} for one in spec.get("containers") or ()],
        },
        "status": item.get("status") or {},
    }
