"""Terms of single jobs: times, expiry, keys, needs, metadata; the same with all stores."""

from __future__ import annotations

import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Context, Event, JobConflict, JobStatus, Scheduler, current_job, flow_of_table, handler

from ..stores import Address
from .handlers import Make, add_async, anything, calls, fail, note, released, wait_for_ever

pytestmark = pytest.mark.asyncio

REQUEST: ContextVar[str | None] = ContextVar("request", default=None)


def soon(seconds: float) -> datetime:
    """Return the instant that comes in so many seconds."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


@handler("terms.request")
async def request() -> Any:
    """Return what the context variable of a request is, and of a job that is submitted from here."""
    return REQUEST.get()


@handler("terms.metadata")
async def metadata_of(context: Context) -> Any:
    """Return the metadata of the job, which is the same by both ways."""
    job = current_job()
    assert job is not None
    assert job.metadata == context.metadata
    return dict(context.metadata)


class TestTimes:
    """When a job may start."""

    async def test_a_job_does_not_start_before_its_instant(self, make: Make) -> None:
        """Whatever the zone it was given in; one that has passed is now."""
        zone = timezone(timedelta(hours=5, minutes=30))
        async with make() as scheduler:
            at = soon(0.15).astimezone(zone)
            later = await scheduler.submit(note, "later", at=at)
            assert (await scheduler.submit(note, "past", at=soon(-1e6))).id
            record = await scheduler.job(later.id)
            assert record is not None
            assert record.due == pytest.approx(at.timestamp())
            assert (await later.wait()).succeeded
            assert time.time() >= at.timestamp()
        assert calls == ["past", "later"]

    async def test_a_delay_may_be_a_timedelta(self, make: Make) -> None:
        """And means what its seconds do."""
        async with make() as scheduler:
            job = await scheduler.submit(note, "x", delay=timedelta(hours=1))
            record = await scheduler.job(job.id)
            assert record is not None
            assert record.due == pytest.approx(time.time() + 3600, abs=60)

    @pytest.mark.parametrize(
        ("settings", "error", "says"),
        [
            ({"at": datetime(2030, 1, 1)}, ValueError, "time zone"),
            ({"at": "noon"}, TypeError, "datetime"),
            ({"at": soon(1), "delay": 5}, TypeError, "delay or at"),
            ({"delay": timedelta(seconds=-1)}, ValueError, "delay"),
            ({"expires": datetime(2030, 1, 1)}, ValueError, "time zone"),
            ({"expires": -1}, ValueError, "expires"),
            ({"expires": "soon"}, TypeError, "expires"),
            ({"key": 5}, TypeError, "key"),
            ({"key": ""}, ValueError, "key"),
            ({"key": "k" * 501}, ValueError, "key"),
            ({"key": "k", "on_twin": "x"}, ValueError, "refuse, return, replace"),
            ({"on_twin": "return"}, TypeError, "key"),
            ({"needs": "12"}, TypeError, "needs"),
            ({"needs": ["1"]}, TypeError, "needs"),
            ({"needs": [True]}, TypeError, "needs"),
            ({"needs": [12345]}, LookupError, "12345"),
            ({"metadata": {1: 2}}, TypeError, "metadata"),
            ({"metadata": {"a": object()}}, TypeError, "metadata"),
            ({"metadata": {"a": "x" * 5000}}, ValueError, "4,096"),
        ],
    )
    async def test_what_is_not_right_is_refused_before_anything_happens(
        self, make: Make, settings: dict[str, Any], error: type[Exception], says: str
    ) -> None:
        """With an error that names what."""
        async with make() as scheduler:
            with pytest.raises(error, match=says):
                await scheduler.submit(note, "x", **settings)
            assert await scheduler.jobs() == []


class TestExpiry:
    """Jobs that wait for too long."""

    async def test_a_job_that_has_not_begun_by_then_is_cancelled_and_what_needs_it(self, make: Make) -> None:
        """Although nobody looks at them, and only those that still wait."""
        released.clear()
        async with make(workers=1) as scheduler:
            first = await scheduler.submit("test.held", expires=0.1)
            late = await scheduler.submit(note, "late", expires=0.1)
            below = await scheduler.submit(note, "below", needs=[late])
            kept = await scheduler.submit(note, "kept", expires=60)
            outcome = await late.wait()
            assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "expired before it began")
            assert (await below.wait()).error == "needs 'test.note', which was cancelled"
            released.add("go")
            assert (await first.wait()).succeeded
            assert (await kept.wait()).succeeded
            assert scheduler.statistics().ended["cancelled"] == 2
        assert calls == ["kept"]

    async def test_a_retry_is_not_begun_after_it_either(self, make: Make) -> None:
        """And it is said that it had begun before."""
        async with make() as scheduler:
            job = await scheduler.submit(fail, "x", expires=0.2, retries=5, backoff=(30.0, 30.0))
            outcome = await job.wait()
            assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "expired before it began again")

    async def test_a_drain_ends_when_the_last_job_has_expired(self, make: Make) -> None:
        """Although nobody holds its handle."""
        async with make() as scheduler:
            await scheduler.submit(note, "x", delay=600, expires=soon(0.1))
            with anyio.fail_after(20):
                await scheduler.drain()
        assert calls == []

    async def test_what_expired_while_no_scheduler_ran_is_not_begun(self, durable: Address) -> None:
        """The next scheduler cancels it before it takes anything."""
        async with Scheduler(durable, workers=1) as scheduler:
            job = await scheduler.submit(note, "x", delay=0.1, expires=0.15)
        await anyio.sleep(0.2)
        async with Scheduler(durable) as scheduler:
            with anyio.fail_after(20):
                while (record := await scheduler.job(job.id)) is None or not record.status.final:
                    await anyio.sleep(0.01)
        assert (record.status, record.error, record.attempts) == (JobStatus.CANCELLED, "expired before it began", 0)
        assert calls == []


class TestKeys:
    """Of the jobs that have not ended, one has a key."""

    async def test_a_twin_is_refused_returned_or_replaced(self, make: Make) -> None:
        """By name and number; and a key is free again when its job has ended."""
        async with make() as scheduler:
            first = await scheduler.submit(note, "first", key="k", delay=600)
            with pytest.raises(JobConflict, match=rf"job {first.id} 'test.note', which is pending") as refused:
                await scheduler.submit(note, "second", key="k")
            assert (refused.value.key, refused.value.job_id) == ("k", first.id)
            assert await scheduler.submit(note, "second", key="k", on_twin="return") is first
            third = await scheduler.submit(note, "third", key="k", on_twin="replace")
            outcome = await first.wait()
            assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "replaced by another job with the same key")
            assert (await third.wait()).result == "third"
            assert (await (await scheduler.submit(note, "fourth", key="k")).wait()).succeeded
        assert calls == ["third", "fourth"]

    async def test_what_replaces_a_running_job_begins_when_that_has_ended(self, make: Make) -> None:
        """Also what replaces the one that waits for it."""
        order: list[str] = []

        @handler("terms.slow_to_stop")
        async def slow_to_stop() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.1)
                order.append("stopped")

        @handler("terms.successor")
        async def successor(name: str) -> None:
            order.append(name)

        async with make() as scheduler:
            first = await scheduler.submit(slow_to_stop, key="k")
            while (record := await scheduler.job(first.id)) is None or record.status is not JobStatus.RUNNING:
                await anyio.sleep(0.01)
            second = await scheduler.submit(successor, "second", key="k", on_twin="replace")
            third = await scheduler.submit(successor, "third", key="k", on_twin="replace")
            assert (await third.wait()).succeeded
            assert (await first.wait()).status is JobStatus.CANCELLED
            assert (await second.wait()).status is JobStatus.CANCELLED
        assert order == ["stopped", "third"]

    async def test_a_job_cannot_replace_one_that_it_needs(self, make: Make) -> None:
        """It would wait for ever."""
        async with make() as scheduler:
            first = await scheduler.submit(note, "first", key="k", delay=600)
            with pytest.raises(JobConflict, match="cannot replace one that it needs"):
                await scheduler.submit(note, "second", key="k", on_twin="replace", needs=[first])
            assert not first.done


class TestNeeds:
    """Jobs that wait for others which were submitted before."""

    async def test_a_job_begins_when_those_that_it_needs_have_succeeded(self, make: Make) -> None:
        """By handle or number, whether they have ended already or not."""
        async with make() as scheduler:
            ended = await scheduler.submit(note, "ended")
            await ended.wait()
            first = await scheduler.submit(note, "first", delay=0.1)
            last = await scheduler.submit(note, "last", needs=[ended, first, first.id])
            assert (await last.wait()).succeeded
        assert calls == ["ended", "first", "last"]

    async def test_one_is_cancelled_when_what_it_needs_does_not_succeed(self, make: Make) -> None:
        """With all below it, before it or afterwards."""
        async with make() as scheduler:
            failing = await scheduler.submit(fail, "x", delay=0.1)
            below = await scheduler.submit(note, "below", needs=[failing])
            deeper = await scheduler.submit(note, "deeper", needs=[below], name="deep")
            assert (await deeper.wait()).error == "needs 'test.fail', which failed"
            assert (await below.wait()).status is JobStatus.CANCELLED
            late = await scheduler.submit(note, "late", needs=[failing])
            assert (await late.wait()).error == "needs 'test.fail', which failed"
        assert calls == []

    async def test_a_delay_begins_when_the_needs_are_met(self, make: Make) -> None:
        """As for the jobs of a flow."""
        async with make() as scheduler:
            first = await scheduler.submit(note, "first", delay=0.1)
            last = await scheduler.submit(note, "last", needs=[first], delay=600)
            await first.wait()
            record = await scheduler.job(last.id)
            assert record is not None
            assert record.due == pytest.approx(time.time() + 600, abs=60)

    async def test_a_job_may_need_jobs_of_a_run_and_a_run_that_is_cancelled_settles_it(self, make: Make) -> None:
        """The jobs of a run have numbers like any other."""
        table = {"blocks": {"a": {"sleep": 0.1}, "b": {"sleep": 600, "needs": ["a"]}}}
        async with make() as scheduler:
            run = await scheduler.submit(flow_of_table(table))
            a, b = await scheduler.jobs(run=run.id)
            after_a = await scheduler.submit(note, "after a", needs=[a.id])
            after_b = await scheduler.submit(note, "after b", needs=[a.id, b.id])
            assert (await after_a.wait()).succeeded
            await run.cancel()
            assert (await after_b.wait()).error == "needs 'b', which was cancelled"
        assert calls == ["after a"]


class TestWhen:
    """Jobs that run however those have ended that they need, or because one failed."""

    @pytest.mark.parametrize("ended", [False, True])
    @pytest.mark.parametrize(
        ("when", "after", "status"),
        [
            ("success", "note", "succeeded"),
            ("success", "fail", "cancelled"),
            ("failure", "note", "skipped"),
            ("failure", "fail", "succeeded"),
            ("always", "note", "succeeded"),
            ("always", "fail", "succeeded"),
        ],
    )
    async def test_how_the_needs_have_ended_decides(
        self, make: Make, ended: bool, when: Any, after: str, status: str
    ) -> None:
        """Whether they had ended before, given by their handles or by their numbers; what needs it sees through it."""
        async with make() as scheduler:
            other = await scheduler.submit(note, "other", delay=0.0 if ended else 0.1)
            need = await scheduler.submit(f"test.{after}", "x", delay=0.0 if ended else 0.1)
            if ended:
                await other.wait()
                await need.wait()
            job = await scheduler.submit(note, "then", needs=[other, need], when=when)
            outcome = await job.wait()
            assert outcome.status.value == status
            if status == "skipped":
                assert outcome.error == "nothing that it needs has failed"
                below = await scheduler.submit(note, "below", needs=[job])
                assert (await below.wait()).succeeded
        assert ("then" in calls) == (status == "succeeded")

    async def test_it_waits_until_all_have_ended(self, make: Make) -> None:
        """One that has failed already does not begin it: what it cleans up after goes on."""
        async with make() as scheduler:
            failed = await scheduler.submit(fail, "x")
            await failed.wait()
            long = await scheduler.submit(note, "long", delay=0.2)
            clean = await scheduler.submit(note, "clean", needs=[failed, long], when="always")
            repair = await scheduler.submit(note, "repair", needs=[failed, long], when="failure")
            assert (await clean.wait()).succeeded
            assert (await repair.wait()).succeeded
        assert calls[0] == "long"

    async def test_a_failure_further_up_counts(self, make: Make) -> None:
        """Seen through what was skipped because of it, and through what ran anyway."""
        async with make() as scheduler:
            failed = await scheduler.submit(fail, "x", delay=0.1)
            below = await scheduler.submit(note, "below", needs=[failed])
            anyway = await scheduler.submit(note, "anyway", needs=[below], when="always")
            tell = await scheduler.submit(note, "tell", needs=[anyway], when="failure")
            assert (await tell.wait()).succeeded
            assert (await below.wait()).status is JobStatus.CANCELLED
        assert calls == ["anyway", "tell"]

    @pytest.mark.parametrize(
        ("settings", "error", "says"),
        [
            ({"when": "always"}, TypeError, "is for a job with needs"),
            ({"when": "failure", "needs": []}, TypeError, "is for a job with needs"),
            ({"when": "never", "needs": [1]}, ValueError, "success, failure, always"),
            ({"when": None, "needs": [1]}, TypeError, "success, failure, always"),
        ],
    )
    async def test_what_is_not_right_is_refused(
        self, make: Make, settings: dict[str, Any], error: type[Exception], says: str
    ) -> None:
        """Before anything is written."""
        async with make() as scheduler:
            with pytest.raises(error, match=says):
                await scheduler.submit(note, "x", **settings)
            assert await scheduler.jobs() == []


class TestMetadata:
    """What travels with a job."""

    async def test_it_is_in_the_record_the_events_and_the_context(self, make: Make) -> None:
        """And of a run in each of its jobs."""
        heard: list[Event] = []
        async with make(on_event=heard.append) as scheduler:
            job = await scheduler.submit(metadata_of, metadata={"tenant": "acme", "tags": ("a", "b")})
            record = await scheduler.job(job.id)
            assert record is None or record.metadata == {"tenant": "acme", "tags": ["a", "b"]}
            assert (await job.wait()).result == {"tenant": "acme", "tags": ["a", "b"]}
            table = {"blocks": {"a": {"call": "terms.metadata"}}}
            run = await scheduler.submit(flow_of_table(table), metadata={"tenant": "other"})
            assert (await scheduler.jobs(run=run.id))[0].metadata == {"tenant": "other"}
            assert (await run.wait()).succeeded
        found = [event.to_dict()["metadata"]["tenant"] for event in heard if event.kind == "job_started"]
        assert found == ["acme", "other"]

    async def test_carried_variables_are_those_of_the_submitter_also_in_what_a_job_submits(self, make: Make) -> None:
        """Not those of whoever opened the scheduler, and not of another job that made room."""

        @handler("terms.parent")
        async def parent() -> Any:
            child = await scheduler.submit(request)
            return [REQUEST.get(), (await child.wait()).result]

        REQUEST.set("opener")
        async with make(carry={"request_id": REQUEST}, workers=2) as scheduler:
            REQUEST.set(None)
            without = await scheduler.submit(request)
            REQUEST.set("one")
            one = await scheduler.submit(parent)
            REQUEST.set("two")
            two = await scheduler.submit(metadata_of, metadata={"x": 1})
            assert (await without.wait()).result is None
            assert (await one.wait()).result == ["one", "one"]
            assert (await two.wait()).result == {"request_id": "two", "x": 1}

    @pytest.mark.parametrize("carry", [[REQUEST], {"x": "y"}, {1: REQUEST}])
    async def test_what_cannot_be_carried_is_refused(self, carry: Any) -> None:
        """Names and variables, nothing else."""
        with pytest.raises(TypeError, match="carry"):
            Scheduler(carry=carry)

    async def test_a_value_that_is_not_plain_is_refused_at_the_submission(self, make: Make) -> None:
        """It could not go to another process."""
        variable: ContextVar[object] = ContextVar("variable")
        variable.set(object())
        async with make(carry={"x": variable}) as scheduler:
            with pytest.raises(TypeError, match="metadata"):
                await scheduler.submit(add_async, 1)


async def test_the_jobs_of_two_schedulers_of_one_file_know_each_other(durable: Address) -> None:
    """Keys, needs and expiry are of the store, whoever owns the jobs."""
    path = durable
    async with Scheduler(path, name="one") as one, Scheduler(path, name="two") as two:
        first = await one.submit(note, "first", key="k", delay=0.3)
        with pytest.raises(JobConflict, match=f"job {first.id} "):
            await two.submit(note, "second", key="k")
        after = await two.submit(note, "after", needs=[first.id])
        doomed = await one.submit(wait_for_ever, name="doomed")
        below = await two.submit(note, "below", needs=[doomed.id])
        late = await two.submit(note, "late", needs=[first], expires=0.1)
        with anyio.fail_after(30):
            assert (await late.wait()).error == "expired before it began"
            assert (await after.wait()).succeeded
            await doomed.cancel()
            assert (await below.wait()).error == "needs 'doomed', which was cancelled"
            replaced = await one.submit(anything, 1, key="r", delay=600)
            assert (await (await two.submit(anything, 2, key="r", on_twin="replace")).wait()).result == 2
            assert (await replaced.wait()).status is JobStatus.CANCELLED
    assert calls == ["first", "after"]
