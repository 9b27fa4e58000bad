"""What `run` shows of log records where the program has not set up its logging, and where it has."""

from __future__ import annotations

import subprocess
import sys
import textwrap

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
