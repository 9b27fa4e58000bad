"""Sweeps of clusters on virtual time: which places, how often, and what is left of one that cannot be asked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import anyio
import pytest

from lifecycle.scheduler._ground.errors import StoreError
from lifecycle.scheduler.kubernetes import Cluster, Kubernetes, KubernetesJob, _host, job_manifest
from lifecycle.scheduler.kubernetes._host import SWEEPS
from lifecycle.scheduler.kubernetes._sweep import BEGINNINGS, sweep_namespace
from lifecycle.scheduler.remote import Ticket
from lifecycle.testing import Bubble, run_virtual

from ...kubernetes.jobs.scripted import JOBS, PODS, Api, Request, Script, Wrong, open_scripted, status

TICKET = Ticket("work-1", "a" * 10, None, 1, 1, 1, "work")
STORE = TICKET.store


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host, "open_client", open_scripted)


async def all_over(jobs: Collection[int]) -> dict[int, bool]:
    """Say of all jobs that they are over."""
    return dict.fromkeys(jobs, True)


def work(namespace: str = "n") -> KubernetesJob:
    """Return a job for a namespace."""
    return KubernetesJob(manifest=job_manifest("image"), namespace=namespace)


def listed(api: Api) -> list[str]:
    """Return the namespaces that were swept, in order."""
    return [one.path.split("/")[5] for one in api.requests if one.path.endswith("/jobs") and one.method == "GET"]


def test_a_place_is_swept_three_times_after_it_was_used_last() -> None:
    """And no more: its client would never be idle. What has been used again is swept again."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=None).serve(bubble)
        async with Kubernetes() as kubernetes:
            await kubernetes.start(TICKET, work(), lambda _: None)
            found = [await kubernetes.sweep(STORE, all_over) for _ in range(SWEEPS + 2)]
            assert found == [1, 0, 0, 0, 0]
            assert listed(api) == ["n"] * SWEEPS
            await kubernetes.stop(TICKET, work())
            before = len(listed(api))
            for _ in range(SWEEPS + 1):
                await kubernetes.sweep(STORE, all_over)
            assert len(listed(api)) - before == SWEEPS

    run_virtual(scenario)


def test_all_clusters_are_swept_at_the_beginning() -> None:
    """What a killed process has left may be in any of those that are configured, in its own namespace."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=None).serve(bubble)
        api.create(work().named(TICKET, "n"))
        async with Kubernetes({"a": Cluster(), "b": Cluster()}) as kubernetes:
            found = [await kubernetes.sweep(STORE, all_over) for _ in range(SWEEPS + 2)]
        assert found == [1, 0, 0, 0, 0]
        assert listed(api) == ["n"] * 2 * SWEEPS

    run_virtual(scenario)


def refused_in(namespace: str, code: int) -> Script:
    """Let everything in a namespace be refused."""
    wrong = Wrong(act=False, answer=(code, status(code, "no")))
    return lambda request: wrong if f"/namespaces/{namespace}/" in request.path else None


@pytest.mark.parametrize(("code", "rounds"), [(503, None), (403, 60)])
def test_a_place_that_cannot_be_asked_keeps_its_turn(code: int, rounds: int | None) -> None:
    """For as long as that may pass; a refusal, which does not, is asked about for an hour. The others are swept."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(refused_in("away", code), lasts=None).serve(bubble)
        async with Kubernetes() as kubernetes:
            for namespace in ("away", "n"):
                kubernetes._to_sweep["default", namespace] = SWEEPS
            for _ in range(80 if rounds else 12):
                await kubernetes.sweep(STORE, all_over)
        assert listed(api).count("n") == SWEEPS
        asked = listed(api).count("away")
        assert asked >= 12 if rounds is None else rounds <= asked <= rounds + 1

    run_virtual(scenario)


def test_a_sweep_that_is_cut_off_is_begun_with_the_others_the_next_time() -> None:
    """Places that do not answer must not use up the time of all sweeps."""

    async def scenario(bubble: Bubble) -> None:
        mute = Wrong(act=False, wait=1e9)

        def script(request: Request) -> Wrong | None:
            return None if "/namespaces/n/" in request.path else mute

        api = await Api(script, lasts=None).serve(bubble)
        api.create(work().named(TICKET, "n"))
        async with Kubernetes() as kubernetes:
            for namespace in ("a", "b", "c", "n"):
                kubernetes._to_sweep["default", namespace] = SWEEPS
            for _ in range(2):
                with anyio.move_on_after(150):  # the patience of a sweep is a minute for each of them
                    await kubernetes.sweep(STORE, all_over)
        assert "n" in listed(api)
        assert api.of("jobs") == []

    run_virtual(scenario)


def test_a_store_that_cannot_say_ends_the_sweep() -> None:
    """Nothing is deleted on half knowledge."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=None).serve(bubble)

        async def of(_jobs: Collection[int]) -> dict[int, bool]:
            raise StoreError("the store is away")

        async with Kubernetes() as kubernetes:
            await kubernetes.start(TICKET, work(), lambda _: None)
            with pytest.raises(StoreError):
                await kubernetes.sweep(STORE, of)
            assert len(api.of("jobs")) == 1
            assert await kubernetes.sweep(STORE, all_over) == 1

    run_virtual(scenario)


# One namespace


def paged(second: tuple[int, Any]) -> Script:
    """Let lists of Jobs have two pages; the second is something else."""

    def script(request: Request) -> Wrong | None:
        if request.kind != "list jobs":
            return None
        if "continue" in request.query:
            return Wrong(answer=second)
        return Wrong(answer=(200, {"metadata": {"continue": "next"}, "items": []}))

    return script


@pytest.mark.parametrize(
    ("second", "asked"),
    [
        ((410, status(410, "Expired")), 2 * BEGINNINGS),
        ((200, {"metadata": {"continue": "next"}, "items": []}), None),
        ((404, status(404, "NotFound")), 2),
        ((200, {"metadata": {}, "items": [{"metadata": {}}]}), 2),
    ],
    ids=["expires each time", "follows itself", "is not there", "is no list"],
)
def test_a_list_that_does_not_come_to_its_end_deletes_nothing(second: tuple[int, Any], asked: int | None) -> None:
    """It is begun a few times, and then left for the next sweep."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(paged(second), lasts=None).serve(bubble)
        api.create(work().named(TICKET, "n"))
        client = api.client()
        try:
            with pytest.raises((ConnectionError, RuntimeError)):
                await sweep_namespace(client, "n", STORE, all_over)
        finally:
            await client.aclose()
        assert len(api.of("jobs")) == 1
        assert api.count("list jobs") <= 50 if asked is None else api.count("list jobs") == asked

    run_virtual(scenario)


def test_only_what_is_over_and_has_our_number_is_deleted() -> None:
    """Pods whose Job is gone as well; nothing that is on its way out, nor what the labels do not say."""

    async def scenario(bubble: Bubble) -> None:
        api = await Api(lasts=None, pod_after=1e9).serve(bubble)

        def labels(job: str, store: str = STORE) -> dict[str, str]:
            return {"asyncio-lifecycle/store": store, "asyncio-lifecycle/job": job}

        def put(path: str, name: str, marks: dict[str, str], **meta: Any) -> None:
            of_all = {"namespace": "n", "uid": f"u-{name}", "labels": marks, **meta}
            api.put(f"{path}/{name}", {"metadata": {"name": name, **of_all}, "spec": {"containers": []}, "status": {}})

        put(JOBS, "over", labels("2"))
        put(JOBS, "runs", labels("1"))
        put(JOBS, "unknown", labels("5"))
        put(JOBS, "odd", labels("2x"))
        put(JOBS, "foreign", labels("2", "b" * 10))
        put(JOBS, "leaves", labels("2"), deletionTimestamp="x")
        put(PODS, "orphan", labels("2"), ownerReferences=[{"uid": "gone"}])
        put(PODS, "owned", labels("2"), ownerReferences=[{"uid": "u-leaves"}])
        put(PODS, "of-one-that-runs", labels("1"))
        client = api.client()

        async def over(jobs: Collection[int]) -> dict[int, bool]:
            return {job: job == 2 for job in jobs if job != 5}

        try:
            assert await sweep_namespace(client, "n", STORE, over) == 2
        finally:
            await client.aclose()
        left = {path.rpartition("/")[2] for path in api.objects}
        assert left == {"runs", "unknown", "odd", "foreign", "leaves", "owned", "of-one-that-runs"}

    run_virtual(scenario)
