"""Process groups: whoever is cancelled, and when, nothing of one is left, and no descriptor."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lifecycle import Scope
from lifecycle.scheduler._work import group as room
from lifecycle.scheduler._work.group import Pipe, ProcessGroup

from ..tools import group_lives, wait_until

pytestmark = pytest.mark.asyncio

WITH_A_CHILD = "sleep 1000 & echo $$; sleep 1000"


def descriptors() -> list[str]:
    """Return what this process has open."""
    return sorted(os.listdir("/proc/self/fd"))


async def has_gone(group: int) -> None:
    """Wait until nothing of a group runs: what was killed takes a moment to end."""
    await anyio.to_thread.run_sync(wait_until, lambda: not group_lives(group))


async def run(argv: list[str] | str, said: bytearray, grace: float | None = None) -> int:
    """Run a command and return its exit code."""
    async with Scope("test") as scope:
        out, err = [await scope.acquire(Pipe) for _ in range(2)]
        readers = [scope.start_soon(pipe.read, said.extend) for pipe in (out, err)]
        group = await scope.acquire(ProcessGroup, argv, out, err, dict(os.environ), release=lambda one: one.end(grace))
        code = await group.wait()
        for reader in readers:
            await reader.wait()
        return code


@pytest.fixture(params=["as it is", "without descriptors of processes"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "as it is":

        def refused(*_: object) -> int:
            raise OSError("not here")

        monkeypatch.setattr(os, "pidfd_open", refused, raising=False)


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        ("echo out; echo err >&2; exit 3", 3, ["err", "out"]),
        (["echo", "$HOME"], 0, ["$HOME"]),
        ("kill -9 $$", -signal.SIGKILL, []),
        ("head -c 300000 /dev/zero | tr '\\0' x", 0, ["x" * 300_000]),
    ],
)
async def test_a_command_says_how_it_ended_and_what_it_wrote(argv: str, code: int, says: list[str]) -> None:
    """All of it, in whatever order."""
    said = bytearray()
    before = descriptors()
    assert await run(argv, said) == code
    assert sorted(said.decode().split()) == says
    assert descriptors() == before


@pytest.mark.parametrize("how", ["native", "scope"])
async def test_a_cancellation_at_any_step_leaves_no_process_and_no_descriptor(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between its start and its first line, and while it has a child that holds its pipes."""
    before = descriptors()
    started: list[int] = []
    real = ProcessGroup.__init__

    def noted(group: ProcessGroup, *args: Any) -> None:
        real(group, *args)
        started.append(group._process.pid)

    monkeypatch.setattr(ProcessGroup, "__init__", noted)
    for steps in [*range(12), None]:
        said = bytearray()
        with anyio.CancelScope() as scope:
            task = asyncio.ensure_future(run(WITH_A_CHILD, said)) if how == "native" else None
            async with anyio.create_task_group() as tasks:
                if task is None:
                    tasks.start_soon(run, WITH_A_CHILD, said)
                for _ in range(steps or 0):
                    await anyio.lowlevel.checkpoint()
                while steps is None and b"\n" not in said:
                    await anyio.sleep(0.005)
                if task is None:
                    scope.cancel()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert descriptors() == before
    assert len(started) > 8
    for group in started:
        await has_gone(group)


async def test_any_number_may_wait_and_one_that_leaves_takes_nothing_from_the_others() -> None:
    """Each gets the code."""
    async with Scope("test") as scope:
        out, err = [await scope.acquire(Pipe) for _ in range(2)]
        group = await scope.acquire(
            ProcessGroup, "sleep 0.2; exit 5", out, err, dict(os.environ), release=lambda one: one.end(None)
        )
        waiting = [asyncio.ensure_future(group.wait()) for _ in range(3)]
        await anyio.sleep(0.02)
        waiting[0].cancel()
        assert await asyncio.gather(*waiting[1:]) == [5, 5]
        assert await group.wait() == 5
        assert group.ended


async def test_one_that_ignores_the_question_is_killed_after_its_grace() -> None:
    """With its children."""
    said = bytearray()
    with anyio.move_on_after(0.3):
        await run("trap '' TERM; " + WITH_A_CHILD, said, grace=0.2)
    assert said
    await has_gone(int(said))


async def test_a_child_that_is_left_is_ended_with_the_group() -> None:
    """The process has ended, and its child holds the pipes."""
    said = bytearray()
    async with Scope("test") as scope:
        out, err = [await scope.acquire(Pipe) for _ in range(2)]
        scope.start_soon(out.read, said.extend)
        group = await scope.acquire(
            ProcessGroup, "sleep 1000 & echo $$", out, err, dict(os.environ), release=lambda one: one.end(0.1)
        )
        assert await group.wait() == 0
        while b"\n" not in said:
            await anyio.sleep(0.005)
        assert room.group_lives(int(said))
    await has_gone(int(said))


async def test_a_command_that_is_not_there_is_told_and_leaves_nothing() -> None:
    """As the operating system says it."""
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        await run(["no-such-command"], bytearray())
    assert descriptors() == before
