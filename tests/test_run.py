"""run: what main returns and raises, background tasks, and signals to real processes."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import pytest

from lifecycle import LifecycleError, OwnerClosed, TaskHandle, create_background_task, run

LOOPS = pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])


class Failure(Exception):
    """What a program raises."""


# What comes out


@LOOPS
def test_run_returns_what_main_returns(use_uvloop: bool) -> None:
    """Arguments are handed on, the chosen loop runs, and no loop is set afterwards."""

    async def main(first: int, second: str) -> tuple[int, str, str]:
        return first, second, type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert run(main, 1, "two", use_uvloop=use_uvloop) == (1, "two", "uvloop" if use_uvloop else "asyncio")
    assert asyncio._get_running_loop() is None


def test_run_raises_what_main_raises() -> None:
    """The same object, as it is."""
    error = Failure()

    async def main() -> None:
        raise error

    with pytest.raises(Failure) as caught:
        run(main)
    assert caught.value is error


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["main", "background"])
def test_an_error_that_ends_the_process_still_sees_everything_off(error: BaseException, where: str) -> None:
    """sys.exit() in main or in a background task: the others are cancelled and drained, signals are as before."""
    ended: list[str] = []
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            ended.append(name)

    async def leave() -> None:
        await asyncio.sleep(0.01)
        raise error

    async def main() -> None:
        create_background_task(work("background", 0.05))
        if where == "main":
            await leave()
        create_background_task(leave())
        await work("main", 60)

    with pytest.raises(type(error)) as caught:
        run(main, drain_timeout=None)
    assert caught.value is error
    assert sorted(ended) == (["background"] if where == "main" else ["background", "main"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_the_first_error_that_ends_the_process_counts() -> None:
    """Two tasks that both want it to end."""

    async def leave(code: int) -> None:
        sys.exit(code)

    async def main() -> None:
        create_background_task(leave(3))
        create_background_task(leave(4))
        await asyncio.sleep(60)

    with pytest.raises(SystemExit) as caught:
        run(main, drain_timeout=None)
    assert caught.value.code == 3


def test_an_error_of_main_is_not_lost_to_one_that_ends_the_process() -> None:
    """It travels as the other's context."""

    async def leave() -> None:
        sys.exit(3)

    async def main() -> None:
        create_background_task(leave())
        try:
            await asyncio.sleep(60)
        finally:
            raise Failure("in the clean-up")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert isinstance(caught.value.__context__, Failure)


def test_a_cancelled_main_is_a_cancelled_error() -> None:
    """Main that gives up without any signal."""

    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(main)


def test_arguments_are_checked() -> None:
    """Before anything is started; a main that is no async function is named."""

    async def main() -> None:
        raise AssertionError("started")

    with pytest.raises(TypeError, match="drain_timeout"):
        run(main, drain_timeout="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cancel_timeout"):
        run(main, cancel_timeout=-1)
    with pytest.raises(TypeError, match="expected an async function"):
        run(lambda: 5)  # type: ignore[arg-type,return-value]


def test_no_run_inside_a_loop() -> None:
    """RuntimeError that says what to do; main is not called."""

    async def inner() -> None:
        raise AssertionError("called")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="await your main function instead"):
            run(inner)

    asyncio.run(main())


def test_run_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def main() -> None:
        raise AssertionError("called")

    with pytest.raises(ImportError, match="pip install uvloop"):
        run(main, use_uvloop=True)


def test_run_in_a_thread() -> None:
    """Signals are the main thread's affair; all else is the same."""
    results: list[int] = []

    async def main() -> int:
        create_background_task(asyncio.sleep(0.01))
        return 5

    thread = threading.Thread(target=lambda: results.append(run(main)))
    thread.start()
    thread.join(10)
    assert results == [5]


# Background tasks


@LOOPS
def test_background_tasks_are_drained_after_main(use_uvloop: bool) -> None:
    """Wherever below main they were started."""
    ended: list[str] = []

    async def work(name: str) -> None:
        await asyncio.sleep(0.01)
        ended.append(name)

    async def request() -> TaskHandle[None]:
        create_background_task(work("second"))
        return create_background_task(work("first"), name="first")

    async def main() -> str:
        handle = await asyncio.create_task(request())
        assert handle.name == "first"
        return "returned"

    assert run(main, use_uvloop=use_uvloop) == "returned"
    assert sorted(ended) == ["first", "second"]


def test_an_error_of_a_background_task_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With its name; main is not disturbed."""

    async def fail() -> None:
        raise Failure

    async def main() -> int:
        await create_background_task(fail(), name="mailer").wait()
        return 5

    assert run(main) == 5
    (record,) = caplog.records
    assert (record.getMessage(), record.task) == ("background task failed", "mailer")  # type: ignore[attr-defined]


def test_no_background_without_run() -> None:
    """Refused with a word about what to do; the coroutine is closed."""
    coro = asyncio.sleep(0)
    with pytest.raises(LifecycleError, match=r"needs a surrounding lifecycle.run\(main\)"):
        create_background_task(coro)
    assert coro.cr_frame is None

    async def main() -> None:
        with pytest.raises(RuntimeError):
            create_background_task(asyncio.sleep(0))

    asyncio.run(main())
    with pytest.raises(TypeError):
        create_background_task(asyncio.sleep)  # type: ignore[arg-type]


def test_no_background_task_when_the_process_ends() -> None:
    """A clean-up that comes too late is refused, and its coroutine closed."""
    refused: list[BaseException] = []
    coro = asyncio.sleep(0)

    async def late() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            try:
                create_background_task(coro)
            except OwnerClosed as error:
                refused.append(error)

    async def main() -> None:
        create_background_task(late())
        await asyncio.sleep(0)

    run(main, drain_timeout=0.01)
    assert len(refused) == 1
    assert coro.cr_frame is None


def test_what_is_too_slow_is_cancelled_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    """After drain_timeout: background tasks, and tasks that nobody owns; main's value is returned."""
    cancelled: list[str] = []

    async def slow(name: str) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            cancelled.append(name)

    kept: list[Any] = []

    async def main() -> int:
        create_background_task(slow("owned"), name="owned")
        kept.append(asyncio.create_task(slow("stranger")))
        await asyncio.sleep(0)
        return 5

    assert run(main, drain_timeout=0.05) == 5
    assert cancelled == ["owned", "stranger"]
    assert capfd.readouterr().err == "lifecycle: did not end in time, cancelled: owned\n"


def test_what_is_stuck_is_named_and_left(capfd: pytest.CaptureFixture[str]) -> None:
    """With the place where it is suspended: background tasks and strangers that ignore their cancellation."""

    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    kept: list[Any] = []

    async def main() -> int:
        create_background_task(stubborn(), name="owned")
        kept.append(asyncio.create_task(stubborn(), name="stranger"))
        await asyncio.sleep(0)
        return 5

    assert run(main, drain_timeout=0.01, cancel_timeout=0.05) == 5
    errors = capfd.readouterr().err
    assert "still running, abandoned: owned (running for " in errors
    assert "still running, abandoned: stranger (running for " in errors
    assert errors.count("test_run.py:") == 2


# Signals


class Program:
    """A real process that runs a program, and what it has said."""

    def __init__(self, body: str) -> None:
        head = """
            import asyncio, sys, time, threading
            import anyio, anyio.to_thread
            from lifecycle import Scope, TaskManager, create_background_task, run

            def say(*words):
                print(*words, flush=True)
        """
        source = textwrap.dedent(head) + textwrap.dedent(body)
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, line: str) -> None:
        """Wait until the program has said so."""
        assert self.process.stdout is not None
        for said in self.process.stdout:
            if said.strip() == line:
                return
        raise AssertionError(f"never said {line!r}: {self.process.communicate()[1]}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, list[str], str]:
        """Return the exit code, what it said after the last wait, and its errors."""
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output.split("\n")[:-1], errors


@contextmanager
def running(body: str) -> Iterator[Program]:
    """Run a program, and see to it that it is gone afterwards."""
    program = Program(body)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.communicate()


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
    with running(OWNERS + f"\n    run(main, use_uvloop={use_uvloop})") as program:
        program.wait_for("ready")
        program.signal(number)
        returned, said, errors = program.end()
    assert "background ended" in said  # whenever: it has its own time
    assert [line for line in said if line != "background ended"] == ["manager's ended", "scope's ended", "released"]
    if number is signal.SIGINT:  # the interpreter prints the KeyboardInterrupt and dies of the signal
        assert returned == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
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
    body = STUBBORN + f"\n    run(main, drain_timeout=None, cancel_timeout=0.3, use_uvloop={use_uvloop})"
    with running(body) as program:
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
    with running(STUBBORN + "\n    run(main, drain_timeout=0.2, cancel_timeout=0.2)") as program:
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


def test_a_worker_thread_that_is_stuck_is_named_and_left() -> None:
    """It would keep the interpreter alive for ten minutes."""
    body = """
        async def main():
            def block():
                say("ready")
                time.sleep(600)
            await anyio.to_thread.run_sync(block, abandon_on_cancel=True)

        run(main, cancel_timeout=0.2)
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        returned, _, errors = program.end()
    assert returned == 143
    assert "still running, abandoned: thread " in errors


def test_threads_that_end_in_time_are_waited_for() -> None:
    """A worker and a daemon: the worker may end, the daemon is nobody's concern."""
    body = """
        def work():
            say("ready")
            time.sleep(0.3)
            say("worker ended")

        async def main():
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            threading.Thread(target=work).start()
            await asyncio.sleep(60)

        run(main)
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        assert program.end() == (143, ["worker ended"], "")


def test_handlers_are_as_they_were_afterwards() -> None:
    """Those of somebody else are put back, whatever happened in between."""

    def handler(number: int, frame: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, handler)
    try:

        async def main() -> None:
            assert signal.getsignal(signal.SIGTERM) is not handler
            raise Failure

        with pytest.raises(Failure):
            run(main)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_anyio_scopes_work_in_main() -> None:
    """run() is a loop like any other for them."""

    async def main() -> bool:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert run(main)
