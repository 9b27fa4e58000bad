"""Jobs whose own task is cancelled by somebody who is not the scheduler: each fails, says so, and nothing hangs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Context, JobOutcome, JobStatus, Scheduler, handler
from lifecycle.scheduler.errors import HandlerError

from ..tools import flow_of
from .handlers import Make


def this_task() -> asyncio.Task[Any]:
    """Return the task that asks."""
    task = asyncio.current_task()
    assert task is not None
    return task


@handler("inside.now")
async def now() -> None:
    """Cancel itself, and meet that at once."""
    this_task().cancel()
    await anyio.sleep(30)


@handler("inside.watchdog")
async def watchdog() -> None:
    """Have the loop cancel it."""
    asyncio.get_running_loop().call_later(0.01, this_task().cancel)
    await anyio.sleep(30)


@handler("inside.child")
async def child() -> None:
    """Be cancelled by a child of its own task group."""
    me = this_task()

    async def cancel_parent() -> None:
        me.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(cancel_parent())
        await anyio.sleep(30)


@handler("inside.thread")
async def thread() -> None:
    """Be cancelled by a thread of its own."""
    loop, me = asyncio.get_running_loop(), this_task()
    other = threading.Thread(target=loop.call_soon_threadsafe, args=(me.cancel,))
    other.start()
    try:
        await anyio.sleep(30)
    finally:
        other.join()  # it has asked, and may not have ended


@handler("inside.scope")
async def scope(context: Context) -> None:
    """Cancel the scope of its block."""
    context.scope.cancel("enough")
    await anyio.sleep(30)


@handler("inside.scope at the end")
async def scope_at_the_end(context: Context) -> str:
    """Cancel the scope of its block, and return before that arrives."""
    context.scope.cancel("enough")
    return "done"


@handler("inside.at the end")
async def at_the_end() -> str:
    """Return while its cancellation is under way."""
    this_task().cancel()
    return "done"


@handler("inside.swallowed")
async def swallowed() -> str:
    """Swallow its cancellation, and take nothing back."""
    this_task().cancel()
    try:
        await anyio.sleep(30)
    except asyncio.CancelledError:
        return "swallowed"
    return "never"


@handler("inside.wait_for")
async def wait_for() -> None:
    """Be cancelled inside of `asyncio.wait_for`."""

    async def inner() -> None:
        this_task().cancel()
        await anyio.sleep(30)

    await asyncio.wait_for(inner(), 30)


@handler("inside.future")
async def future() -> None:
    """Await what was cancelled."""
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    await cancelled


@handler("inside.raised")
async def raised() -> None:
    """Raise a cancellation that there is not."""
    raise asyncio.CancelledError


@handler("inside.in a thread")
def in_a_thread() -> None:
    """Raise one in a worker thread."""
    raise asyncio.CancelledError


@handler("inside.again and again")
async def again_and_again() -> str:
    """Be cancelled in every turn of the loop, also when it has ended."""
    loop, me = asyncio.get_running_loop(), this_task()

    def cancel() -> None:
        if me.cancel():
            loop.call_soon(cancel)

    cancel()
    await anyio.sleep(30)
    return "never"


@handler("inside.leaked scope")
async def leaked_scope() -> None:
    """Enter a cancelled scope of anyio and never leave it."""
    anyio.CancelScope().__enter__().cancel()
    await anyio.sleep(30)


@handler("inside.late")
async def late() -> str:
    """Be cancelled after it has ended, while its end is recorded."""
    loop, me = asyncio.get_running_loop(), this_task()
    loop.call_soon(lambda: loop.call_soon(me.cancel))
    return "done"


HANDLERS: tuple[Callable[..., Any], ...] = (
    now, watchdog, child, thread, scope, scope_at_the_end, at_the_end, swallowed, wait_for, future, raised,
    in_a_thread, again_and_again, leaked_scope,
)  # fmt: skip


async def soon(awaitable: Awaitable[Any]) -> Any:
    """Return what comes, and fail where it never does."""
    with anyio.fail_after(20):
        return await awaitable


@pytest.mark.asyncio
@pytest.mark.parametrize("function", HANDLERS, ids=lambda function: str(function.__name__))
async def test_it_fails_says_so_and_is_retried(make: Make, function: Callable[..., Any]) -> None:
    """Neither never nor as if it had succeeded; the timeout of the job is none of its business."""
    async with make(workers=1) as scheduler:
        job = await scheduler.submit(function, retries=1, backoff=(0.0, 0.0), timeout=60.0)
        outcome: JobOutcome = await soon(job.wait())
        assert (outcome.status, outcome.attempts, outcome.result) == (JobStatus.FAILED, 2, None)
        assert "cancel" in str(outcome.error)
        assert isinstance(outcome.exception, HandlerError if function is not leaked_scope else RuntimeError)
        assert scheduler.statistics().ended["failed"] == 1
        assert scheduler.statistics().running == 0


BLOCKS = {
    "call": 'call = "H"',
    "retry": 'retry = { attempts = 2, backoff = [0.0, 0.0] }\ndo = { call = "H" }',
    "parallel": 'parallel = [{ call = "H" }, { sleep = 0.01 }]',
    "parallel to the end": 'parallel = [{ call = "H" }, { sleep = 0.01 }]\non_failure = "finish"',
    "foreach": 'foreach = [1, 2]\neach = { call = "H" }',
    "foreach to the end": 'foreach = [1, 2]\neach = { call = "H" }\non_failure = "finish"',
    "sequence": 'sequence = [{ call = "H", timeout = 20 }, { sleep = 0.01 }]',
    "wait_for": 'wait_for = { call = "H" }',
    "if": 'if = true\nthen = { call = "H" }',
    "deep": 'foreach = [1]\neach = { retry = 1, do = { parallel = [{ sequence = [{ call = "H" }], timeout = 20 }] } }',
}


@pytest.mark.asyncio
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
async def test_in_every_kind_of_block(block: str) -> None:
    """No block hangs, and none puts None in the place of a result."""
    chosen = {"now": now, "watchdog": watchdog, "scope": scope, "swallowed": swallowed, "future": future}
    flows = [flow_of("[blocks.a]\n" + block.replace('"H"', f'"{name}"'), **{name: function})  # type: ignore[arg-type]
             for name, function in chosen.items()]  # fmt: skip
    async with Scheduler(workers=5) as scheduler:
        runs = [await scheduler.submit(flow) for flow in flows]
        for run in runs:
            (job,) = (await soon(run.wait())).jobs
            assert (job.status, job.result) == (JobStatus.FAILED, None)
            assert "cancel" in str(job.error)


@pytest.mark.asyncio
@pytest.mark.parametrize("block", ['sleep = 30', 'shell = "sleep 30"', 'sequence = [{ sleep = 30 }]'],
                         ids=["sleep", "shell", "sequence"])  # fmt: skip
async def test_a_cancellation_that_arrives_in_a_later_block(block: str) -> None:
    """The handler that has asked for it has returned long ago; what it hits is a block of ours."""

    async def early() -> None:
        asyncio.get_running_loop().call_later(0.05, this_task().cancel)

    async with Scheduler() as scheduler:
        run = await scheduler.submit(
            flow_of(f'[blocks.a]\nsequence = [{{ call = "early" }}, {{ {block} }}]', early=early)
        )
        (job,) = (await soon(run.wait())).jobs
        assert job.status is JobStatus.FAILED
        assert "cancelled from inside" in str(job.error)


@pytest.mark.asyncio
async def test_a_cancellation_during_the_recording_does_not_reach_it(make: Make) -> None:
    """What has ended well is recorded as that, once."""
    async with make() as scheduler:
        for _ in range(5):
            outcome = await soon((await scheduler.submit(late)).wait())
            assert (outcome.status, outcome.result) == (JobStatus.SUCCEEDED, "done")
        assert scheduler.statistics().ended["succeeded"] == 5


@handler("inside.victim")
async def victim() -> str:
    """Do nothing wrong."""
    await anyio.sleep(0.2)
    return "done"


@handler("inside.murderer")
async def murderer() -> None:
    """Look for the task of another job, and end it."""
    while not (found := [task for task in asyncio.all_tasks() if task.get_name() == "job victim"]):
        await asyncio.sleep(0)
    found[0].cancel()


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["before its first step", "while it runs"])
async def test_the_end_of_a_task_that_another_job_has_killed_is_recorded(make: Make, how: str) -> None:
    """Also where not one line of ours has run in it."""
    async with make(workers=2) as scheduler:
        killer = await scheduler.submit(murderer) if how == "before its first step" else None
        await anyio.sleep(0.02)
        job = await scheduler.submit(victim, name="victim")
        await anyio.sleep(0.02)
        killer = killer or await scheduler.submit(murderer)
        outcome = await soon(job.wait())
        assert (outcome.status, outcome.result) == (JobStatus.FAILED, None)
        assert (await soon(killer.wait())).succeeded


@pytest.mark.asyncio
async def test_who_has_asked_decides(make: Make) -> None:
    """A cancellation by a user, a timeout and a shutdown stay what they are, for the same handler."""

    @handler("inside.waits")
    async def waits() -> None:
        await anyio.sleep(30)

    async with make(workers=4, drain_timeout=0.0) as scheduler:
        cancelled = await scheduler.submit(waits)
        timed_out = await scheduler.submit(waits, timeout=0.05)
        interrupted = await scheduler.submit(waits)
        await anyio.sleep(0.02)
        await cancelled.cancel("enough")
        outcomes = [await soon(cancelled.wait()), await soon(timed_out.wait())]
    outcomes.append(await interrupted.wait())
    assert [outcome.status.value for outcome in outcomes] == ["cancelled", "timed_out", "interrupted"]


@pytest.mark.asyncio
async def test_both_at_once_end_as_the_scheduler_has_asked() -> None:
    """A job that is cancelled by its user and cancels itself in the same step has ended, cancelled."""
    async with Scheduler() as scheduler:

        async def both() -> None:
            await job.cancel("enough")
            this_task().cancel()
            await anyio.sleep(30)

        job = await scheduler.submit(both)
        outcome = await soon(job.wait())
        assert outcome.status is JobStatus.CANCELLED
        assert "enough" in str(outcome.error)


ENDED = """
import asyncio, anyio
from lifecycle.scheduler import Scheduler

def tell(event):
    if event.kind == "job_finished":
        print(event.data["status"])

async def main():
    await Scheduler(on_event=tell).__aenter__()
    await kept[0].submit(anyio.sleep, 30)
    await anyio.sleep(0.02)

kept = []
before = Scheduler.__aenter__
Scheduler.__aenter__ = lambda self: kept.append(self) or before(self)
asyncio.run(main())
"""


def test_jobs_are_interrupted_where_the_whole_loop_is_ended() -> None:
    """All tasks are cancelled then, by whoever ends the loop: no job has failed."""
    done = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "interrupted\n", done.stderr
