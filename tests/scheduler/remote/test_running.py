"""One piece of work elsewhere, by a host of six methods that notes what it was asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Context, JobStatus, Scheduler, handler
from lifecycle.scheduler._store.sqlite.store import SqliteStore
from lifecycle.scheduler.remote import RemoteEnd, RemoteFailed, RemoteLost, _running, run_remote

pytestmark = pytest.mark.asyncio


class Noting:
    """A host that notes what it was asked, and does what a test says."""

    def __init__(self, **does: Any) -> None:
        self.asked: list[str] = []
        self.names: list[str] = []
        self.does = does
        self.over = anyio.Event()

    async def __aenter__(self) -> Noting:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.asked.append("closed")

    async def _do(self, what: str, ticket: Any = None) -> Any:
        self.asked.append(what)
        if ticket is not None:
            self.names.append(ticket.name)
        done = self.does.get(what)
        if isinstance(done, BaseException):
            raise done
        return await done() if callable(done) else done

    async def start(self, ticket: Any, work: Any, say: Any) -> None:
        if "says" in self.does:
            say(self.does["says"])
        await self._do("start", ticket)

    async def adopt(self, ticket: Any, work: Any) -> bool:
        return bool(await self._do("adopt", ticket))

    async def follow(self, ticket: Any, work: Any, say: Any) -> RemoteEnd:
        return await self._do("follow", ticket) or RemoteEnd(reason="succeeded", output=work)

    async def log(self, ticket: Any, work: Any, say: Any) -> None:
        say("a line")
        await self._do("log")

    async def stop(self, ticket: Any, work: Any) -> None:
        await self._do("stop", ticket)

    async def sweep(self, store: str, over: Any) -> int:
        return 0


@handler("elsewhere")
async def elsewhere(work: str, context: Context) -> Any:
    """Run work on the host of the scheduler."""
    end = await run_remote(context.host("noting"), work, context, stop_timeout=1.0)
    return end.check().output


@handler("elsewhere-patiently")
async def elsewhere_patiently(work: str, context: Context) -> Any:
    """The same, with a long time for stopping it."""
    return (await run_remote(context.host("noting"), work, context, stop_timeout=600.0)).check().output


def scheduler(host: Noting, tmp_path: Path, **how: Any) -> Scheduler:
    """Return a scheduler with a host."""
    return Scheduler(tmp_path / "jobs.sqlite", hosts={"noting": host}, **how)


async def test_it_is_started_followed_and_cleared_after_its_end_is_recorded(tmp_path: Path) -> None:
    """By one name; the log is the job's."""
    host = Noting()
    async with scheduler(host, tmp_path) as jobs:
        job = await jobs.submit("elsewhere", "x")
        outcome = await job.wait()
        assert outcome.result == "x"
        record = await jobs.job(job.id)
        assert record is not None
        assert record.log == "a line"
    assert sorted(host.asked) == ["closed", "follow", "log", "start", "stop"]
    assert host.asked[-2:] == ["stop", "closed"]
    assert len(set(host.names)) == 1


async def test_a_log_that_does_not_end_is_told_as_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work has ended, and nobody waits for its log for ever; nor is it taken for whole."""
    monkeypatch.setattr(_running, "LOG_PATIENCE", 0.0)
    async with scheduler(Noting(log=anyio.sleep_forever), tmp_path) as jobs:
        job = await jobs.submit("elsewhere", "x")
        assert (await job.wait()).status is JobStatus.SUCCEEDED
        record = await jobs.job(job.id)
        assert record is not None
        assert (record.log or "").splitlines()[-1] == "the log may lack its end, which did not come within 0 s"


async def test_a_cancelled_one_is_stopped_before_its_end_is_recorded(tmp_path: Path) -> None:
    """And nothing is asked afterwards."""
    host = Noting(follow=anyio.sleep_forever)
    async with scheduler(host, tmp_path) as jobs:
        job = await jobs.submit("elsewhere", "x")
        while "follow" not in host.asked:
            await anyio.sleep(0.01)
        await job.cancel("enough")
        outcome = await job.wait()
        assert outcome.status is JobStatus.CANCELLED
        assert host.asked[-1] == "stop"
    assert host.asked.count("stop") == 1


async def test_a_drained_one_is_left_and_taken_up_by_the_next(tmp_path: Path) -> None:
    """By the same name."""
    first = Noting(follow=anyio.sleep_forever)
    async with scheduler(first, tmp_path, drain_timeout=0.0) as jobs:
        job = await jobs.submit("elsewhere", "x")
        while "follow" not in first.asked:
            await anyio.sleep(0.01)
    assert "stop" not in first.asked
    second = Noting(adopt=True)
    async with scheduler(second, tmp_path) as jobs:
        assert (await (await jobs.find(job.id)).wait()).status is JobStatus.SUCCEEDED
    assert "start" not in second.asked
    assert second.asked[0] == "adopt"
    assert {*first.names, *second.names} == {first.names[0]}


async def test_a_failure_is_tried_again_by_another_name(tmp_path: Path) -> None:
    """Its end was recorded."""
    host = Noting(follow=RemoteFailed("bad"))
    async with scheduler(host, tmp_path) as jobs:
        outcome = await (await jobs.submit("elsewhere", "x", retries=1, backoff=0.01)).wait()
        assert outcome.status is JobStatus.FAILED
    assert host.asked.count("start") == 2
    assert len(set(host.names)) == 2


async def test_what_cannot_be_stopped_is_not_tried_again(tmp_path: Path) -> None:
    """There could be two."""
    host = Noting(follow=RemoteFailed("bad"), stop=OSError("gone"))
    async with scheduler(host, tmp_path) as jobs:
        outcome = await (await jobs.submit("elsewhere", "x", retries=3, backoff=0.01)).wait()
        assert "could not be stopped and may still run" in str(outcome.error)
    assert host.asked.count("start") == 1


async def test_a_refusal_leaves_nothing_to_stop(tmp_path: Path) -> None:
    """Nothing was started."""
    host = Noting(start=RemoteFailed("no", reason="refused"))
    async with scheduler(host, tmp_path) as jobs:
        outcome = await (await jobs.submit("elsewhere", "x")).wait()
        assert "no" in str(outcome.error)
    assert "stop" not in host.asked


async def test_what_was_given_up_is_stopped_before_its_end_is_recorded(tmp_path: Path) -> None:
    """It is not over by itself."""

    async def give_up() -> RemoteEnd:
        return RemoteEnd(reason="not started", message="too long", over=False)

    host = Noting(follow=give_up)
    async with scheduler(host, tmp_path) as jobs:
        await (await jobs.submit("elsewhere", "x")).wait()
        assert host.asked[-1] == "stop"


@pytest.mark.parametrize("error", [OSError("no log"), RuntimeError("odd")])
async def test_a_log_that_cannot_be_had_is_no_failure(tmp_path: Path, error: Exception) -> None:
    """It is a line of the log."""
    host = Noting(log=error)
    async with scheduler(host, tmp_path) as jobs:
        job = await jobs.submit("elsewhere", "x")
        assert (await job.wait()).status is JobStatus.SUCCEEDED
        record = await jobs.job(job.id)
        assert record is not None
        assert "no more log" in (record.log or "")


async def test_one_that_is_lost_is_stopped_and_not_tried_again(tmp_path: Path) -> None:
    """Nobody knows what it does."""
    host = Noting(follow=RemoteLost("out of sight", reason="unreachable"))
    async with scheduler(host, tmp_path) as jobs:
        outcome = await (await jobs.submit("elsewhere", "x", retries=3, backoff=0.01)).wait()
        assert "out of sight" in str(outcome.error)
    assert host.asked.count("start") == 1
    assert "stop" in host.asked


@pytest.mark.parametrize("again", [0, 3])
async def test_one_that_cannot_be_stopped_has_failed_and_was_not_cancelled(tmp_path: Path, again: int) -> None:
    """It may still run: no outcome looks better than what happened; and nothing begins beside it."""
    host = Noting(follow=anyio.sleep_forever, stop=ConnectionError("out of reach"))
    async with scheduler(host, tmp_path) as jobs:
        job = await jobs.submit("elsewhere", "x", retries=again, backoff=0.01)
        while "follow" not in host.asked:
            await anyio.sleep(0.01)
        await job.cancel("enough")
        outcome = await job.wait()
        assert outcome.status is JobStatus.FAILED
        assert str(outcome.error).startswith("enough; and ")
        assert "may still run" in str(outcome.error)
    assert host.asked.count("start") == 1


async def test_a_host_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With how to give one."""
    async with Scheduler(tmp_path / "jobs.sqlite") as jobs:
        outcome = await (await jobs.submit("elsewhere", "x")).wait()
        assert "the scheduler has no host 'noting'" in str(outcome.error)


async def test_a_host_has_to_be_a_context_manager() -> None:
    """Told before anything is opened."""
    with pytest.raises(TypeError, match=r"hosts\['x'\] must be an async context manager"):
        Scheduler(hosts={"x": object()})  # type: ignore[dict-item]


@pytest.mark.parametrize("late", [True, False])
async def test_what_follows_an_end_is_done_if_the_scheduler_is_closed_while_that_is_recorded(
    tmp_path: Path, late: bool
) -> None:
    """It is recorded, and the name of the work is another one from then on: nobody would find it again."""
    host, store = Noting(), SqliteStore(tmp_path / "jobs.sqlite")
    recorded, finish = anyio.Event(), store.finish

    async def slow(*about: Any) -> Any:
        if not late:
            asyncio.get_running_loop().call_soon(recorded.set)  # while the store is asked
            return await finish(*about)
        settled = await finish(*about)
        recorded.set()
        await anyio.sleep(0.05)
        return settled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "finish", slow)
        async with Scheduler(store, hosts={"noting": host}, drain_timeout=0.0) as jobs:
            await jobs.submit("elsewhere", "x")
            await recorded.wait()
    assert "stop" in host.asked


async def test_a_start_that_waits_for_room_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has said so: nothing of it is on its way for most of the time."""
    monkeypatch.setattr(_running, "START_PATIENCE", 600.0)
    host = Noting(start=anyio.sleep_forever, says="waits: quota")
    async with scheduler(host, tmp_path) as jobs:
        job = await jobs.submit("elsewhere-patiently", "x")
        while "start" not in host.asked:
            await anyio.sleep(0.01)
        await job.cancel("enough")
        with anyio.fail_after(10):
            assert (await job.wait()).status is JobStatus.CANCELLED
    assert host.asked.count("stop") == 1
