"""Signals to real processes: what the first, the second and the third do, and which are left alone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lifecycle import run

from .program import LOOPS, running

OWNERS = """
    async def slow(name, seconds=0.1):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(seconds)
            say(name, "ended")

    async def short(name):
        await asyncio.sleep(0.2)
        say(name, "ended")

    async def main():
        async with Scope() as scope, TaskManager(drain_timeout=0) as manager:
            scope.callback(say, "released")
            scope.start_soon(slow, "scope's")
            manager.start_soon(slow, "manager's")
            create_background_task(short("background"))
            await asyncio.sleep(0)
            say("ready")
            await asyncio.sleep(60)
"""


@LOOPS
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_drains(number: int, code: int, use_uvloop: bool) -> None:
    """Owners close in order, the background is drained, the exit code says which signal it was."""
    with running(OWNERS, f"run(main, use_uvloop={use_uvloop})") as program:
        program.wait_for("ready")
        program.signal(number)
        returned, said, errors = program.end()
    assert "background ended" in said  # whenever: it has its own time
    assert [line for line in said if line != "background ended"] == ["manager's ended", "scope's ended", "released"]
    if number is signal.SIGINT:  # the interpreter prints the KeyboardInterrupt and dies of the signal
        assert returned == -signal.SIGINT
        assert errors == "KeyboardInterrupt\n"
        assert code == 128 + signal.SIGINT
    else:
        assert (returned, errors) == (code, "")


STUBBORN = """
    async def stubborn(name):
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                say(name, "swallowed")

    async def main():
        create_background_task(stubborn("background"), name="background")
        await asyncio.sleep(0)
        say("ready")
        await stubborn("main")
"""


@LOOPS
def test_the_second_signal_forces(use_uvloop: bool) -> None:
    """Everything is cancelled; what is stuck is named on stderr with its stack, and the process ends."""
    with running(STUBBORN, f"run(main, drain_timeout=None, cancel_timeout=0.3, use_uvloop={use_uvloop})") as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        program.wait_for("main swallowed")
        program.signal(signal.SIGTERM)
        returned, said, errors = program.end()
    assert returned == 143
    assert set(said) == {"main swallowed", "background swallowed"}
    assert "still running, abandoned: background (running for " in errors
    assert "still running, abandoned: main (running for " in errors
    assert "in stubborn" in errors


def test_time_that_is_up_forces_as_well() -> None:
    """drain_timeout after the first signal."""
    with running(STUBBORN, "run(main, drain_timeout=0.2, cancel_timeout=0.2)") as program:
        program.wait_for("ready")
        program.signal(signal.SIGINT)
        returned, _, errors = program.end()
    assert returned == -signal.SIGINT
    assert "abandoned: main" in errors


@LOOPS
def test_the_third_signal_ends_the_process_at_once(use_uvloop: bool) -> None:
    """Also while the loop is blocked, so that nothing in it can run."""
    body = f"""
        async def main():
            say("ready")
            while True:
                try:
                    time.sleep(0.01)
                except BaseException as error:
                    say("interrupted", error)

        run(main, use_uvloop={use_uvloop})
    """
    with running(body) as program:
        program.wait_for("ready")
        for _ in range(3):
            time.sleep(0.1)
            program.signal(signal.SIGTERM)
        returned, said, errors = program.end()
    assert (returned, said, errors) == (143, [], "")


@LOOPS
def test_a_signal_that_interrupts_nothing_wakes_the_loop(use_uvloop: bool) -> None:
    """The system gives it to another thread, or to ours just before the loop begins to wait: both look the same."""
    body = f"""
        async def main():
            threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            asyncio.get_running_loop().call_soon(say, "ready")
            await asyncio.Event().wait()

        run(main, use_uvloop={use_uvloop})
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        assert program.end() == (143, [], "")


def test_the_wakeup_of_the_program_stays() -> None:
    """Where the interpreter writes signals to is the program's, if it has said so before or meanwhile."""

    async def look(fd: int | None) -> int:
        current = signal.set_wakeup_fd(-1 if fd is None else fd)
        if fd is None:
            signal.set_wakeup_fd(current)
        return current

    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        assert run(look, None) not in (-1, writing.fileno())
        assert signal.set_wakeup_fd(writing.fileno()) == -1  # ours is gone
        assert run(look, None) == writing.fileno()
        assert signal.set_wakeup_fd(-1) == writing.fileno()
        run(look, writing.fileno())
        assert signal.set_wakeup_fd(-1) == writing.fileno()


def test_main_that_returns_in_spite_of_a_signal() -> None:
    """Its value is returned: whoever turns a signal into a result is believed."""
    body = """
        async def main():
            say("ready")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError as error:
                return error.args[0]

        say(run(main))
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        assert program.end() == (0, ["received SIGTERM"], "")


def test_main_that_fails_after_a_signal() -> None:
    """Its error is raised, and not hidden behind the signal."""
    body = """
        async def main():
            say("ready")
            try:
                await asyncio.sleep(60)
            finally:
                raise LookupError("in the clean-up")

        run(main)
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        returned, _, errors = program.end()
    assert returned == 1
    assert "LookupError: in the clean-up" in errors


def test_a_signal_after_main_forces_what_is_left() -> None:
    """The background drains without bound; two signals later it is cancelled, main's value is returned."""
    body = """
        async def slow():
            try:
                say("ready")
                await asyncio.sleep(60)
            finally:
                say("cancelled")

        async def main():
            create_background_task(slow(), name="slow")
            return "value"

        say(run(main, drain_timeout=None))
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        time.sleep(0.3)
        program.signal(signal.SIGTERM)
        returned, said, errors = program.end()
    assert (returned, said) == (0, ["cancelled", "value"])
    assert "did not end in time, cancelled: slow" in errors


# How a program sees that it was interrupted

INTERRUPTED = """
    async def main():
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
"""


def test_an_interruption_can_be_caught() -> None:
    """As the builtin class, by a program that has more to do: it ends as it likes."""
    body = """
        try:
            run(main)
        except KeyboardInterrupt as error:
            say("caught", type(error) is KeyboardInterrupt)
    """
    with running(INTERRUPTED, body) as program:
        assert program.end() == (0, ["caught True"], "")


def test_an_interruption_that_is_raised_again_is_one_line() -> None:
    """A program that says good-bye first, also where another error was being handled."""
    body = """
        try:
            try:
                raise ValueError
            except ValueError:
                run(main)
        except KeyboardInterrupt:
            say("bye")
            raise
    """
    with running(INTERRUPTED, body) as program:
        assert program.end() == (-signal.SIGINT, ["bye"], "KeyboardInterrupt\n")


def test_a_hook_of_the_program_is_told_of_an_interruption() -> None:
    """Whatever shows its uncaught errors shows this one as well: without frames."""
    body = """
        sys.excepthook = lambda kind, error, traceback: say(kind.__name__, traceback, error.__traceback__)
        run(main)
    """
    with running(INTERRUPTED, body) as program:
        assert program.end() == (-signal.SIGINT, ["KeyboardInterrupt None None"], "")


def test_other_errors_keep_their_tracebacks() -> None:
    """After an interruption that was caught, and for a KeyboardInterrupt that main has raised itself."""
    body = """
        async def raises(error):
            raise error
        for _ in range(2):
            try:
                run(main)
            except KeyboardInterrupt:
                pass
        run(raises, KeyboardInterrupt() if sys.flags.optimize else ValueError("no"))
    """
    for options, last in (([], "ValueError: no"), (["env", "PYTHONOPTIMIZE=1"], "KeyboardInterrupt")):
        with running(INTERRUPTED, body, before=options) as program:
            _, _, errors = program.end()
        assert errors.startswith("Traceback (most recent call last):")
        assert errors.rstrip().endswith(last)


def test_an_interruption_inside_of_a_test_runner(tmp_path: Path) -> None:
    """The runner sees what it always sees: a KeyboardInterrupt, which a test may expect, or ends the session."""
    text = """
        import asyncio, os, signal, pytest
        from lifecycle import run

        async def main():
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)

        def test_expected():
            with pytest.raises(KeyboardInterrupt):
                run(main)

        def test_not_expected():
            run(main)
    """
    path = tmp_path / "test_it.py"
    path.write_text("\n".join(line[8:] for line in text.splitlines()))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode == 2
    assert "KeyboardInterrupt" in ended.stdout
    assert "1 passed" in ended.stdout


# Signals that are the program's own


@LOOPS
@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_signal_that_was_ignored_stays_ignored(name: str, use_uvloop: bool) -> None:
    """As for a background job of a shell, and under nohup: what is ignored on purpose ends nothing."""
    body = f"""
        async def main():
            os.kill(os.getpid(), signal.SIG{name})
            await asyncio.sleep(0.1)
            return "went on"

        say(run(main, use_uvloop={use_uvloop}))
        say(signal.getsignal(signal.SIG{name}).name)
    """
    with running(body, before=["sh", "-c", f"trap '' {name}; exec \"$@\"", "sh"]) as program:
        assert program.end() == (0, ["went on", "SIG_IGN"], "")


@LOOPS
@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_handler_that_the_program_has_set_is_called(name: str, use_uvloop: bool) -> None:
    """During the run as before and after it: the program has said what the signal means."""
    body = f"""
        def handler(number, frame):
            say("handled")

        signal.signal(signal.SIG{name}, handler)

        async def main():
            os.kill(os.getpid(), signal.SIG{name})
            await asyncio.sleep(0.1)
            return "went on"

        say(run(main, use_uvloop={use_uvloop}))
        say(signal.getsignal(signal.SIG{name}) is handler)
    """
    with running(body) as program:
        assert program.end() == (0, ["handled", "went on", "True"], "")


def test_a_handler_that_exits_ends_the_run_in_order() -> None:
    """It wants what `sys.exit` in a task wants: owners close, the background is drained, its code is the exit code."""
    body = """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        run(main)
    """
    with running(OWNERS, body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        returned, said, errors = program.end()
    assert (returned, errors) == (7, "")
    assert sorted(said) == ["background ended", "manager's ended", "released", "scope's ended"]


def test_handlers_are_as_they_were_afterwards() -> None:
    """Those of somebody else have never been touched, the defaults are put back, whatever happened in between."""

    def handler(number: int, frame: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, handler)
    interrupts = signal.getsignal(signal.SIGINT)
    try:

        async def main() -> None:
            assert signal.getsignal(signal.SIGTERM) is handler
            assert signal.getsignal(signal.SIGINT) is not interrupts
            raise ValueError

        with pytest.raises(ValueError):
            run(main)
        assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGINT) is interrupts
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_main_sets_stays() -> None:
    """It was set for longer than the run, or its maker takes it away."""

    def handler(number: int, frame: object) -> None:
        raise AssertionError

    async def main() -> None:
        signal.signal(signal.SIGTERM, handler)

    try:
        run(main)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_handler_that_is_not_of_python_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a host program in another language has set could not be put back."""
    changed: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: changed.append(number))

    async def main() -> int:
        return 5

    assert run(main) == 5
    assert changed == []


def test_run_where_no_handler_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another interpreter than the main one, whose own main thread is refused as well: it works without signals."""

    def refuse(number: int, handler: object) -> None:
        raise ValueError("signal only works in main thread of the main interpreter")

    async def main() -> int:
        return 5

    monkeypatch.setattr(signal, "signal", refuse)
    assert run(main) == 5


# Signals before and after


@LOOPS
@pytest.mark.parametrize(("name", "code"), [("INT", -signal.SIGINT), ("TERM", 143)])
def test_a_signal_before_there_is_a_loop_counts(name: str, code: int, use_uvloop: bool) -> None:
    """It is the first: main begins, and is cancelled where it waits."""
    module = "uvloop" if use_uvloop else "asyncio"
    body = f"""
        import uvloop
        new_event_loop = {module}.new_event_loop

        def slowly():
            os.kill(os.getpid(), signal.SIG{name})
            return new_event_loop()

        {module}.new_event_loop = slowly

        async def main():
            try:
                await asyncio.sleep(60)
            finally:
                say("cleaned up")

        run(main, use_uvloop={use_uvloop})
    """
    with running(body) as program:
        assert program.end()[:2] == (code, ["cleaned up"])


def test_a_signal_after_main_takes_nothing_back() -> None:
    """While threads are waited for: what main returned is returned; the second signal ends the waiting."""
    body = """
        async def main():
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
            threading.Timer(0.5, say, ["ready"]).start()
            return 5

        sys.exit(run(main, cancel_timeout=None))
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGINT)
        time.sleep(0.2)
        assert program.process.poll() is None
        program.signal(signal.SIGINT)
        returned, said, errors = program.end()
    assert (returned, said) == (5, [])
    assert "abandoned: thread 'asyncio_0', which runs sleep" in errors
