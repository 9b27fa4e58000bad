"""run: what main returns and raises, and background tasks."""

import asyncio
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import anyio
import pytest

from lifecycle import LifecycleError, OwnerClosed, TaskHandle, create_background_task, run

from .program import LOOPS


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


def test_anyio_scopes_work_in_main() -> None:
    """run() is a loop like any other for them."""

    async def main() -> bool:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert run(main)
