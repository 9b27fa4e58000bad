"""``max_instances`` and ``overlap`` of a flow, whoever submits it: Python, schedules, the command line, clients."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lifecycle.scheduler import Event, Flow, FlowRun, JobStatus, RunConflict, Scheduler
from lifecycle.scheduler.control import ControlServer

from ..control.clients import Client
from ..stores import Address
from ..tools import Cli, flow_of, problems_of

pytestmark = pytest.mark.asyncio

log: list[str] = []
gate: set[str] = set()


async def work(name: str) -> None:
    """Go on until the gate is open for this name, or for all."""
    log.append(f"+{name}")
    try:
        while not gate & {name, "all"}:
            await anyio.sleep(0.005)
    finally:
        log.append(f"-{name}")


async def clean(name: str) -> None:
    """Clean up, which takes a while."""
    await anyio.sleep(0.1)
    log.append(f"clean {name}")


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    """Begin with an empty log and a closed gate."""
    log.clear()
    gate.clear()


@pytest.fixture
def store(address: Address | None) -> Address | None:
    """A store of each kind."""
    return address


def of(settings: str) -> Flow:
    """Return a flow with these settings."""
    text = """
    name = "f"
    {settings}
    [params]
    name = "x"
    [blocks.work]
    call = "work"
    args = ["${{params.name}}"]
    [finally.clean]
    call = "clean"
    args = ["${{params.name}}"]
    """
    return flow_of(text.format(settings=settings), work=work, clean=clean)


async def until(condition: Any) -> None:
    """Wait until something has happened."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)


async def named(scheduler: Scheduler, flow: Flow, name: str, **more: Any) -> FlowRun:
    """Submit a run of this name."""
    return await scheduler.submit(flow, params={"name": name}, **more)


async def test_one_more_is_refused_until_the_cleaning_of_the_other_has_ended(store: Address | None) -> None:
    """With the numbers of those that are in its way; nothing is written of it, and other flows are not held up."""
    flow = of("max_instances = 1")
    async with Scheduler(store) as scheduler:
        first = await named(scheduler, flow, "one")
        with pytest.raises(
            RunConflict, match=r"flow.toml: run 1 of flow 'f' goes on, and its max_instances is 1"
        ) as no:
            await named(scheduler, flow, "two")
        assert (no.value.run_ids, no.value.flow_changed) == ((first.id,), False)
        assert scheduler.statistics().refused == 1
        assert len(await scheduler.runs.list()) == 1
        await until(lambda: "+one" in log)
        gate.add("one")
        await until(lambda: "-one" in log)
        with pytest.raises(RunConflict):
            await named(scheduler, flow, "two")
        await first.wait()
        gate.add("all")
        assert (await (await named(scheduler, flow, "three")).wait()).succeeded
    assert log == ["+one", "-one", "clean one", "+three", "-three", "clean three"]


async def test_those_that_wait_say_for_what_and_begin_in_their_order(store: Address | None) -> None:
    """In the record of the run and of its jobs, in the handle, and in the events."""
    flow, events = of("max_instances = 1\noverlap = 'queue'"), list[Event]()
    async with Scheduler(store, on_event=events.append) as scheduler:
        runs = [await named(scheduler, flow, name) for name in ("one", "two", "three")]
        assert [run.waits for run in runs] == [False, True, True]
        record = await scheduler.runs.show(runs[1].id)
        assert record is not None
        assert (record.status, record.waits_for) == (JobStatus.PENDING, "run 1 of its flow to end")
        assert {job.waits_for for job in await scheduler.jobs(run=2)} == {"run 1 of its flow to end"}
        assert [run.id for run in await scheduler.runs.list(status=JobStatus.PENDING)] == [2, 3]
        gate.add("all")
        outcomes = [await run.wait() for run in runs]
        assert all(outcome.succeeded for outcome in outcomes)
        assert not any(run.waits for run in runs)
    assert [line for line in log if line[0] == "+"] == ["+one", "+two", "+three"]
    assert log.index("clean one") < log.index("+two")
    told = [(event.kind, event.run_id) for event in events if event.kind.startswith("run_")]
    assert told[:3] == [("run_started", 1), ("run_waiting", 2), ("run_waiting", 3)]
    for run in (2, 3):
        assert [kind for kind, number in told if number == run] == ["run_waiting", "run_started", "run_finished"]


async def test_the_newest_takes_the_place_of_the_oldest_which_cleans_up_first(store: Address | None) -> None:
    """What waits and is replaced has done nothing, and has nothing to clean up."""
    flow = of("max_instances = 1\noverlap = 'cancel_running'")
    async with Scheduler(store) as scheduler:
        first = await named(scheduler, flow, "one")
        await until(lambda: "+one" in log)
        second = await named(scheduler, flow, "two")
        third = await named(scheduler, flow, "three")
        outcome = await second.wait()
        assert (outcome.status, {job.status for job in outcome.jobs}) == (JobStatus.CANCELLED, {JobStatus.CANCELLED})
        assert {job.error for job in outcome.jobs} == {"replaced by a newer run of its flow"}
        assert (await first.wait()).status is JobStatus.CANCELLED
        gate.add("all")
        assert (await third.wait()).succeeded
    assert log == ["+one", "-one", "clean one", "+three", "-three", "clean three"]


async def test_what_waits_can_be_cancelled_and_gives_its_place_to_the_next(store: Address | None) -> None:
    """As any run."""
    flow = of("max_instances = 1\noverlap = 'queue'")
    async with Scheduler(store) as scheduler:
        runs = [await named(scheduler, flow, name) for name in ("one", "two", "three")]
        assert await runs[1].cancel()
        assert (await runs[1].wait()).status is JobStatus.CANCELLED
        await until(lambda: "+one" in log)
        gate.add("all")
        assert (await runs[2].wait()).succeeded
    assert "+two" not in log
    assert "clean two" not in log


async def test_a_retry_of_a_job_is_no_further_run(store: Address | None) -> None:
    """It would wait for itself."""
    flow = flow_of(
        "max_instances = 1\n[blocks.a]\nretries = 2\nbackoff = [0.01, 0.01]\nshell = 'false'", work=work, clean=clean
    )
    async with Scheduler(store) as scheduler:
        outcome = await (await scheduler.submit(flow)).wait()
        assert [job.attempts for job in outcome.jobs] == [3]


@pytest.mark.parametrize("overlap", ["skip", "queue"])
async def test_due_times_keep_to_the_bound_of_the_flow(store: Address | None, overlap: str) -> None:
    """Beside what others have submitted: they are skipped, or one waits; a trigger by hand is one more submission."""
    flow = of(f"max_instances = 1\noverlap = '{overlap}'")
    async with Scheduler(store) as scheduler:
        by_hand = await named(scheduler, flow, "by hand")
        schedule = await scheduler.schedule("often", flow, params={"name": "due"}, fixed_rate=0.05)

        async def skipped() -> int:
            return (await schedule.record()).skipped_runs

        with anyio.fail_after(30):
            while await skipped() < 2:
                await anyio.sleep(0.01)
        await schedule.pause()
        assert len(await scheduler.runs.list(status=JobStatus.PENDING)) == (overlap == "queue")
        if overlap == "skip":
            with pytest.raises(RunConflict, match="run 1 of flow 'f' goes on"):
                await schedule.trigger()
        assert (await schedule.record()).runs == (overlap == "queue")
        gate.add("all")
        await by_hand.wait()
        await scheduler.drain()
        triggered = await schedule.trigger()
        assert isinstance(triggered, FlowRun)
        assert (await triggered.wait()).succeeded
    running = [line for line in log if line[0] in "+-"]
    assert running == [f"{sign}{name}" for name in [line[1:] for line in running[::2]] for sign in "+-"]


async def test_due_times_that_replace_a_run_let_it_clean_up(store: Address | None) -> None:
    """Although several come while it does: it is cancelled once. On a busy machine one is before it has begun."""
    async with Scheduler(store) as scheduler:
        schedule = await scheduler.schedule("often", of(""), fixed_rate=0.03, max_instances=1, overlap="cancel_running")
        await until(lambda: min(log.count("-x"), log.count("clean x")) >= 2)
        await schedule.remove()
        gate.add("all")
        await scheduler.drain()
    assert re.fullmatch("((\\+x, -x, )?clean x, )+", "".join(f"{line}, " for line in log)), log


async def test_a_delay_goes_on_after_a_due_time_that_was_skipped(store: Address | None) -> None:
    """The next is due a delay after the one that was skipped."""
    flow = of("max_instances = 1")
    async with Scheduler(store) as scheduler:
        by_hand = await named(scheduler, flow, "by hand")
        schedule = await scheduler.schedule("after", flow, fixed_delay=0.02)
        with anyio.fail_after(30):
            while (await schedule.record()).skipped_runs < 2:
                await anyio.sleep(0.01)
        gate.add("all")
        await by_hand.wait()
        await until(lambda: log.count("+x") >= 2)
        await schedule.remove()


async def test_two_schedulers_of_one_file_keep_to_it_together(durable: Address) -> None:
    """What one submits waits for what the other runs, and begins within a second of its end."""
    flow, path = of("max_instances = 1\noverlap = 'queue'"), durable
    async with Scheduler(path, name="one") as one, Scheduler(path, name="two") as two:
        first = await named(one, flow, "one")
        second = await named(two, flow, "two")
        third = await named(one, flow, "three")
        assert (second.waits, third.waits) == (True, True)
        gate.add("all")
        with anyio.fail_after(30):
            assert [(await run.wait()).succeeded for run in (first, second, third)] == [True] * 3
    assert [line for line in log if line[0] == "+"] == ["+one", "+two", "+three"]
    assert log == [f"{mark}{name}" for name in ("one", "two", "three") for mark in ("+", "-", "clean ")]


async def test_a_flow_changed_in_its_bound_only_goes_on_with_its_runs(tmp_path: Path) -> None:
    """It is no other version; one that is tried again keeps to the word of the newest."""
    bounded, free = of("max_instances = 2\noverlap = 'queue'"), of("")
    assert bounded.digest == free.digest
    assert (bounded.bound.max_instances, bounded.bound.overlap) == (2, "queue")
    assert free.bound.max_instances is None


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("max_instances = 0", "max_instances: expected an integer from 1"),
        ("max_instances = '1'", "max_instances: expected an integer"),
        (
            "max_instances = 1\noverlap = 'wait'",
            "overlap: expected one of 'cancel_running', 'queue', 'skip', got 'wait'",
        ),
        ("overlap = 'queue'", "overlap: is for a flow with max_instances"),
    ],
)
async def test_what_is_not_right_is_told(settings: str, problem: str) -> None:
    """With its place."""
    found = problems_of(f"{settings}\n[blocks.a]\nsleep = 0")
    assert len(found) == 1
    assert found[0].startswith(f"flow.toml: {problem}")


async def test_a_flow_with_a_bound_is_no_subflow(tmp_path: Path) -> None:
    """Inside of another one nothing would hold it back."""
    (tmp_path / "sub.toml").write_text("max_instances = 1\n[blocks.a]\nsleep = 0")
    with pytest.raises(ValueError, match=r"sub.toml has 'max_instances', which is for a flow that runs by itself"):
        flow_of("[blocks.a]\nsubflow = 'sub.toml'", directory=tmp_path)


async def test_a_client_is_refused_and_sees_what_waits(store: Address | None) -> None:
    """By the number of the run that is in its way."""
    refusing, waiting = of("max_instances = 1"), of("max_instances = 1\noverlap = 'queue'")
    async with Scheduler(store) as scheduler, ControlServer(scheduler, port=0, flows=[refusing]) as control:
        client = Client(*await asyncio.open_connection("127.0.0.1", control.port))
        await client.ask("HELLO", "3")
        assert await client.ask("LC.ENQUEUE", "f") == {"run": 1}
        assert "run 1 of flow 'f' goes on" in str(await client.ask("LC.ENQUEUE", "f"))
        control.flows = {"f": waiting}
        assert await client.ask("LC.ENQUEUE", "f") == {"run": 2}
        found = await client.ask("LC.RUN", "2")
        assert (found["status"], found["waits_for"]) == ("pending", "run 1 of its flow to end")
        await client.close()
        gate.add("all")
        await scheduler.drain()


async def test_the_command_line_waits_or_refuses_beside_another_process(durable: Address, tmp_path: Path) -> None:
    """Also for a run with the same parameters, which could not be resumed."""
    cli, path = Cli(tmp_path), durable
    text = "name = 'f'\nmax_instances = 1\noverlap = '{}'\n[blocks.a]\nshell = 'echo ran'\n"
    flow = cli.write("f.toml", text.format("queue"))
    async with Scheduler(path) as scheduler:
        first = await scheduler.submit(
            flow_of("name = 'f'\nmax_instances = 1\n[blocks.a]\ncall = 'work'\nargs = ['x']", work=work)
        )
        await until(lambda: "+x" in log)
        async with anyio.create_task_group() as group:
            ended: list[Any] = []

            async def run() -> None:
                words = ("run", flow, "--db", path, "--json")
                ended.append(await anyio.to_thread.run_sync(lambda: cli.call(*words)))

            group.start_soon(run)
            with anyio.fail_after(60):
                while not await scheduler.runs.list(status=JobStatus.PENDING):
                    await anyio.sleep(0.02)
            shown = await anyio.to_thread.run_sync(lambda: cli.call("runs", "show", "2", "--db", path))
            assert "waits for  run 1 of its flow to end" in shown.stdout
            gate.add("all")
            await first.wait()
        told = [json.loads(line) for line in ended[0].stdout.splitlines()]
        assert [event["event"] for event in told[:2]] == ["run_waiting", "run_started"]
        assert [event["status"] for event in told if event["event"] == "summary"] == ["succeeded"]
        gate.clear()
        cli.write("f.toml", text.format("skip"))
        await scheduler.submit(
            flow_of("name = 'f'\nmax_instances = 1\n[blocks.a]\ncall = 'work'\nargs = ['x']", work=work)
        )
        refused = await anyio.to_thread.run_sync(lambda: cli.call("run", flow, "--db", path))
        assert refused.returncode == 2
        assert "f.toml: run 3 of flow 'f' goes on, and its max_instances is 1" in refused.stderr
        gate.add("all")
    cli.close()
