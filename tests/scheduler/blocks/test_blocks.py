"""The kinds of blocks, each run by a scheduler in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from lifecycle.scheduler import Event, JobRecord, JobStatus, Scheduler

from ..stores import Address
from ..tools import flow_of, group_lives, wait_until

pytestmark = pytest.mark.asyncio


class Work:
    """Handlers that note what happens."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.running = 0
        self.most = 0
        self.failures = 0

    async def note(self, value: Any) -> Any:
        """Note a value and return it."""
        self.notes.append(value)
        return value

    async def busy(self, value: Any = None) -> Any:
        """Take a moment, and count how many do so at the same time."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.sleep(0.005)
        finally:
            self.running -= 1
        return value

    async def fail_if(self, value: Any, bad: Any) -> Any:
        """Fail for one value."""
        await anyio.sleep(0.002)
        if value == bad:
            raise ValueError(f"bad {value}")
        self.notes.append(value)
        return value

    async def flaky(self, times: int) -> str:
        """Fail so many times."""
        self.failures += 1
        if self.failures <= times:
            raise OSError("not yet")
        return f"after {self.failures}"

    async def big(self, size: int) -> str:
        """Return much."""
        return "x" * size


async def run_flow(
    text: str, *, directory: Path | None = None, **settings: Any
) -> tuple[Work, dict[str, JobRecord], dict[str, Any]]:
    """Run the flow in a text; return the work, and record and output of each job by name."""
    work = Work()
    flow = flow_of(
        text, directory=directory, note=work.note, busy=work.busy, fail_if=work.fail_if, flaky=work.flaky, big=work.big
    )
    outputs: dict[str, Any] = {}
    async with Scheduler(**settings) as scheduler:
        run = await scheduler.submit(flow)
        forget, scheduler._store.forget = scheduler._store.forget, lambda _run_id: None  # type: ignore[method-assign]
        outcome = await run.wait()
        outputs.update(await scheduler._store.outputs(run.id, list(flow.jobs)))
        forget(run.id)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return work, {job.name: job for job in outcome.jobs}, outputs


async def test_a_sequence_runs_in_order_and_hands_on_outputs_of_named_steps() -> None:
    """Its output is that of its last step."""
    work, _, outputs = await run_flow("""
        [blocks.a]
        [[blocks.a.sequence]]
        name = "one"
        call = "note"
        args = [[1, 2]]
        [[blocks.a.sequence]]
        call = "note"
        args = ["got ${steps.one.output[1]}"]
        [[blocks.a.sequence]]
        sequence = [
            { name = "inner", call = "note", args = [3] },
            { call = "note", args = [["${steps.inner.output}", "${steps.one.output[0]}"]] },
        ]
        """)
    assert work.notes == [[1, 2], "got 2", 3, [3, 1]]
    assert outputs == {"a": [3, 1]}


async def test_a_sequence_ends_with_its_first_failure() -> None:
    """The error names the step."""
    work, jobs, _ = await run_flow("""
        [blocks.a]
        sequence = [{ call = "note", args = [1] }, { call = "fail_if", args = [1, 1] }, { call = "note", args = [2] }]
        """)
    assert work.notes == [1]
    assert jobs["a"].error == "blocks.a.sequence[1]: ValueError: bad 1"


async def test_parallel_branches_run_at_the_same_time_within_their_width() -> None:
    """Outputs come in the order of the flow."""
    branches = ", ".join(f'{{ call = "busy", args = [{number}] }}' for number in range(20))
    work, _, outputs = await run_flow(f"[blocks.a]\nparallel = [{branches}]\nwidth = 4")
    assert outputs["a"] == list(range(20))
    assert work.most == 4


async def test_the_default_width_is_ten() -> None:
    """Without a width there is a bound all the same (casebook C7)."""
    work, _, outputs = await run_flow(
        f"[blocks.a]\nforeach = {list(range(50))}\neach = {{ call = 'busy', args = ['${{item}}'] }}"
    )
    assert (work.most, outputs["a"]) == (10, list(range(50)))


async def test_a_foreach_over_nothing_succeeds() -> None:
    """Its output is an empty list."""
    _, jobs, outputs = await run_flow("[blocks.a]\nforeach = []\neach = { sleep = 1 }")
    assert (jobs["a"].status, outputs["a"]) == (JobStatus.SUCCEEDED, [])


async def test_nested_foreach_know_both_items() -> None:
    """`as` gives the outer item a name that the inner block can use."""
    work, _, outputs = await run_flow("""
        [blocks.a]
        foreach = [[1, 2], [3]]
        as = "row"
        width = 1
        [blocks.a.each]
        foreach = "${row}"
        width = 1
        each = { call = "note", args = ["${index}:${item} of ${row}"] }
        """)
    assert work.notes == ["0:1 of [1, 2]", "1:2 of [1, 2]", "0:3 of [3]"]
    assert outputs["a"] == [work.notes[:2], work.notes[2:]]


async def test_the_first_failure_stops_the_others() -> None:
    """By default; the error names the item."""
    work, jobs, _ = await run_flow("""
        [blocks.a]
        foreach = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        width = 2
        each = { call = "fail_if", args = ["${item}", 3] }
        """)
    assert jobs["a"].error == "blocks.a.each (item 3): ValueError: bad 3"
    assert len(work.notes) < 6


async def test_the_others_finish_first_when_told_so() -> None:
    """Then all failures are told, a bounded number of them."""
    work, jobs, _ = await run_flow("""
        [blocks.a]
        foreach = [0, 3, 3, 1, 2]
        on_failure = "finish"
        each = { call = "fail_if", args = ["${item}", 3] }
        [blocks.many]
        foreach = [3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3]
        on_failure = "finish"
        each = { call = "fail_if", args = ["${item}", 3] }
        """)
    assert sorted(work.notes) == [0, 1, 2]
    assert jobs["a"].error == (
        "2 failures: blocks.a.each (item 1): ValueError: bad 3; blocks.a.each (item 2): ValueError: bad 3"
    )
    assert "10 failures" in str(jobs["many"].error)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("foreach = '${blocks.first.output}'\neach = { sleep = 0 }", "foreach: expected a list, got 'text'"),
        ("sleep = '${blocks.first.output}'", "sleep: expected a number of seconds, got 'text'"),
        ("foreach = [1]\nwidth = '${blocks.first.output}'\neach = { sleep = 0 }", "width: expected an integer"),
        ("call = 'note'\nargs = ['${blocks.first.output.x}']", "no key 'x' in 'text'"),
        ("call = 'big'\nargs = [2000000]", "the output of blocks.a is larger than 1,048,576 bytes"),
        ("foreach = [1,2,3]\neach = { call = 'big', args = [400000] }", "the outputs are together larger"),
        ("shell = ['no-such-program']", "FileNotFoundError"),
        ("shell = 'ls'\ncwd = 'no/such/directory'", "FileNotFoundError"),
    ],
)
async def test_what_is_found_wrong_only_at_run_time_fails_the_job(text: str, error: str) -> None:
    """The error says which value of which block."""
    _, jobs, _ = await run_flow(
        f"[blocks.first]\ncall = 'note'\nargs = ['text']\n[blocks.a]\nneeds = ['first']\n{text}"
    )
    assert jobs["a"].status is JobStatus.FAILED
    assert str(jobs["a"].error).startswith("blocks.a")
    assert error in str(jobs["a"].error)


async def test_a_retry_block_tries_again_inside_of_one_attempt() -> None:
    """The attempts are logged; the job itself was started once."""
    events: list[Event] = []
    work, jobs, outputs = await run_flow(
        """
        [blocks.a]
        retry = { attempts = 5, backoff = [0.001, 0.002] }
        do = { call = "flaky", args = [2] }
        """,
        on_event=events.append,
    )
    assert (outputs["a"], jobs["a"].attempts, work.failures) == ("after 3", 1, 3)
    logged = [event.data["message"] for event in events if event.kind == "job_log"]
    assert [line.split(",")[0] for line in logged] == [f"blocks.a.do: attempt {n} of 5 failed" for n in (1, 2)]


async def test_a_retry_block_gives_up_after_its_attempts() -> None:
    """The last error is the job's."""
    work, jobs, _ = await run_flow("""
        [blocks.a]
        retry = { attempts = 3, backoff = 0.0 }
        do = { call = "flaky", args = [9] }
        """)
    assert (jobs["a"].error, work.failures) == ("blocks.a.do: OSError: not yet", 3)


async def test_a_block_inside_can_time_out_and_be_tried_again() -> None:
    """The timeout of an inner block is a failure of that block, not of the job."""
    _, jobs, _ = await run_flow("""
        [blocks.a]
        retry = { attempts = 2, backoff = 0.0 }
        do = { sleep = 60, timeout = 0.02 }
        """)
    assert jobs["a"].status is JobStatus.FAILED
    assert jobs["a"].error == "blocks.a.do: BlockTimeout: took longer than its timeout of 0.02 s"


async def test_progress_of_a_foreach_is_told() -> None:
    """The last report is complete."""
    events: list[Event] = []
    await run_flow("[blocks.a]\nforeach = [1,2,3,4]\neach = { sleep = 0 }", on_event=events.append)
    progress = [dict(event.data) for event in events if event.kind == "job_progress"]
    assert progress[-1] == {"done": 4, "total": 4}


async def test_a_shell_line_and_a_list_are_run(tmp_path: Path) -> None:
    """Outputs, exit code, environment, directory, standard input."""
    (tmp_path / "sub").mkdir()
    _, _, outputs = await run_flow(
        """
        [blocks.line]
        shell = 'echo "$GREETING from ${PWD##*/}"; echo oops >&2; cat'
        env = { GREETING = "hi" }
        cwd = "sub"
        [blocks.list]
        needs = ["line"]
        shell = ["printf", "%s|", "a b", "${blocks.line.output.stdout}", "$HOME", 1, true]
        [blocks.code]
        shell = "exit 3"
        ok = [0, 3]
        [blocks.quoted]
        needs = ["list"]
        shell = "printf '%s|' ${blocks.list.output.stdout} x"
        interpolate = true
        """,
        directory=tmp_path,
    )
    assert outputs["line"] == {"stdout": "hi from sub\n", "stderr": "oops\n", "returncode": 0, "dropped": 0}
    assert outputs["list"]["stdout"] == "a b|hi from sub\n|$HOME|1|true|"
    assert outputs["code"]["returncode"] == 3
    assert outputs["quoted"]["stdout"] == "a b|hi from sub\n|$HOME|1|true||x|"


async def test_a_value_cannot_break_out_of_a_shell_line() -> None:
    """With interpolate each value is one quoted word, whatever is in it."""
    _, _, outputs = await run_flow("""
        [blocks.evil]
        call = "note"
        args = ["'; echo broken out; echo `id` $(id) \\"x"]
        [blocks.a]
        needs = ["evil"]
        shell = "printf %s ${blocks.evil.output}"
        interpolate = true
        """)
    assert outputs["a"]["stdout"] == outputs["evil"]


async def test_a_failing_command_tells_its_exit_code_and_the_end_of_its_errors() -> None:
    """Also when a signal ended it."""
    _, jobs, _ = await run_flow("""
        [blocks.a]
        shell = "echo some details >&2; exit 7"
        [blocks.b]
        shell = "kill -9 $$"
        """)
    assert jobs["a"].error == (
        "blocks.a: ShellFailed: command 'echo some details >&2; exit 7' ended with exit code 7: some details"
    )
    assert "was ended by signal SIGKILL" in str(jobs["b"].error)


async def test_a_flood_of_output_is_bounded() -> None:
    """Head and tail are kept and the dropped bytes are counted; the command is not held up."""
    _, _, outputs = await run_flow(
        f"[blocks.a]\nshell = ['{sys.executable}', '-c', 'print(\"a\" * 5_000_000 + \"end\")']"
    )
    output = outputs["a"]
    assert len(output["stdout"]) < 70_000
    assert output["stdout"].endswith("aend\n")
    assert output["dropped"] == 5_000_004 - 65_536
    assert "bytes dropped" in output["stdout"]


def children() -> list[psutil.Process]:
    """Return this process's children, ended ones that were not reaped included."""
    return psutil.Process().children(recursive=False)


def open_files() -> int:
    """Return how many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "command",
    [
        "echo $$ > pid; sleep 600",
        "echo $$ > pid; sleep 600 & sleep 600",
        "echo $$ > pid; (trap '' TERM; sleep 600) & (trap '' TERM HUP; sleep 600); wait",
        "trap 'exit 0' TERM; echo $$ > pid; while true; do sleep 0.01; done",
    ],
)
async def test_a_cancelled_command_is_ended_as_a_group(tmp_path: Path, command: str) -> None:
    """SIGTERM, a grace, SIGKILL, reaped: no process of its group, no zombie and no pipe is left."""
    before = open_files()
    flow = flow_of(f'[blocks.a]\nshell = """{command}"""\ngrace = 0.2', directory=tmp_path)
    async with Scheduler() as scheduler:
        inside = open_files()
        run = await scheduler.submit(flow)
        await anyio.to_thread.run_sync(
            wait_until, lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()
        )
        group = int((tmp_path / "pid").read_text())
        assert group_lives(group)
        await run.cancel("stop")
        with anyio.fail_after(60):
            outcome = await run.wait()
        assert outcome.status is JobStatus.CANCELLED
        # SIGKILL takes effect on the orphans of the group a little later.
        await anyio.to_thread.run_sync(wait_until, lambda: not group_lives(group))
        assert children() == []
        assert open_files() == inside
    assert open_files() <= before + 1


async def test_a_command_that_leaves_processes_with_its_pipes_open_ends_all_the_same(tmp_path: Path) -> None:
    """What it leaves in its group is ended with it; one that made a group of its own keeps only itself."""
    (tmp_path / "daemon.py").write_text(
        "import os, time\nos.setsid()\nopen('daemon', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    daemon = f"{sys.executable} daemon.py"
    text = f"""
        [blocks.a]
        shell = "sleep 600 & echo $! > left; echo done"
        [blocks.b]
        shell = "{daemon} & while [ ! -s daemon ]; do sleep 0.01; done; echo done"
        """
    before = open_files()
    with anyio.fail_after(60):
        _, jobs, outputs = await run_flow(text, directory=tmp_path)
    assert {job.status for job in jobs.values()} == {JobStatus.SUCCEEDED}
    assert outputs["a"]["stdout"] == outputs["b"]["stdout"] == "done\n"
    assert children() == []
    assert open_files() <= before
    left = int((tmp_path / "left").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    os.kill(int((tmp_path / "daemon").read_text()), signal.SIGKILL)


async def test_many_commands_leave_no_descriptor_and_no_thread() -> None:
    """A hundred commands, well and badly ended: the counts are those of before."""
    await run_flow("[blocks.a]\nshell = 'true'")
    files, threads = open_files(), threading.active_count()
    _, jobs, _ = await run_flow("""
        [blocks.a]
        foreach = [0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1]
        on_failure = "finish"
        each = { shell = ["sh", "-c", "exit $0", "${item}"] }
        """)
    assert "10 failures" in str(jobs["a"].error)
    assert open_files() <= files
    wait_until(lambda: threading.active_count() <= threads)
    assert children() == []


async def test_a_command_gets_no_descriptor_of_ours(durable: Address, tmp_path: Path) -> None:
    """Neither store, lock nor connection: a command that outlives us must not keep our ownership alive."""
    flow = flow_of("[blocks.a]\nshell = 'ls -l /proc/self/fd'")
    async with Scheduler(durable) as scheduler:
        run = await scheduler.submit(flow)
        await run.wait()
        output = (await scheduler._store.outputs(run.id, ["a"]))["a"]["stdout"]
    assert "jobs.sqlite" not in output
    assert "socket" not in output
    left = ["jobs.sqlite"] if isinstance(durable, Path) else []
    assert [path.name for path in tmp_path.iterdir()] == left
