"""Following one job to its end: what its view shows, and the bounds of time that no event tells of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import anyio

from .._ground.bridge import Bell
from .._ground.errors import RemoteFailed, RemoteLost
from .._ground.text import one_line, shorten
from ..remote import RemoteEnd, Say
from . import _ends
from ._client import Client, ClientStale, Query
from ._faults import FORBIDDEN, UNAUTHORIZED, ApiError, page_of
from ._job import KubernetesJob
from ._ownership import find_job
from ._view import PATHS, Seen, View, trimmed

SETTLING: Final = 2.0
"""Seconds that a view may be behind a creation before the server is asked directly."""

ASKING: Final = 10.0
"""Seconds for a question of which the answer would only say more."""

TELLING: Final = 300.0
"""Seconds for asking the pods of a Job that has ended: the exit code and the output stand nowhere else."""

FIRST_EVENTS: Final = 3.0
"""Seconds without a pod after which the events are looked at, which say why there is none; the pauses then double."""

LONGEST_PAUSE: Final = 30.0

NODE_PATIENCE: Final = 300.0
"""Seconds after its grace in which a pod that is being deleted may linger before its node is taken for lost."""

NO_RIGHT: Final = 30.0
"""Seconds after which a right to list and watch is taken for missing, where there never was one."""

SIDECARS: Final = 10.0
"""Seconds that other containers have to end when the one that counts has, and was named."""

_DELETION: Final = "deletion of "


class Following:
    """Follows one job.

    Args:
        view: of the namespace that it is in.
        name: the Job's.
        namespace: where it is.
        work: how it is to be treated.
        unreachable: seconds for which the cluster may be out of reach before the job is given up.
        say: gets lines for the job's log.
        is_ours: tells of a Job of this name whether it is the one.
    """

    def __init__(
        self,
        view: View,
        name: str,
        namespace: str,
        work: KubernetesJob,
        unreachable: float,
        say: Say,
        *,
        is_ours: Callable[[Mapping[str, Any]], bool] = lambda _job: True,
    ) -> None:
        self._view = view
        self._client: Client = view.client
        self._name = name
        self._namespace = namespace
        self._work = work
        self._unreachable = unreachable
        self._say = say
        self._is_ours = is_ours
        self._since: dict[str, float] = {}  # when what goes on now began, by what it is
        self._asked_events = 0
        self._refusal = ""
        self._image = ""  # why the image could not be pulled, before the message is one of pauses
        self._told = ""
        self._was_seen = False
        self._asked = 0  # how often it was asked for a job that the view does not have

    async def end(self) -> RemoteEnd:
        """Return how the job has ended.

        Cancellation: ends the waiting.

        Raises:
            RemoteFailed: we have no right to follow jobs.
            RemoteLost: the cluster was out of reach for too long.
            ClientStale: the view has come to its end; follow on with another one.
        """
        with self._view.following(self._name) as bell:
            end = await self._wait(bell)
            self._view.note_end(self._name)  # for the log, which has no other end where nothing has run
            return end

    async def _wait(self, bell: Bell) -> RemoteEnd:
        while True:
            if self._view.failure is not None:
                raise self._view.failure
            seen = self._view.of(self._name)
            if (end := self._end_of(seen)) is not None:
                if _ends.is_told(seen):
                    return end
                now = await self._as_it_is_now(seen)
                end = self._end_of(now) or end
                return (await self._told_late(bell, now) if end.succeeded and not now.pods else None) or end
            if (end := self._only_sidecars(seen)) is not None:
                return end
            if (end := await self._out_of_time(seen)) is not None:
                return replace(end, over=False)  # it is we who say so; the cluster goes on with it
            await bell.wait(self._next_look())

    def _end_of(self, seen: Seen) -> RemoteEnd | None:
        end = _ends.end_of(seen, self._work.container, single=self._work.single)
        told = seen.job is not None and _ends.is_finished(seen.job)
        return end if end is None or told else replace(end, over=False)

    async def _as_it_is_now(self, seen: Seen) -> Seen:
        """Return what the cluster says of the job: each of the two watches may be behind the other.

        That of the pods where the Job has its end, and they say why; that of the Job where a pod is gone, which may be
        because the Job has ended.
        """
        job = seen.job  # as it is now: it may be deleted while we ask
        path, query = PATHS["Pod"].format(self._namespace), {"labelSelector": f"job-name={self._name}"}
        try:
            answer = await self._client.ask("GET", path, patience=TELLING, query=query)
            items, _ = page_of(answer, path)
            if job is not None and not _ends.is_finished(job):
                found = await find_job(self._client, self._namespace, self._name, patience=TELLING)
                job = trimmed(found) if found is not None and self._is_ours(found) else job
        except ClientStale:
            raise
        except (ApiError, OSError) as error:
            self._tell("its pods cannot be asked for the exit code and the output", one_line(shorten(str(error), 400)))
            return Seen(job, {}, seen.gone)
        return Seen(job, {pod["metadata"]["name"]: trimmed(pod) for pod in items}, seen.gone)

    async def _told_late(self, bell: Bell, seen: Seen) -> RemoteEnd | None:
        """Return the end with what the watch of its pods says yet: they are gone, with a ``ttl`` of no time at all."""
        with anyio.move_on_after(SETTLING):
            while self._view.failure is None:
                known = self._view.of(self._name)
                told = Seen(seen.job, known.pods, known.gone)
                if _ends.is_told(told):
                    return self._end_of(told)
                await bell.wait(SETTLING)
        return None

    def _goes_on(self, what: str, state: bool) -> float:
        """Return for how many seconds a state has gone on, 0 where it does not."""
        if not state:
            self._since.pop(what, None)
            return 0.0
        now = anyio.current_time()
        return now - self._since.setdefault(what, now)

    def _next_look(self) -> float:
        """Return after how many seconds to look again although nothing was told."""
        return 1.0 if self._since else LONGEST_PAUSE

    async def _out_of_time(self, seen: Seen) -> RemoteEnd | None:
        """Return the end that nobody tells of, None while there is none."""
        self._check_reach()
        missing = self._view.synchronous and seen.job is None
        patience = 0.0 if self._was_seen else min(SETTLING * 2.0**self._asked, LONGEST_PAUSE)
        if self._goes_on("missing", missing) >= patience and missing:
            return await self._ask_for_it(seen)
        if seen.job is None:
            return None
        self._was_seen, self._asked = True, 0
        suspended = bool(seen.job["spec"].get("suspend"))
        waiting = None if suspended else _ends.waiting_for(seen)
        return await self._not_started(seen, waiting) or self._lingering(seen)

    def _check_reach(self) -> None:
        if self._view.trouble is None:
            self._told = "" if self._told.startswith("cluster") else self._told
            return
        error, since = self._view.trouble
        seconds = anyio.current_time() - since
        denied = isinstance(error, ApiError) and error.status in (UNAUTHORIZED, FORBIDDEN)
        if denied and seconds >= NO_RIGHT and not self._view.synchronous:  # what once was allowed may be so again
            raise RemoteFailed(one_line(shorten(f"jobs cannot be followed: {error}", 600)), reason=_ends.REFUSED)
        if seconds >= self._unreachable:
            said = f"cluster {self._client.name!r} was out of reach for {seconds:.0f} s: {error}"
            raise RemoteLost(one_line(shorten(said, 600)), reason=_ends.UNREACHABLE)
        if seconds >= SETTLING:
            self._tell(f"cluster {self._client.name!r} is out of reach", str(error))

    async def _ask_for_it(self, seen: Seen) -> RemoteEnd | None:
        """Return the end of a job that is not in the view, where the cluster knows one.

        The view is behind; or its labels were taken off it, so that no watch will ever show it again; or it is gone,
        and what has its name is another's. As long as none of this is known it is asked again, with pauses that grow.
        """
        self._since["missing"], self._was_seen = anyio.current_time(), False
        self._asked = min(self._asked + 1, 10)
        try:
            job = await find_job(self._client, self._namespace, self._name, patience=ASKING)
        except (ApiError, OSError):
            return None
        if job is None or not self._is_ours(job):
            message = f"Job {self._name} was deleted by somebody else"
            return RemoteEnd(reason=_ends.DELETED, message=message, details={"name": self._name})
        found = Seen(trimmed(job), seen.pods, seen.gone)
        if (end := self._end_of(found)) is not None:
            return self._end_of(await self._as_it_is_now(found)) or end
        return None

    async def _not_started(self, seen: Seen, waiting: _ends.Waiting | None) -> RemoteEnd | None:
        self._goes_on("start", waiting is not None)
        if waiting is None:
            self._goes_on("setup", state=False)
            return None
        details = {"name": self._name}
        setup = waiting.image or waiting.reason in _ends.SETUP
        if waiting.image and "ack-off" not in waiting.message:
            self._image = waiting.message
        if waiting.message:
            self._tell(f"waits: {waiting.reason}", waiting.message)
        if setup:
            bound, what = self._work.pull_timeout, self._goes_on("setup", state=True)
            if waiting.hopeless or what >= bound:
                reason = _ends.NO_IMAGE if waiting.image else _ends.NOT_STARTED
                said = (self._image if waiting.image else "") or waiting.message
                message = f"{waiting.reason}: {said}" if said else waiting.reason
                return RemoteEnd(reason=reason, message=message, details=details)
            return None
        seconds = self._goes_on("start", state=True)
        if not seen.pods:
            await self._look_at_events(seconds, seen)
        if seconds >= self._work.start_timeout:
            if not seen.pods and not self._refusal:  # what was asked before may have met a server in trouble
                await self._read_events(seen)
            said = self._refusal or waiting.message or waiting.reason
            reason = _ends.REFUSED if self._refusal else _ends.NOT_STARTED
            message = f"no container ran within {self._work.start_timeout:g} s: {said}"
            return RemoteEnd(reason=reason, message=one_line(shorten(message, 600)), details=details)
        return None

    async def _look_at_events(self, seconds: float, seen: Seen) -> None:
        """Find out now and then why the controller makes no pod."""
        if seconds < FIRST_EVENTS * (2**self._asked_events) and seconds < self._asked_events * LONGEST_PAUSE:
            return
        if seconds >= FIRST_EVENTS:
            self._asked_events += 1
            await self._read_events(seen)

    async def _read_events(self, seen: Seen) -> None:
        """Find out why the controller makes no pod; only its events say so."""
        if seen.job is None:
            return
        query: Query = {"fieldSelector": f"involvedObject.uid={seen.job['metadata']['uid']}", "limit": 100}
        try:
            path = f"/api/v1/namespaces/{self._namespace}/events"
            events, _ = page_of(await self._client.ask("GET", path, patience=ASKING, query=query), path)
        except ApiError as error:
            if error.status == FORBIDDEN:
                self._tell("no pod yet, and the right to read events, which say why, is missing", "")
            return
        except OSError:
            return
        refusals = [event for event in events if event.get("reason") == "FailedCreate"]
        if refusals:
            newest = max(refusals, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
            self._refusal = one_line(shorten(str(newest.get("message") or ""), 500))
            self._tell("no pod yet", self._refusal)

    def _lingering(self, seen: Seen) -> RemoteEnd | None:
        """Return the end by a node that does not say any more what became of its pod."""
        for what in [what for what in self._since if what.startswith(_DELETION)]:
            if what.removeprefix(_DELETION) not in seen.pods:
                del self._since[what]  # nothing is to be looked at again for one that is gone
        for name, pod in seen.pods.items():
            meta = pod["metadata"]
            being_deleted = "deletionTimestamp" in meta
            patience = float(meta.get("deletionGracePeriodSeconds") or 0) + NODE_PATIENCE
            if self._goes_on(_DELETION + name, being_deleted) >= patience:
                node = pod["spec"].get("nodeName")
                message = f"pod {name} was to be deleted, and node {node} does not say that it is gone"
                details = {"name": self._name, "pod": name, "node": node}
                return RemoteEnd(reason=_ends.NODE_LOST, message=message, details=details)
        return None

    def _only_sidecars(self, seen: Seen) -> RemoteEnd | None:
        """Return the end of the container that was named as the one that counts, where others do not end."""
        container = self._work.container
        if container is None or self._work.several:
            return None
        for pod in seen.pods.values():
            end = _ends.end_of_container(pod, container, seen)
            if self._goes_on("sidecars", end is not None) >= SIDECARS:
                return end
        return None

    def _tell(self, what: str, why: str) -> None:
        """Say something in the log, once for as long as it is the same."""
        text = f"{what}: {why}" if why else what
        if text != self._told:
            self._told = text
            self._say(text)
