"""Retry for any call: as a decorator, by `call`, and as a loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from lifecycle import Retry, TimeoutExpired
from lifecycle.testing import Bubble
from lifecycle.types import RetryFailure

from ..loops import some_turns, virtual

AT_ONCE = Retry(attempts=4, backoff=(0.0, 0.0))


class Noted(OSError):
    """One that can be referred to weakly."""


def failure(call: int) -> BaseException:
    """Return what a call fails with."""
    return OSError(f"failure {call}")


class Flaky:
    """Fails so many times, and knows how often it was called."""

    def __init__(
        self, failures: int, error: Callable[[int], BaseException] = lambda n: OSError(f"failure {n}")
    ) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    async def __call__(self, *args: object, **kwargs: object) -> tuple[object, ...]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls <= self.failures:
            raise self.error(self.calls)
        return (*args, *kwargs.items())


async def by_call(retry: Retry, fn: Callable[[], Awaitable[Any]]) -> Any:
    """Make the call by `Retry.call`."""
    return await retry.call(fn)


async def by_decorator(retry: Retry, fn: Callable[[], Awaitable[Any]]) -> Any:
    """Make it by a decorated function."""

    @retry
    async def decorated() -> Any:
        return await fn()

    return await decorated()


async def by_loop(retry: Retry, fn: Callable[[], Awaitable[Any]]) -> Any:
    """Make it in a loop."""
    async for attempt in retry:
        async with attempt:
            return await fn()
    raise AssertionError


every_way = pytest.mark.parametrize("way", [by_call, by_decorator, by_loop])
Way = Callable[[Retry, Callable[[], Awaitable[Any]]], Awaitable[Any]]


@every_way
@virtual
async def test_what_fails_is_tried_again(bubble: Bubble, way: Way) -> None:
    """With pauses that grow, until it gives a value."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    flaky = Flaky(3)
    assert await way(Retry(attempts=4, backoff=(1.0, 3.0), jitter=0.0), flaky) == ()
    assert flaky.calls == 4
    assert loop.time() - began == pytest.approx(6.0)


@every_way
@virtual
async def test_the_last_error_is_raised_as_it_is(bubble: Bubble, way: Way) -> None:
    """The very object, with a note of those before it; and nothing keeps it."""
    errors: list[Noted] = []

    def make(n: int) -> Noted:
        errors.append(Noted(f"failure {n}"))
        return errors[-1]

    with pytest.raises(OSError, match="failure 4") as caught:
        await way(AT_ONCE, Flaky(9, make))
    assert caught.value is errors[3]
    assert caught.value.__notes__ == [
        "before that, attempt 1: Noted('failure 1'); attempt 2: Noted('failure 2'); attempt 3: Noted('failure 3')"
    ]
    first = weakref.ref(errors[0])
    errors.clear()
    assert first() is None


@every_way
@virtual
async def test_what_is_not_covered_is_raised_at_once(bubble: Bubble, way: Way) -> None:
    """Without a note: there is nothing before it."""
    flaky = Flaky(9, lambda n: ValueError("a defect"))
    with pytest.raises(ValueError, match="a defect") as caught:
        await way(AT_ONCE, flaky)
    assert flaky.calls == 1
    assert not hasattr(caught.value, "__notes__")


@every_way
@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
@virtual
async def test_some_errors_are_never_tried_again(bubble: Bubble, way: Way, error: type[BaseException]) -> None:
    """Whatever the predicate says."""
    flaky = Flaky(9, lambda n: error())
    with pytest.raises(error):
        await way(Retry(retry_on=lambda _: True), flaky)
    assert flaky.calls == 1


async def turns(error: Exception) -> None:
    """Make another error of a cancellation."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise error from None


@every_way
@virtual
async def test_what_an_attempt_makes_of_a_cancellation_is_not_tried_again(bubble: Bubble, way: Way) -> None:
    """Native, or by a scope of anyio."""
    calls: list[int] = []

    async def attempt() -> None:
        calls.append(1)
        await turns(OSError("connection lost"))

    task = asyncio.ensure_future(way(AT_ONCE, attempt))
    await some_turns()
    task.cancel()
    with pytest.raises(OSError, match="connection lost"):
        await task
    assert len(calls) == 1
    with pytest.raises(OSError, match="connection lost"):
        with anyio.move_on_after(1.0):
            await way(AT_ONCE, attempt)
    assert len(calls) == 2


@every_way
@pytest.mark.parametrize("where", ["attempt", "pause", "hook"])
@virtual
async def test_a_cancellation_ends_all_of_it(bubble: Bubble, way: Way, where: str) -> None:
    """In the attempt, in the pause, and in the hook; it is met once."""
    flaky = Flaky(9)

    async def hook(failure: RetryFailure) -> None:
        if where == "hook":
            await asyncio.sleep(3600)

    async def attempt() -> None:
        if where == "attempt":
            await asyncio.sleep(3600)
        await flaky()

    task = asyncio.ensure_future(way(Retry(backoff=(3600.0, 3600.0), on_failure=hook), attempt))
    await asyncio.sleep(1)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    assert task.cancelling() == 1
    assert flaky.calls == (0 if where == "attempt" else 1)


@every_way
@virtual
async def test_a_time_limit_of_the_attempt_itself_is_tried_again(bubble: Bubble, way: Way) -> None:
    """Of asyncio or of anyio: their cancellation is theirs, and taken back."""
    calls: list[int] = []

    async def attempt() -> str:
        calls.append(1)
        if len(calls) == 1:
            async with asyncio.timeout(1):
                await asyncio.sleep(3600)
        if len(calls) == 2:
            with anyio.fail_after(1):
                await asyncio.sleep(3600)
        return "done"

    assert await way(AT_ONCE, attempt) == "done"
    assert len(calls) == 3


@every_way
@virtual
async def test_each_attempt_has_its_time(bubble: Bubble, way: Way) -> None:
    """One that is cut off is tried again; the last one says how long it had."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutExpired, match=r"attempt 2 of .* took longer than 2 s") as caught:
        await way(Retry(attempts=2, attempt_timeout=2.0, backoff=(0.0, 0.0)), lambda: asyncio.sleep(3600))
    assert loop.time() - began == pytest.approx(4.0)
    assert len(caught.value.__notes__) == 1


@every_way
@virtual
async def test_the_time_for_everything_cuts_an_attempt_short(bubble: Bubble, way: Way) -> None:
    """The error says what failed before, and it is the cause."""
    loop = asyncio.get_running_loop()
    calls: list[int] = []

    async def attempt() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(f"failure {len(calls)}")
        await asyncio.sleep(3600)

    began = loop.time()
    with pytest.raises(TimeoutExpired, match="in attempt 3, took longer than 5 s") as caught:
        await way(Retry(timeout=5.0, backoff=(1.0, 1.0), jitter=0.0), attempt)
    assert loop.time() - began == pytest.approx(5.0)
    assert repr(caught.value.__cause__) == "OSError('failure 2')"
    assert "attempt 1: OSError('failure 1')" in caught.value.__notes__[0]


@every_way
@pytest.mark.parametrize("made", ["an error", "a value"])
@virtual
async def test_an_attempt_that_is_late_has_failed(bubble: Bubble, way: Way, made: str) -> None:
    """Whatever it makes of being cut off."""

    async def attempt() -> str:
        if made == "an error":
            await turns(ValueError("cut"))
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return "too late"

    with pytest.raises(TimeoutExpired) as caught:
        await way(Retry(timeout=1.0), attempt)
    assert isinstance(caught.value.__cause__, ValueError if made == "an error" else type(None))
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


@pytest.mark.parametrize("way", [by_call, by_decorator])
@virtual
async def test_a_value_that_comes_too_late_is_tried_again(bubble: Bubble, way: Way) -> None:
    """It is not the result: the hook was told that another attempt follows. (Nothing can stop a return in a loop.)"""
    told: list[float | None] = []
    calls: list[int] = []

    async def attempt() -> str:
        calls.append(1)
        if len(calls) == 2:
            return "in time"
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return "too late"

    def hook(failure: RetryFailure) -> None:
        told.append(failure.pause)

    retry = Retry(attempts=2, attempt_timeout=1.0, backoff=(0.0, 0.0), on_failure=hook)
    assert await way(retry, attempt) == "in time"
    assert told == [0.0]


@every_way
@virtual
async def test_no_pause_is_made_that_is_too_long(bubble: Bubble, way: Way) -> None:
    """The error of the attempt comes at once."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(OSError, match="failure 1"):
        await way(Retry(timeout=5.0, backoff=(100.0, 100.0)), Flaky(9))
    assert asyncio.get_running_loop().time() == began


@every_way
@virtual
async def test_the_hook_is_awaited_before_the_pause(bubble: Bubble, way: Way) -> None:
    """It is told of each failure, the last one included."""
    told: list[RetryFailure] = []

    async def hook(failure: RetryFailure) -> None:
        await asyncio.sleep(1)
        told.append(failure)

    with pytest.raises(OSError, match="failure 3"):
        await way(Retry(attempts=3, backoff=(1.0, 1.0), jitter=0.0, on_failure=hook), Flaky(9))
    assert [(failure.attempt, failure.pause, failure.elapsed) for failure in told] == [
        (1, 1.0, 0.0),
        (2, 1.0, pytest.approx(2.0)),
        (3, None, pytest.approx(4.0)),
    ]


def raises(error: BaseException) -> Callable[[Any], Any]:
    """Return a function that raises *error*."""

    def function(_: object) -> Any:
        raise error

    return function


@every_way
@pytest.mark.parametrize("where", ["retry_on", "on_failure"])
@virtual
async def test_an_error_of_a_decision_ends_the_retrying(bubble: Bubble, way: Way, where: str) -> None:
    """It is raised, and says what was being handled."""
    flaky = Flaky(9)
    decision: Any = {where: raises(ZeroDivisionError())}
    with pytest.raises(ZeroDivisionError) as caught:
        await way(Retry(**decision), flaky)
    assert isinstance(caught.value.__context__, OSError)
    assert flaky.calls == 1


@every_way
@virtual
async def test_a_hook_has_the_time_that_is_left(bubble: Bubble, way: Way) -> None:
    """One that hangs does not make the call hang."""

    async def hook(failure: RetryFailure) -> None:
        await asyncio.sleep(3600)

    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutExpired, match="on_failure of"):
        await way(Retry(timeout=2.0, on_failure=hook), Flaky(9))
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0)


@virtual
async def test_state_is_of_the_call(bubble: Bubble) -> None:
    """Calls that share one policy, at once and in turn, know nothing of each other."""

    @AT_ONCE
    async def fetch(flaky: Flaky) -> str:
        await flaky()
        return f"after {flaky.calls}"

    together = await asyncio.gather(*[fetch(Flaky(n)) for n in range(4)], fetch(Flaky(9)), return_exceptions=True)
    assert together[:4] == ["after 1", "after 2", "after 3", "after 4"]
    assert repr(together[4]) == "OSError('failure 4')"


class Client:
    """Something with methods."""

    def __init__(self) -> None:
        self.calls = 0

    @AT_ONCE
    async def fetch(self, path: str, *, size: int = 1) -> str:
        """Fetch something."""
        self.calls += 1
        if self.calls < 3:
            raise OSError
        return path * size

    @staticmethod
    @AT_ONCE
    async def parse(text: str) -> int:
        """Read a number."""
        return int(text)

    @classmethod
    @AT_ONCE
    async def make(cls) -> Client:
        """Make one."""
        return cls()


@virtual
async def test_methods_are_methods(bubble: Bubble) -> None:
    """And a decorated function is one as far as anybody can see."""
    client = await Client.make()
    assert await client.fetch("a", size=2) == "aa"
    assert client.calls == 3
    assert await Client.parse("7") == 7
    assert inspect.iscoroutinefunction(Client.fetch)
    assert inspect.isfunction(Client.fetch)
    assert (Client.fetch.__name__, Client.fetch.__doc__) == ("fetch", "Fetch something.")
    assert str(inspect.signature(Client.fetch)) == "(self, path: 'str', *, size: 'int' = 1) -> 'str'"


async def numbers() -> AsyncIterator[int]:
    """Yield a number."""
    yield 1


def letters() -> Iterator[str]:
    """Yield a letter."""
    yield "a"


class Yields:
    """Yields when it is called."""

    async def __call__(self) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (numbers, "numbers yields: what it has yielded cannot be taken back"),
        (letters, "letters yields"),
        (contextlib.asynccontextmanager(numbers), "numbers yields"),
        (functools.partial(numbers), "yields"),
        (Yields(), "yields"),
        (staticmethod(numbers), "below @staticmethod"),
        (classmethod(numbers), "below @classmethod"),
        (print, "async function"),
        (3, "async function"),
        (lambda: None, "async function"),
    ],
)
@virtual
async def test_what_cannot_be_called_again_is_refused(bubble: Bubble, function: Any, match: str) -> None:
    """When it is decorated, before any call."""
    with pytest.raises(TypeError, match=match):
        AT_ONCE(function)
    with pytest.raises(TypeError, match=match):
        await AT_ONCE.call(function)


@virtual
async def test_a_function_that_returns_what_can_be_awaited_is_one(bubble: Bubble) -> None:
    """A lambda, a partial, a callable object, a plain function that makes a coroutine."""
    flaky = Flaky(2)
    assert await AT_ONCE.call(lambda: flaky(1)) == (1,)
    assert await AT_ONCE.call(functools.partial(Flaky(2), 1), 2, key=3) == (1, 2, ("key", 3))
    assert await AT_ONCE(Flaky(2))(5) == (5,)
    with pytest.raises(TypeError, match="returned 3, and no coroutine"):
        await AT_ONCE.call(lambda: 3)  # type: ignore[arg-type,return-value]


@virtual
async def test_arguments_that_can_be_used_but_once_are_refused(bubble: Bubble) -> None:
    """A coroutine is closed, and nothing is called."""
    flaky = Flaky(0)
    for argument in (Flaky(0)(), letters(), numbers()):
        with pytest.raises(TypeError, match="can be used but once"):
            await AT_ONCE.call(flaky, argument)
        with pytest.raises(TypeError, match="can be used but once"):
            await AT_ONCE(flaky)(key=argument)
    assert flaky.calls == 0


@virtual
async def test_a_loop_knows_its_attempts(bubble: Bubble) -> None:
    """Their numbers, and what the one before has met; a block that ends well ends the loop."""
    seen: list[tuple[int, str]] = []
    async for attempt in AT_ONCE:
        async with attempt:
            seen.append((attempt.number, repr(attempt.error)))
            if attempt.number < 3:
                raise OSError(attempt.number)
    assert seen == [(1, "None"), (2, "OSError(1)"), (3, "OSError(2)")]


@virtual
async def test_an_attempt_that_is_not_made_is_an_error(bubble: Bubble) -> None:
    """A loop without its block would look like success; one attempt is made once."""
    with pytest.raises(RuntimeError, match=r"attempt 1 of .* was not made: write `async with attempt:`"):
        async for attempt in AT_ONCE:
            assert attempt.number == 1
    async for attempt in AT_ONCE:
        async with attempt:
            pass
        with pytest.raises(RuntimeError, match="has been made"):
            async with attempt:
                pass


@virtual
async def test_an_error_that_takes_no_notes_is_raised_all_the_same(bubble: Bubble) -> None:
    """And one that is raised again and again gets a bounded number."""

    class Frozen(OSError):
        def __setattr__(self, name: str, value: object) -> None:
            raise TypeError("frozen")

        def __repr__(self) -> str:
            raise TypeError("no words")

    with pytest.raises(Frozen):
        await AT_ONCE.call(Flaky(9, lambda n: Frozen()))
    shared = OSError("the same")
    for _ in range(50):
        with pytest.raises(OSError, match="the same"):
            await AT_ONCE.call(Flaky(9, lambda n: shared))
    assert len(shared.__notes__) == 8


def test_failures_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    """The first ten, then one in a second."""

    async def main() -> None:
        with pytest.raises(OSError, match="failure 500"):
            await Retry(attempts=500, backoff=(0.0, 0.0)).call(Flaky(999))

    with caplog.at_level(logging.WARNING, "lifecycle.retry"):
        asyncio.run(main())
    assert 10 <= len(caplog.records) < 100
    facts = vars(caplog.records[0])
    assert facts["message"] == "attempt failed, another one follows"
    assert (facts["attempt"], facts["pause"]) == (1, 0.0)
    assert "failure 1" in facts["error"]
