"""The block `subflow`: another flow file, checked with the one that names it and run inside of its job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from lifecycle.scheduler import Flow, FlowError, JobStatus, Scheduler, load_flow

from ..tools import run_flow

INNER = """
[params]
word = { type = "string" }
[blocks.first]
shell = ["echo", "${params.word}"]
[blocks.second]
needs = ["first"]
shell = ["echo", "${blocks.first.output.stdout} in ${run.flow} at ${run.directory}"]
"""


def write(directory: Path, **files: str) -> Path:
    """Write flows by name, with `__` for a slash; return the path of `main`."""
    for name, text in files.items():
        path = directory / f"{name.replace('__', '/')}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return directory / "main.toml"


def problems_of(path: Path) -> list[str]:
    """Return what is wrong with the flow at a path."""
    try:
        load_flow(path)
    except FlowError as error:
        return list(error.problems)
    return []


@pytest.mark.asyncio
async def test_a_subflow_runs_its_jobs_by_their_needs(tmp_path: Path) -> None:
    """Its output is a table of the outputs of its jobs; its names are its own."""
    path = write(
        tmp_path,
        main="""
            [blocks.a]
            subflow = "inner/words.toml"
            params = { word = "hello ${run.flow}" }
            [blocks.b]
            needs = ["a"]
            shell = ["echo", "${blocks.a.output.first.stdout}"]
            """,
        inner__words=INNER,
    )
    ran = await run_flow(load_flow(path))
    assert ran.outputs["b"]["stdout"] == "hello main\n\n"
    assert ran.outputs["a"]["second"]["stdout"] == f"hello main\n in words at {tmp_path / 'inner'}\n"


def handlers(directory: Path, code: str) -> None:
    """Write a module of handlers."""
    (directory / "handlers.py").write_text(f"import anyio\nfrom lifecycle.scheduler import handler\n{code}")


@pytest.mark.asyncio
async def test_urgent_jobs_are_first_and_a_retry_is_made(tmp_path: Path) -> None:
    """Priority, width, delay and retries of its jobs count inside as well."""
    handlers(
        tmp_path,
        "notes = []\n"
        "@handler('sub.note')\nasync def note(text):\n    notes.append(text)\n    return list(notes)\n"
        "@handler('sub.flaky')\nasync def flaky():\n    notes.append('try')\n    assert notes.count('try') > 2\n",
    )
    path = write(
        tmp_path,
        main='handlers = "handlers.py"\n[blocks.a]\nsubflow = "inner.toml"\nwidth = 1',
        inner="""
            [blocks.late]
            call = "sub.note"
            args = ["late"]
            [blocks.soon]
            priority = 5
            call = "sub.note"
            args = ["soon"]
            [blocks.flaky]
            priority = 3
            delay = 0.01
            retries = 2
            backoff = 0.001
            call = "sub.flaky"
            [blocks.last]
            needs = ["late", "soon", "flaky"]
            call = "sub.note"
            args = ["last"]
            """,
    )
    ran = await run_flow(load_flow(path))
    assert ran.outputs["a"]["last"] == ["soon", "try", "try", "try", "late", "last"]
    assert "blocks.a/blocks.flaky: attempt 1 of 3 failed" in ran.log("a")[0]


@pytest.mark.asyncio
async def test_a_failure_names_the_whole_way_and_stops_the_others(tmp_path: Path) -> None:
    """The job that runs the subflow fails as a whole."""
    path = write(
        tmp_path,
        main='[blocks.a]\nsequence = [{ subflow = "one.toml" }]',
        one='[blocks.b]\nsubflow = "two.toml"',
        two='[blocks.bad]\nshell = ["false"]\n[blocks.long]\nsleep = 100\n[blocks.never]\nneeds = ["bad"]\nsleep = 0',
    )
    with anyio.fail_after(30):
        ran = await run_flow(load_flow(path))
    assert ran.error("a").startswith("blocks.a.sequence[0]/blocks.b/blocks.bad: ShellFailed: command 'false' ended")


@pytest.mark.asyncio
async def test_a_cancel_reaches_the_innermost_block(tmp_path: Path) -> None:
    """And everything between is gone when the run has ended."""
    path = write(
        tmp_path,
        main='[blocks.a]\nsubflow = "one.toml"',
        one='[blocks.b]\nparallel = [{ subflow = "two.toml" }, { sleep = 100 }]',
        two='[blocks.c]\nshell = ["sleep", "100"]',
    )
    async with Scheduler() as scheduler:
        run = await scheduler.submit(load_flow(path))
        with anyio.fail_after(30):
            while (
                "process group" not in {task.get_name() for task in asyncio.all_tasks()}
                and not scheduler.statistics().running
            ):
                await anyio.sleep(0.005)
            await run.cancel("enough")
            outcome = await run.wait()
    assert outcome.jobs[0].status is JobStatus.CANCELLED
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not psutil.Process().children()


@pytest.mark.asyncio
async def test_what_an_expression_gives_as_a_parameter_is_checked_when_it_runs(tmp_path: Path) -> None:
    """As for a flow by itself."""
    path = write(
        tmp_path,
        main='[params]\nx = "text"\n[blocks.a]\nsubflow = "inner.toml"\nparams = { n = "${params.x}" }',
        inner="[params]\nn = 3\n[blocks.b]\nsleep = 0",
    )
    ran = await run_flow(load_flow(path))
    assert ran.error("a") == "blocks.a: FlowError: inner.toml: params.n: expected an integer, got 'text'"


def test_problems_of_a_subflow_are_told_with_both_files(tmp_path: Path) -> None:
    """Before anything runs."""
    path = write(
        tmp_path,
        main='[blocks.a]\nsubflow = "one.toml"\n[blocks.b]\nsubflow = "none.toml"\n[blocks.c]\nsubflow = "../x.toml"\n'
        "[blocks.d]\nsubflow = 3",
        one='[blocks.b]\nsubflow = "two.toml"',
        two="[blocks.c]\nslep = 1",
    )
    first, second, third, fourth = problems_of(path)
    nested = "main.toml: blocks.a.subflow: one.toml: blocks.b.subflow: two.toml: blocks.c"
    assert first == f"{nested}: unknown block 'slep'; did you mean 'sleep'?"
    assert second == "main.toml: blocks.b.subflow: none.toml: cannot be read: No such file or directory"
    assert third.startswith("main.toml: blocks.c.subflow: the path: '../x.toml' leads out of the flow's directory; ")
    assert fourth == "main.toml: blocks.d.subflow: expected a string, got 3"


def test_parameters_are_checked_as_far_as_they_are_known(tmp_path: Path) -> None:
    """Missing, unknown and wrong ones; an expression is checked when it runs."""
    path = write(
        tmp_path,
        main='[blocks.a]\nsubflow = "inner.toml"\nparams = { m = 1, n = "x" }\n'
        '[blocks.b]\nsubflow = "inner.toml"\nparams = { need = "${run.id}" }',
        inner="[params]\nn = 3\nneed = { type = 'integer' }\n[blocks.b]\nsleep = 0",
    )
    assert problems_of(path) == [
        "main.toml: blocks.a.params.m: unknown parameter of inner.toml; there are 'n', 'need'",
        "main.toml: blocks.a.params.n: expected an integer, got 'x'",
        "main.toml: blocks.a.params.need: inner.toml requires a value",
    ]


def test_a_flow_cannot_run_itself(tmp_path: Path) -> None:
    """Not through others and not through a link; the error names the chain (casebook C12)."""
    path = write(
        tmp_path,
        main='[blocks.a]\nsubflow = "one.toml"',
        one='[blocks.b]\nsubflow = "link.toml"',
    )
    (tmp_path / "link.toml").symlink_to("main.toml")
    (problem,) = problems_of(path)
    assert problem.startswith("main.toml: blocks.a.subflow: one.toml: blocks.b.subflow: a flow cannot run itself: ")
    assert problem.endswith("main.toml -> one.toml -> main.toml")


def test_subflows_are_bounded_in_depth(tmp_path: Path) -> None:
    """Eight deep is right, nine is not."""
    for number in range(10):
        (tmp_path / f"f{number}.toml").write_text(f'[blocks.a]\nsubflow = "f{number + 1}.toml"')
    (tmp_path / "f10.toml").write_text("[blocks.a]\nsleep = 0")
    assert problems_of(tmp_path / "f2.toml") == []
    (problem,) = problems_of(tmp_path / "f1.toml")
    assert "subflows nested deeper than 8 levels: f1.toml -> f2.toml -> " in problem


def test_subflows_are_bounded_in_number(tmp_path: Path) -> None:
    """Ten in each of six levels would be a million files to read."""
    for number in range(6):
        blocks = "\n".join(f'[blocks.b{block}]\nsubflow = "f{number + 1}.toml"' for block in range(10))
        (tmp_path / f"f{number}.toml").write_text(blocks)
    (tmp_path / "f6.toml").write_text("[blocks.a]\nsleep = 0")
    problems = problems_of(tmp_path / "f0.toml")
    assert any("more than 1,000 subflows in one flow" in problem for problem in problems)


def test_blocks_are_bounded_in_depth_across_files(tmp_path: Path) -> None:
    """The depth of a subflow's blocks begins where the subflow stands."""

    def nested(levels: int, innermost: str) -> str:
        return "{ sequence = [" * levels + innermost + "] }" * levels

    inside = '{ subflow = "inner.toml" }'
    path = write(
        tmp_path,
        main=f"[blocks.a]\nsequence = [{nested(19, inside)}]",
        inner=f"[blocks.b]\nsequence = [{nested(19, '{ sleep = 0 }')}]",
    )
    (problem,) = problems_of(path)
    assert "blocks nested deeper than 32 levels" in problem


def digest(path: Path) -> Any:
    flow: Flow = load_flow(path)
    return flow.digest


def test_a_change_in_a_subflow_is_a_change_of_the_flow(tmp_path: Path) -> None:
    """So that an unfinished run is not continued with other jobs; comments do not count."""
    path = write(tmp_path, main='[blocks.a]\nsubflow = "inner.toml"', inner="[blocks.b]\nsleep = 0")
    before = digest(path)
    (tmp_path / "inner.toml").write_text("# a comment\n[blocks.b]\nsleep = 0")
    assert digest(path) == before
    (tmp_path / "inner.toml").write_text("[blocks.b]\nsleep = 1")
    assert digest(path) != before
