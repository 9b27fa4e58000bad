"""Whose interrupt it is: the operator's, by a signal, or a program's, which has raised it."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from lifecycle.scheduler._ground.interrupts import from_operator

PROGRAM = """
import asyncio, os, signal
from lifecycle.scheduler import Scheduler

async def pressed():
    for _ in range({presses}):
        os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(30)

async def raised():
    raise KeyboardInterrupt

async def main():
    async with Scheduler(drain_timeout=0.1) as scheduler:
        job = await scheduler.submit({handler})
        print((await job.wait()).status.value, flush=True)

{begin}
"""
RUN = "asyncio.run(main())"
PLAIN = "asyncio.new_event_loop().run_until_complete(main())"


@pytest.mark.parametrize("begin", [RUN, PLAIN], ids=["asyncio.run", "a plain loop"])
@pytest.mark.parametrize("handler", ["pressed", "raised"])
def test_a_signal_ends_the_process_and_an_error_the_job(handler: str, begin: str) -> None:
    """A handler that is hit by the operator's Ctrl-C does not eat it, whatever handles signals in the process."""
    program = PROGRAM.format(handler=handler, begin=begin, presses=2 if begin == RUN else 1)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    if handler == "raised":
        assert (done.returncode, done.stdout) == (0, "failed\n")
    else:
        assert done.returncode == -signal.SIGINT, done.stderr
        assert "KeyboardInterrupt" in done.stderr


def test_what_the_program_has_set_for_a_signal_may_exit() -> None:
    """A SIGTERM that a program answers with sys.exit ends the process, also in the middle of a handler."""
    program = PROGRAM.format(
        handler="asked", begin="signal.signal(signal.SIGTERM, lambda *_: exit(5))\n" + RUN, presses=0
    )
    program = program.replace(
        "async def main", "async def asked():\n    signal.raise_signal(signal.SIGTERM)\n\nasync def main"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (5, "")


def caught(statement: str) -> KeyboardInterrupt:
    """Return what a statement has raised."""
    try:
        exec(compile(textwrap.dedent(statement), "statement", "exec"), {"signal": signal})  # noqa: S102
    except KeyboardInterrupt as error:
        return error
    raise AssertionError("nothing was raised")


def test_how_a_program_raises_it_does_not_matter() -> None:
    """By a statement, again, or from a function that it calls."""
    for statement in ("raise KeyboardInterrupt", "raise KeyboardInterrupt('mine') from ValueError()",
                      "try:\n    raise KeyboardInterrupt\nfinally:\n    pass"):  # fmt: skip
        assert not from_operator(caught(statement))
    assert not from_operator(ValueError())
    assert not from_operator(KeyboardInterrupt())


def test_in_a_thread_it_is_never_the_operators() -> None:
    """Python runs what handles signals in the main thread."""
    seen: list[bool] = []
    error = caught("signal.raise_signal(signal.SIGINT)")
    assert from_operator(error)
    thread = threading.Thread(target=lambda: seen.append(from_operator(error)))
    thread.start()
    thread.join()
    assert seen == [False]
