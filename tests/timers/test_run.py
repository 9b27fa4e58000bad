"""One run of a timer: its errors, the hooks around it, its timeout, and what the statistics say of it."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from lifecycle import Scope, TaskCancelled, TaskStatus, TimeoutExpired, fixed_rate
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import TimerRun

from .journal import Journal, Recorder, nothing, run_for


def failing_at(*numbers: int) -> tuple[list[int], Callable[[], Coroutine[Any, Any, None]]]:
    runs: list[int] = []

    async def body() -> None:
        runs.append(len(runs) + 1)
        if len(runs) in numbers:
            raise OSError(f"run {len(runs)} went wrong")

    return runs, body


# 6. errors


def test_6_an_error_is_logged_and_the_timer_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """The default, with the timer's name, the run's number and the error."""

    async def scenario(bubble: Bubble) -> None:
        runs, body = failing_at(2, 3)
        timer = fixed_rate(body, 1, name="probe")
        await run_for(timer, 4.5)
        assert runs == [1, 2, 3, 4, 5]
        assert (timer.statistics().failed, timer.statistics().finished) == (2, 3)

    run_virtual(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "run failed",
        "run failed",
    ]
    assert caplog.records[0].exc_info
    assert [(record.owner, record.run) for record in caplog.records] == [("probe", 2), ("probe", 3)]  # type: ignore[attr-defined]


def test_6_stop_ends_the_timer_after_the_first_error(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, the task returns, the owner goes on."""

    async def scenario(bubble: Bubble) -> None:
        runs, body = failing_at(2)
        async with Scope() as scope:
            handle = scope.start_soon(fixed_rate(body, 1, on_error="stop"))
            await handle
            assert handle.status is TaskStatus.FINISHED
            await asyncio.sleep(5)
        assert runs == [1, 2]

    run_virtual(scenario)
    assert "failed" in caplog.text


def test_6_raise_hands_the_error_to_the_owner() -> None:
    """A scope is interrupted by it, and its other runs are cancelled."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)

        async def body() -> None:
            await journal()
            if len(journal.began) == 3:
                raise OSError("third")
            await asyncio.sleep(100)

        timer = fixed_rate(body, 1, on_error="raise", max_instances=3)
        with pytest.raises(OSError, match="third"):
            await run_for(timer, 50)
        assert bubble.clock.now == 2
        assert (timer.statistics().failed, timer.statistics().cancelled) == (1, 2)

    run_virtual(scenario)


def test_6_several_errors_are_all_raised() -> None:
    """The ones that the first one's cancellation brings about come along."""

    async def scenario(bubble: Bubble) -> None:
        started = 0

        async def body() -> None:
            nonlocal started
            started += 1
            if started == 2:
                raise OSError("first")
            try:
                await asyncio.sleep(100)
            finally:
                raise ValueError("clean-up")

        with pytest.raises(ExceptionGroup) as caught:
            await run_for(fixed_rate(body, 1, on_error="raise", max_instances=2), 50)
        assert [str(error) for error in caught.value.exceptions] == ["first", "clean-up"]

    run_virtual(scenario)


def test_6_cancelling_a_run_stops_the_timer(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever on_error says: who cancels a run wants an end."""

    async def scenario(bubble: Bubble) -> None:
        async def body() -> None:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(0.5, task.cancel)
            await asyncio.sleep(100)

        timer = fixed_rate(body, 1)
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert bubble.clock.now == 0.5
        assert timer.statistics().cancelled == 1

    run_virtual(scenario)
    assert "cancelled from outside" in caplog.text


def test_6_a_cancelled_error_from_within_is_an_error_like_others(caplog: pytest.LogCaptureFixture) -> None:
    """Awaiting something that was cancelled does not silence a timer."""

    async def scenario(bubble: Bubble) -> None:
        runs = 0

        async def body() -> None:
            nonlocal runs
            runs += 1
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        timer = fixed_rate(body, 1)
        await run_for(timer, 2.5)
        assert runs == timer.statistics().failed == 3

    run_virtual(scenario)
    assert caplog.records[0].exc_info is not None
    assert isinstance(caplog.records[0].exc_info[1], TaskCancelled)


# 7. hooks


def test_7_hooks_see_the_run_and_its_outcome() -> None:
    """Number, when it was due, when it began, how late, what was missed; status, error, duration."""

    async def scenario(bubble: Bubble) -> None:
        recorder = Recorder()
        timer = fixed_rate(Journal(bubble, 15), 10, hooks=[recorder], name="t")
        await run_for(timer, 25)
        first, ended, second, _ = recorder.seen
        assert first == TimerRun("t", 1, 0.0, 0.0, 0, False)
        assert ended == TimerRun("t", 1, 0.0, 0.0, 0, False, TaskStatus.FINISHED, None, 15.0)
        assert second == TimerRun("t", 2, 20.0, 20.0, 1, False)
        assert second.lateness == 0.0

    run_virtual(scenario)


def test_7_an_error_of_before_fails_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """The body is not run; after is called; the timer goes on."""

    async def scenario(bubble: Bubble) -> None:
        recorder, journal = Recorder("before"), Journal(bubble)
        timer = fixed_rate(journal, 10, hooks=[recorder])
        await run_for(timer, 15)
        assert journal.began == []
        assert [seen.status for seen in recorder.seen] == [None, TaskStatus.FAILED] * 2
        assert recorder.seen[1].status is TaskStatus.FAILED
        assert isinstance(recorder.seen[1].error, OSError)
        assert timer.statistics().failed == 2

    run_virtual(scenario)


def test_7_an_error_of_after_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the run nor the other hooks nor the timer."""

    async def scenario(bubble: Bubble) -> None:
        broken, sound = Recorder("after"), Recorder()
        timer = fixed_rate(Journal(bubble), 10, hooks=[broken, sound])
        await run_for(timer, 15)
        assert timer.statistics().finished == 2
        assert len(sound.seen) == 4

    run_virtual(scenario)
    assert caplog.messages[0] == "hook failed"
    assert caplog.records[0].hook.endswith(".after")  # type: ignore[attr-defined]


def test_7_after_is_called_for_a_cancelled_run() -> None:
    """With CANCELLED, and it may wait: the cancellation has been delivered."""

    async def scenario(bubble: Bubble) -> None:
        recorder = Recorder()
        timer = fixed_rate(Journal(bubble, 100), 10, hooks=[recorder])
        await run_for(timer, 5)
        assert recorder.seen[-1].status is TaskStatus.CANCELLED
        assert bubble.clock.now == 5.1

    run_virtual(scenario)


def test_7_a_failing_missed_hook_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And a hook without any of the methods is refused."""

    class Broken:
        def missed(self, timer: str, due: float, count: int) -> None:
            raise OSError("missed")

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(Journal(bubble, 25), 10, hooks=[Broken()])
        await run_for(timer, 35)
        assert timer.statistics().runs == 2

    run_virtual(scenario)
    assert caplog.messages[0] == "hook failed"
    assert caplog.records[0].hook.endswith(".missed")  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="needs one of the methods before, after, missed"):
        fixed_rate(nothing, 1, hooks=[object()])


# 8. run timeout and statistics


def test_8_a_run_that_takes_too_long_is_cancelled_and_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    """A TimeoutError that names the run; the timer goes on; a quicker run is untouched."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 100, 2)
        timer = fixed_rate(journal, 10, run_timeout=3, name="slow")
        await run_for(timer, 15)
        assert journal.began == [0, 10]
        assert journal.ended == [12]
        statistics = timer.statistics()
        assert (statistics.failed, statistics.timed_out, statistics.finished) == (1, 1, 1)

    run_virtual(scenario)
    assert caplog.records[0].exc_info is not None
    error = caplog.records[0].exc_info[1]
    assert isinstance(error, TimeoutError)
    assert str(error) == "run 1 of timer 'slow' took longer than 3 s; make it faster or allow more"


def test_8_a_run_timeout_respects_an_anyio_shield() -> None:
    """The shielded section ends; what comes after it is cancelled."""

    async def scenario(bubble: Bubble) -> None:
        passed = []

        async def body() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
                passed.append("shielded")
            await anyio.sleep(5)
            passed.append("after")

        timer = fixed_rate(body, 100, run_timeout=3)
        await run_for(timer, 50)
        assert passed == ["shielded"]
        assert timer.statistics().timed_out == 1

    run_virtual(scenario)


def test_8_a_body_that_swallows_its_timeout_has_failed() -> None:
    """It was late, and hooks are told so; the next run is not cancelled in its place."""

    async def scenario(bubble: Bubble) -> None:
        recorder = Recorder()

        async def body() -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(1)

        timer = fixed_rate(body, 10, run_timeout=3, max_runs=2, hooks=[recorder])
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert (timer.statistics().finished, timer.statistics().timed_out) == (0, 2)
        outcomes = [seen for seen in recorder.seen if seen.status is not None]
        assert [outcome.status for outcome in outcomes] == [TaskStatus.FAILED] * 2
        assert [type(outcome.error) for outcome in outcomes] == [TimeoutExpired] * 2

    run_virtual(scenario)


@pytest.mark.parametrize(("swallowed", "ends", "complaints"), [(1, 8, 0), (2, 20, 1)])
def test_8_a_body_that_swallows_its_timeout_is_cancelled_once_more(
    caplog: pytest.LogCaptureFixture, swallowed: int, ends: float, complaints: int
) -> None:
    """As everything that is stopped; what ignores both is named, goes on, and no other run begins beside it."""

    async def scenario(bubble: Bubble) -> None:
        loop = asyncio.get_running_loop()
        began: list[float] = []
        ended: list[float] = []

        async def body() -> None:
            began.append(loop.time())
            for _ in range(swallowed if len(began) == 1 else 0):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(100)
            try:
                await asyncio.sleep(began[-1] + 20 - loop.time())
            finally:
                ended.append(loop.time())

        timer = fixed_rate(body, 30, run_timeout=3, max_runs=2, name="deaf")
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert (began, ended) == ([0, 30], [ends, 33])
        statistics = timer.statistics()
        assert (statistics.timed_out, statistics.finished) == (2, 0)

    run_virtual(scenario)
    assert caplog.messages.count("run ignores its run_timeout") == complaints
    for record in caplog.records:
        if record.message == "run ignores its run_timeout":
            assert record.owner == "deaf"  # type: ignore[attr-defined]
            assert any(place.endswith(".body") for place in record.stack)  # type: ignore[attr-defined]


def test_8_statistics_say_what_happened_and_what_is_next() -> None:
    """Counters over all starts, the next instant, and what the timer is doing."""

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(Journal(bubble, 0, 4, 0), 10, name="t")
        assert timer.statistics().state == "idle"
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(5)
            assert (timer.statistics().state, timer.statistics().next_due) == ("waiting", 10)
            await asyncio.sleep(7)
            assert (timer.statistics().state, timer.statistics().next_due) == ("running", None)
            await asyncio.sleep(3)
            timer.pause()
            assert timer.statistics().state == "paused"
            timer.resume()
            statistics = timer.statistics()
            assert (statistics.runs, statistics.last_due, statistics.last_duration) == (2, 10, 4)
            bubble.clock.now += 6  # the loop was blocked
            await asyncio.sleep(0.1)
            assert timer.statistics().last_lateness == 1
        assert timer.statistics().state == "idle"
        assert repr(timer) == "timer 't' (every 10 s)"

    run_virtual(scenario)
