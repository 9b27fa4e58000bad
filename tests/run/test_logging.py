"""What `run` shows of log records where the program has not set up its logging, and where it has."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import asyncio, logging, lifecycle

    async def broken():
        raise OSError("no mail today")

    async def main():
        {first}
        lifecycle.create_background_task(broken(), name="mail")
        await asyncio.sleep(0.1)

    {before}
    lifecycle.run(main)
"""


def told_by(*, before: str = "", first: str = "") -> str:
    """Return what the program says on stderr."""
    program = textwrap.dedent(PROGRAM).format(before=before, first=first)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_without_logging_an_error_is_shown_with_the_task_that_it_is_about() -> None:
    """The last resort of Python's logging would show the event alone."""
    lines = told_by().splitlines()
    assert lines[0] == "background task failed [owner=background task=mail]"
    assert lines[-1] == "OSError: no mail today"


def test_a_program_that_sets_up_its_logging_gets_each_record_once() -> None:
    """Before `run`, or in its main function; in its own form."""
    config = "logging.basicConfig(format='%(name)s: %(message)s of %(task)s')"
    for options in ({"before": config}, {"first": config}):
        lines = told_by(**options).splitlines()
        assert lines[0] == "lifecycle.manager: background task failed of mail"
        assert sum("background task failed" in line for line in lines) == 1


def test_a_handler_on_a_logger_of_the_package_gets_each_record_once() -> None:
    """Where the program has put one is where it wants the record; stderr is not told the same."""
    for name in ("lifecycle", "lifecycle.manager"):
        mine = f"logging.getLogger({name!r}).addHandler(logging.StreamHandler(__import__('sys').stdout))"
        assert told_by(first=mine) == ""


LEFT = """
    import asyncio, os, signal, sys, threading, time, lifecycle

    async def stubborn():
        while True:
            try: await asyncio.sleep(100)
            except asyncio.CancelledError: pass

    async def main():
        lifecycle.create_background_task(stubborn())
        await asyncio.sleep(0)
        if sys.argv[1] == "signal":
            threading.Thread(target=time.sleep, args=(30,)).start()
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            await asyncio.sleep(10)
        return 7

    sys.exit(lifecycle.run(main, drain_timeout=0.05, cancel_timeout=0.05))
"""


@pytest.mark.parametrize(("how", "code"), [("return", 7), ("signal", 143)])
@pytest.mark.parametrize("streams", ["", "2>&-", "2>/dev/full", ">&-", ">&- 2>&-"])
def test_a_process_ends_as_it_should_though_nobody_can_be_told_what_is_left(how: str, code: int, streams: str) -> None:
    """Neither a closed nor a full stream changes the exit code, or puts the report into the program's output."""
    command = f'exec "$0" -c "$1" {how} {streams}'
    program = textwrap.dedent(LEFT)
    ended = subprocess.run(["sh", "-c", command, sys.executable, program], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ("abandoned: stubborn" in ended.stderr) is ("2>" not in streams)
