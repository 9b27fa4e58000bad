"""Answers of any shape: what is taken for an object can be read to its end, and nothing else raises anything."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lifecycle import Scope
from lifecycle.scheduler.kubernetes import KubernetesJob, _ends, job_manifest
from lifecycle.scheduler.kubernetes._faults import api_error, page_of
from lifecycle.scheduler.kubernetes._ownership import attempt_of, is_being_deleted, is_of, labels_of
from lifecycle.scheduler.kubernetes._removing import is_kept
from lifecycle.scheduler.kubernetes._shape import is_object
from lifecycle.scheduler.kubernetes._view import REMEMBERED, Seen, View, trimmed
from lifecycle.scheduler.remote import RemoteEnd, Ticket

TICKET = Ticket("work-1", "a" * 10, None, 1, 1, 1, "work")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def maybe(strategy: Any) -> Any:
    """Mostly what it should be, null or missing at times, and now and then anything."""
    return st.one_of(strategy, strategy, strategy, strategy, st.none(), JSON)


def table(**fields: Any) -> Any:
    """Return tables with some of these fields."""
    return maybe(st.fixed_dictionaries({}, optional={name: maybe(field) for name, field in fields.items()}))


WORDS = st.sampled_from(["", "a", "main", "work-1", "OOMKilled", "Evicted", "Completed", "NodeLost", "Terminated"])
STATE = table(
    waiting=table(reason=WORDS | st.just("ImagePullBackOff"), message=st.text(max_size=5)),
    running=table(startedAt=WORDS),
    terminated=table(
        exitCode=st.sampled_from([0, 1, 137, 143, 200, -9]),
        signal=st.integers(-1, 70),
        reason=WORDS,
        message=st.sampled_from(["", "{}", '{"a": NaN}', "[", "text", "1"]),
        containerID=WORDS,
    ),
)
STATUSES = maybe(st.lists(table(name=WORDS, state=STATE, lastState=STATE, restartCount=st.integers(0, 2)), max_size=2))
LABELS = st.sampled_from(["asyncio-lifecycle/store", "asyncio-lifecycle/job", "asyncio-lifecycle/attempt", "job-name"])
CONDITIONS = st.sampled_from(["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet", "DisruptionTarget", "Ready"])
OBJECTS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.sampled_from(["work-1", "work-1-x", "other"])},
            optional={
                "namespace": maybe(WORDS),
                "uid": maybe(WORDS),
                "resourceVersion": maybe(WORDS),
                "creationTimestamp": maybe(WORDS),
                "deletionTimestamp": maybe(WORDS),
                "deletionGracePeriodSeconds": maybe(st.integers(0, 60)),
                "labels": maybe(st.dictionaries(LABELS, maybe(WORDS), max_size=3)),
                "annotations": maybe(st.dictionaries(LABELS, maybe(WORDS), max_size=3)),
                "ownerReferences": maybe(st.lists(table(uid=WORDS), max_size=2)),
            },
        )
    },
    optional={
        "spec": table(
            containers=st.lists(table(name=WORDS), max_size=2),
            nodeName=WORDS,
            suspend=st.booleans(),
            template=table(metadata=table(labels=st.dictionaries(LABELS, maybe(WORDS), max_size=3))),
        ),
        "status": table(
            phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown", "Paused"]),
            reason=WORDS,
            message=WORDS,
            conditions=st.lists(
                table(type=CONDITIONS, status=st.sampled_from(["True", "False"]), reason=WORDS, message=WORDS),
                max_size=2,
            ),
            containerStatuses=STATUSES,
            initContainerStatuses=STATUSES,
        ),
    },
)


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.booleans(), st.sampled_from([None, "main"]))
@settings(max_examples=120)
def test_what_is_taken_for_an_object_can_be_read_to_its_end(items: Any, single: bool, container: Any) -> None:
    """Whatever is missing, null or unknown in it."""
    read_to_its_end([item for item in items if is_object(item)] or [{"metadata": {"name": "x"}}], single, container)


def read_to_its_end(items: list[Any], single: bool, container: str | None) -> None:
    """Do with a Job and its pods all that is done with them."""
    job, *pods = items
    for item in (job, *pods):
        labels_of(item), attempt_of(item), is_being_deleted(item), is_of(item, TICKET), is_kept(item)
        assert trimmed(trimmed(item)) == trimmed(item)
    there = {pod["metadata"]["name"]: trimmed(pod) for pod in pods}
    for seen in (Seen(trimmed(job), there), Seen(trimmed(job), {}, there), Seen(None, there)):
        end = _ends.end_of(seen, container, single=single) if seen.job is not None else None
        assert end is None or (isinstance(end, RemoteEnd) and type(end.exit_code) in (int, type(None)))
        _ends.is_told(seen), _ends.lost_pods(seen)
        if seen.job is not None:
            waiting = _ends.waiting_for(seen)
            assert waiting is None or isinstance(waiting.message, str)
            assert isinstance(_ends.is_finished(seen.job), bool)
        for pod in seen.pods.values():
            _ends.end_of_container(pod, "main", seen)


WHOLE: dict[str, Any] = {
    "metadata": {
        "name": "work-1",
        "namespace": "n",
        "uid": "u",
        "resourceVersion": "1",
        "creationTimestamp": "t",
        "deletionGracePeriodSeconds": 30,
        "labels": {"job-name": "work-1"},
        "annotations": {"a": "b"},
        "ownerReferences": [{"uid": "u"}],
    },
    "spec": {"containers": [{"name": "main"}], "nodeName": "n", "template": {"metadata": {"labels": {"a": "b"}}}},
    "status": {
        "phase": "Failed",
        "message": "m",
        "conditions": [{"type": "Failed", "status": "True", "reason": "r", "message": "m"}],
        "containerStatuses": [
            {"name": "main", "state": {"terminated": {"exitCode": 3, "signal": 9, "reason": "r", "message": "m"}}},
            {"name": "c1", "state": {"waiting": {"reason": "r", "message": "m"}}},
        ],
        "initContainerStatuses": [{"name": "i", "state": {"running": {}}}],
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something stands in an object."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield (*path, key)
        yield from places(inner, (*path, key))


def test_whatever_stands_in_the_wrong_place_is_found_out() -> None:
    """Each part of an object in place of each other kind of thing: it is no object then, or it can be read."""
    assert is_object(WHOLE)
    found_out = 0
    for path in places(WHOLE):
        for wrong in (None, 3, "x", [], {}, [3], ["x"], {"a": 3}, True):
            item = copy.deepcopy(WHOLE)
            place = item
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = wrong
            if not is_object(item):
                found_out += 1
                continue
            waits = {**item, "status": {**(item.get("status") or {}), "phase": "Pending"}}
            for items in ([item], [WHOLE, item], [{"metadata": {"name": "work-1"}}, waits]):
                for container in (None, "main", "c1"):
                    read_to_its_end(items, True, container)
    assert found_out > 200


@given(JSON | OBJECTS | st.lists(OBJECTS), st.binary(max_size=20), st.text(max_size=10) | st.none())
@settings(max_examples=60)
def test_nothing_that_a_server_says_is_a_crash(said: Any, body: bytes, retry_after: str | None) -> None:
    """A page of a list, or a refusal, of any shape."""
    assert isinstance(is_object(said), bool)
    error = api_error("GET /x", 500, said if isinstance(said, dict) else body, retry_after)
    assert error.retry_after is None or 0 <= error.retry_after <= 60
    assert "GET /x: 500: " in str(error)
    if isinstance(said, dict):
        with _connection_errors():
            items, _ = page_of(said, "/x")
            assert all(map(is_object, items))


@contextmanager
def _connection_errors() -> Any:
    try:
        yield
    except ConnectionError as error:
        assert str(error).startswith("/x: ")  # noqa: PT017


def test_our_own_job_is_ours_and_nobody_elses() -> None:
    """By the labels of its pods' template, which nobody can take off."""
    job = KubernetesJob(manifest=job_manifest("image")).named(TICKET, "n")
    assert is_of(job, TICKET)
    bare = {**job, "metadata": {**job["metadata"], "labels": {}}}
    assert is_of(bare, TICKET)
    for change in ({"store": "b" * 10}, {"job": 2}, {"first": 2}):
        assert not is_of(job, Ticket(**{**{key: getattr(TICKET, key) for key in Ticket.__slots__}, **change}))


# Views


class Views(RuleBasedStateMachine):
    """A view that is told of Jobs and pods in any order knows what is true of each, and no more than it needs."""

    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        client: Any = SimpleNamespace(name="c")
        self.view = View(client, Scope("view"), "n", "s")
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, dict[str, Any]]] = {}
        self.gone: dict[str, dict[str, dict[str, Any]]] = {}
        self.followers: dict[str, Any] = {}
        self.version = 0

    def made(self, name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
        """Return another version of an object."""
        self.version += 1
        return {"metadata": {"name": name, "labels": labels or {}, "resourceVersion": str(self.version)}}

    @rule(name=names)
    def job_changes(self, name: str) -> None:
        """One is there, in some version."""
        job = self.made(name)
        self.jobs[name] = trimmed(job)
        self.view._change("Job", "MODIFIED", job)

    @rule(name=names)
    def job_goes(self, name: str) -> None:
        """One is deleted; perhaps it was never seen."""
        self.jobs.pop(name, None)
        self.view._change("Job", "DELETED", self.made(name))

    @rule(name=names, number=st.integers(0, 8), old=st.booleans())
    def pod_changes(self, name: str, number: int, old: bool) -> None:
        """One is there, by the label of today or of long ago."""
        pod = self.made(f"{name}-{number}", {"job-name" if old else "batch.kubernetes.io/job-name": name})
        self.pods.setdefault(name, {})[pod["metadata"]["name"]] = trimmed(pod)
        self.view._change("Pod", "ADDED", pod)

    @rule(name=names, number=st.integers(0, 8))
    def pod_goes(self, name: str, number: int) -> None:
        """One is deleted, and how it was then is kept for those who follow."""
        pod = self.made(f"{name}-{number}", {"job-name": name})
        self.pods.get(name, {}).pop(pod["metadata"]["name"], None)
        self._remember(name, trimmed(pod))
        self.view._change("Pod", "DELETED", pod)

    def _remember(self, name: str, pod: dict[str, Any]) -> None:
        if name in self.followers:
            self.gone.setdefault(name, {})[pod["metadata"]["name"]] = pod

    @rule(kept=st.sets(names))
    def jobs_are_listed(self, kept: set[str]) -> None:
        """Some of those that were known are no more."""
        jobs = {name: self.made(name) for name in kept}
        self.jobs = {name: trimmed(job) for name, job in jobs.items()}
        self.view._replace("Job", jobs)

    @rule(kept=st.sets(st.tuples(names, st.integers(0, 8))))
    def pods_are_listed(self, kept: set[tuple[str, int]]) -> None:
        """Those that are missing have gone."""
        pods = {f"{name}-{number}": self.made(f"{name}-{number}", {"job-name": name}) for name, number in kept}
        for name, known in self.pods.items():
            for own in known.keys() - pods.keys():
                self._remember(name, known[own])
        self.pods = {}
        for pod in pods.values():
            self.pods.setdefault(pod["metadata"]["labels"]["job-name"], {})[pod["metadata"]["name"]] = trimmed(pod)
        self.view._replace("Pod", pods)

    @rule(name=names)
    def somebody_follows(self, name: str) -> None:
        """Or stops to."""
        if name in self.followers:
            self.followers.pop(name).__exit__(None, None, None)
            self.gone.pop(name, None)
        else:
            self.followers[name] = self.view.following(name)
            self.followers[name].__enter__()

    @invariant()
    def it_knows_what_is_true(self) -> None:
        """Of each job; and it keeps nothing of those of which there is nothing."""
        for name in ("a", "b", "c"):
            seen = self.view.of(name)
            assert seen.job == self.jobs.get(name)
            assert seen.pods == self.pods.get(name, {})
            gone = self.gone.get(name, {})
            assert len(seen.gone) <= REMEMBERED
            assert seen.gone.items() <= gone.items()
            assert len(seen.gone) == min(len(gone), REMEMBERED) or len(gone) > REMEMBERED
        known = {name for name in self.view._known if self.view._known[name] != Seen()}
        assert set(self.view._known) == known


TestViews = Views.TestCase
TestViews.settings = settings(max_examples=25, stateful_step_count=20)
