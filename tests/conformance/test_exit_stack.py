"""What the standard library promises of ``contextlib.AsyncExitStack``, on that and on ``Scope``.

One difference is meant: where several releases fail, a chain of contexts says so on the one, a group of errors on the
other.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from lifecycle import Scope

from ..loops import some_turns
from .loops import Run


@pytest.fixture(params=[Scope, contextlib.AsyncExitStack], ids=lambda stack: stack.__name__)
def stack_class(request: pytest.FixtureRequest) -> Any:
    """The class under test."""
    return request.param


def all_errors(error: BaseException) -> set[type]:
    """Return the types of all errors that arrived, in a group or in a chain; a cancellation is none."""
    if isinstance(error, BaseExceptionGroup):
        return set().union(*(all_errors(inner) for inner in error.exceptions))
    chain = [error]
    while chain[-1].__context__ is not None and not isinstance(chain[-1].__context__, BaseExceptionGroup):
        chain.append(chain[-1].__context__)
    return {type(found) for found in chain if not isinstance(found, asyncio.CancelledError)}


class Noted:
    """A context manager of both kinds that notes what happens to it."""

    def __init__(
        self, log: list[str], name: str, *, suppress: bool = False, fail: BaseException | None = None, slow: float = 0.0
    ) -> None:
        self._log = log
        self._name = name
        self._suppress = suppress
        self._fail = fail
        self._slow = slow

    def _leave(self, error: BaseException | None) -> bool:
        self._log.append(f"-{self._name}" + (f" {type(error).__name__}" if error is not None else ""))
        if self._fail is not None:
            raise self._fail
        return self._suppress

    def __enter__(self) -> str:
        self._log.append(f"+{self._name}")
        return self._name

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        assert kind is (None if error is None else type(error))
        return self._leave(error)

    async def __aenter__(self) -> str:
        await asyncio.sleep(0)
        return self.__enter__()

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        await asyncio.sleep(self._slow)
        assert kind is (None if error is None else type(error))
        return self._leave(error)


# Order and kinds


def test_everything_is_left_newest_first(run: Run, stack_class: Any) -> None:
    """Context managers, exits and callbacks of both kinds in one order; values and functions come back."""
    log: list[str] = []

    async def call(name: str, *, end: str = "") -> None:
        await asyncio.sleep(0)
        log.append(name + end)

    async def main() -> None:
        async with stack_class() as stack:
            assert await stack.enter_async_context(Noted(log, "a")) == "a"
            assert stack.enter_context(Noted(log, "b")) == "b"
            assert stack.callback(log.append, "callback") == log.append
            assert stack.push_async_callback(call, "async", end="!") is call
            manager = Noted(log, "c")
            assert stack.push(manager) is manager
            assert stack.push_async_exit(manager) is manager
            log.append("body")

    run(main)
    assert log == ["+a", "+b", "body", "-c", "-c", "async!", "callback", "-b", "-a"]


def test_decorators_register(run: Run, stack_class: Any) -> None:
    """``callback`` and ``push_async_callback`` leave the function as it is."""
    log: list[str] = []

    async def main() -> None:
        async with stack_class() as stack:

            @stack.push_async_callback
            async def last() -> None:
                log.append("last")

            @stack.callback
            def first() -> None:
                log.append("first")

            first()

    run(main)
    assert log == ["first", "first", "last"]


def test_arguments_reach_the_callbacks(run: Run, stack_class: Any) -> None:
    """Also keywords that are called like parameters of the method."""
    calls: list[Any] = []

    def note(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))

    async def note_later(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))

    async def main() -> None:
        async with stack_class() as stack:
            for register, function in ((stack.callback, note), (stack.push_async_callback, note_later)):
                register(function, 1, 2, self=3, callback=4, fn=5)
                register(function)
                with pytest.raises(TypeError):
                    register(arg=1)

    run(main)
    assert calls == [((), {}), ((1, 2), {"self": 3, "callback": 4, "fn": 5})] * 2


def test_a_thing_that_is_no_context_manager_is_refused(run: Run, stack_class: Any) -> None:
    """Methods of the instance do not count, and a half is not enough."""

    class Half:
        async def __aexit__(self, *_: object) -> None: ...

    class Instance:
        def __init__(self) -> None:
            self.__enter__ = self.__exit__ = self.__aenter__ = self.__aexit__ = object()

    async def main() -> None:
        async with stack_class() as stack:
            for thing in (object(), Half(), Instance()):
                with pytest.raises(TypeError, match="asynchronous context manager"):
                    await stack.enter_async_context(thing)
                with pytest.raises(TypeError, match="context manager"):
                    stack.enter_context(thing)

    run(main)


def test_ten_thousand_callbacks(run: Run, stack_class: Any) -> None:
    """Depth is no matter."""
    calls: list[int] = []

    async def main() -> None:
        async with stack_class() as stack:
            for number in range(10_000):
                stack.callback(calls.append, number)

    run(main)
    assert calls == list(range(9_999, -1, -1))


# Handing over and closing


def test_pop_all_hands_everything_over(run: Run, stack_class: Any) -> None:
    """The old one leaves nothing; the new one leaves all, when it is closed."""
    log: list[str] = []

    async def main() -> None:
        async with stack_class() as stack:
            await stack.enter_async_context(Noted(log, "a"))
            stack.callback(log.append, "callback")
            heir = stack.pop_all()
        assert log == ["+a"]
        await heir.aclose()
        await heir.aclose()

    run(main)
    assert log == ["+a", "callback", "-a"]


def test_all_or_nothing(run: Run, stack_class: Any) -> None:
    """The documentation's recipe: what was opened is closed if a later one fails, and handed over otherwise."""
    log: list[str] = []

    async def open_all(*managers: Noted) -> Any:
        async with stack_class() as stack:
            for manager in managers:
                await stack.enter_async_context(manager)
            if len(managers) == 1:
                raise OSError("one is not enough")
            return stack.pop_all()

    async def main() -> None:
        with pytest.raises(OSError, match="not enough"):
            await open_all(Noted(log, "a"))
        assert log == ["+a", "-a OSError"]
        log.clear()
        async with await open_all(Noted(log, "a"), Noted(log, "b")):
            log.append("body")

    run(main)
    assert log == ["+a", "+b", "body", "-b", "-a"]


def test_aclose_in_the_body(run: Run, stack_class: Any) -> None:
    """It leaves everything at once, and the end of the block nothing more."""
    log: list[str] = []

    async def main() -> None:
        async with stack_class() as stack:
            stack.callback(log.append, "callback")
            await stack.aclose()
            log.append("body")

    run(main)
    assert log == ["callback", "body"]


# Errors


def test_an_error_of_the_body_is_seen_by_exits_and_goes_on(run: Run, stack_class: Any) -> None:
    """As it is: neither wrapped nor copied."""
    log: list[str] = []
    error = ZeroDivisionError()

    async def main() -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            async with stack_class() as stack:
                stack.enter_context(Noted(log, "a"))
                await stack.enter_async_context(Noted(log, "b"))
                raise error
        assert caught.value is error
        assert error.__context__ is None

    run(main)
    assert log[2:] == ["-b ZeroDivisionError", "-a ZeroDivisionError"]


def test_an_error_can_be_suppressed(run: Run, stack_class: Any) -> None:
    """By an exit of either kind; older ones see nothing of it, and the block ends normally."""
    log: list[str] = []

    async def main() -> None:
        for suppressing in (True, False):
            async with stack_class() as stack:
                stack.enter_context(Noted(log, "old"))
                if suppressing:
                    stack.enter_context(Noted(log, "s", suppress=True))
                else:
                    await stack.enter_async_context(Noted(log, "s", suppress=True))
                stack.enter_context(Noted(log, "new"))
                raise ZeroDivisionError

    run(main)
    leaving = ["-new ZeroDivisionError", "-s ZeroDivisionError", "-old"]
    assert [entry for entry in log if entry.startswith("-")] == leaving * 2


def test_functions_can_be_exits(run: Run, stack_class: Any) -> None:
    """With the three details, and with a verdict."""
    seen: list[Any] = []

    async def main() -> None:
        async def suppress(kind: Any, error: Any, traceback: Any) -> bool:
            seen.append((kind, error.args, traceback is not None))
            return True

        def expect_nothing(*details: Any) -> None:
            seen.append(details)

        async with stack_class() as stack:
            stack.push(expect_nothing)
            stack.push_async_exit(suppress)
            raise ZeroDivisionError("x")

    run(main)
    assert seen == [(ZeroDivisionError, ("x",), True), (None, None, None)]


def test_the_error_of_a_release_is_raised_as_it_is(run: Run, stack_class: Any) -> None:
    """Everything else is released nevertheless."""
    log: list[str] = []
    error = KeyError("release")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> None:
        with pytest.raises(KeyError) as caught:
            async with stack_class() as stack:
                stack.callback(log.append, "old")
                stack.push_async_callback(fail)
                stack.callback(log.append, "new")
        assert caught.value is error

    run(main)
    assert log == ["new", "old"]


def test_all_errors_arrive(run: Run, stack_class: Any) -> None:
    """Of the body and of each release; as a chain or as a group."""

    async def fail(error: BaseException) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(BaseException) as caught:
            async with stack_class() as stack:
                stack.push_async_callback(fail, KeyError())
                stack.push_async_callback(fail, IndexError())
                stack.callback(next, iter(()))
                raise ZeroDivisionError
        assert all_errors(caught.value) == {KeyError, IndexError, StopIteration, ZeroDivisionError}

    run(main)


def test_errors_before_a_suppression_are_gone(run: Run, stack_class: Any) -> None:
    """Those after it are not."""
    late = [KeyError(), AttributeError()]

    async def fail(error: BaseException) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(BaseException) as caught:
            async with stack_class() as stack:
                for error in late:
                    stack.push_async_callback(fail, error)
                stack.push_async_exit(Noted([], "s", suppress=True))
                stack.push_async_callback(fail, ValueError())
                raise ZeroDivisionError
        if isinstance(caught.value, BaseExceptionGroup):
            assert caught.value.exceptions == tuple(reversed(late))
        else:
            assert all_errors(caught.value) == {KeyError, AttributeError}

    run(main)


def test_a_suppressed_release_error_ends_the_block_normally(run: Run, stack_class: Any) -> None:
    """Suppression is not only for the body."""

    async def main() -> None:
        async with stack_class() as stack:
            stack.push(lambda *_: True)
            stack.push(lambda *_: 1 // 0)
            stack.push(lambda *_: {}[1])

    run(main)


def test_a_context_manager_may_replace_the_error(run: Run, stack_class: Any) -> None:
    """One that raises ``from`` the error that it was given stands for both."""

    @contextlib.asynccontextmanager
    async def translating() -> AsyncIterator[None]:
        try:
            yield
        except LookupError as error:
            raise OSError("translated") from error

    @contextlib.contextmanager
    def passing_on() -> Iterator[None]:
        try:
            yield
        except LookupError as error:
            raise error

    async def main() -> None:
        error = KeyError("original")
        with pytest.raises(OSError, match="translated") as caught:
            async with stack_class() as stack:
                await stack.enter_async_context(translating())
                stack.enter_context(passing_on())
                raise error
        assert caught.value.__cause__ is error
        assert error.__context__ is None

    run(main)


def test_a_request_to_exit_travels_bare(run: Run, stack_class: Any) -> None:
    """From the body, and from a release."""
    log: list[str] = []

    async def leave() -> None:
        raise SystemExit(3)

    async def main() -> None:
        with pytest.raises(SystemExit):
            async with stack_class() as stack:
                stack.callback(log.append, "released")
                raise SystemExit
        with pytest.raises(SystemExit):
            async with stack_class() as stack:
                stack.callback(log.append, "released")
                stack.push(lambda *_: (_ for _ in ()).throw(SystemExit()))
                raise ValueError

    run(main)
    assert log == ["released", "released"]


# Cancellation and timeouts


def test_a_cancelled_body_releases_everything_and_stays_cancelled(run: Run, stack_class: Any) -> None:
    """Exits see the cancellation."""
    log: list[str] = []

    async def main() -> None:
        async def host() -> None:
            async with stack_class() as stack:
                await stack.enter_async_context(Noted(log, "a"))
                stack.callback(log.append, "callback")
                await asyncio.sleep(10)

        task = asyncio.create_task(host())
        await some_turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main)
    assert log == ["+a", "callback", "-a CancelledError"]


def test_errors_go_before_a_cancellation(run: Run, stack_class: Any) -> None:
    """A release that fails while the body is cancelled is what goes on."""

    async def main() -> None:
        async def host() -> None:
            async with stack_class() as stack:
                stack.enter_context(Noted([], "a", fail=ValueError("release")))
                await asyncio.sleep(10)

        task = asyncio.create_task(host())
        await some_turns()
        task.cancel()
        with pytest.raises(ValueError, match="release"):
            await task

    run(main)


def test_a_cancellation_can_be_suppressed(run: Run, stack_class: Any) -> None:
    """By an exit that says so, as ``asyncio.timeout`` does with its own."""
    log: list[str] = []

    async def main() -> None:
        async def host() -> str:
            async with stack_class() as stack:
                await stack.enter_async_context(Noted(log, "s", suppress=True))
                await asyncio.sleep(10)
            return "went on"

        task = asyncio.create_task(host())
        await some_turns()
        task.cancel()
        assert await task == "went on"

    run(main)
    assert log == ["+s", "-s CancelledError"]


def test_a_timeout_can_be_entered(run: Run, stack_class: Any) -> None:
    """``asyncio.timeout`` in a stack limits the rest of the body."""
    log: list[str] = []

    async def main() -> int:
        with pytest.raises(TimeoutError):
            async with stack_class() as stack:
                stack.callback(log.append, "old")
                await stack.enter_async_context(asyncio.timeout(0.1))
                await stack.enter_async_context(Noted(log, "new"))
                await asyncio.sleep(10)
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()  # type: ignore[union-attr]

    assert run(main) == 0
    assert log == ["+new", "-new CancelledError", "old"]


def test_a_timeout_around_it(run: Run, stack_class: Any) -> None:
    """The body is cancelled, everything is released, then TimeoutError."""
    log: list[str] = []

    async def main() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), stack_class() as stack:
                await stack.enter_async_context(Noted(log, "a"))
                await asyncio.sleep(10)
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()  # type: ignore[union-attr]

    assert run(main) == 0
    assert log == ["+a", "-a CancelledError"]


def test_a_task_group_can_be_entered(run: Run, stack_class: Any) -> None:
    """``asyncio.TaskGroup`` and anyio's, with a task that fails: the body is interrupted, the rest released."""
    log: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0.001)
        raise ValueError

    async def main() -> int:
        for group_class in (asyncio.TaskGroup, anyio.create_task_group):
            with pytest.raises(ExceptionGroup) as caught:
                async with stack_class() as stack:
                    stack.callback(log.append, "old")
                    group = await stack.enter_async_context(group_class())
                    stack.callback(log.append, "new")
                    if isinstance(group, asyncio.TaskGroup):
                        group.create_task(fail())
                    else:
                        group.start_soon(fail)
                    await asyncio.sleep(10)
            assert all_errors(caught.value) == {ValueError}
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()  # type: ignore[union-attr]

    assert run(main) == 0
    assert log == ["new", "old"] * 2


def test_an_anyio_scope_can_be_entered(run: Run, stack_class: Any) -> None:
    """Cancelled inside, it ends the body and suppresses its own cancellation; what is older sees a normal end."""
    log: list[str] = []

    async def main() -> str:
        async with stack_class() as stack:
            stack.enter_context(Noted(log, "old"))
            scope = stack.enter_context(anyio.CancelScope())
            await stack.enter_async_context(Noted(log, "new"))
            scope.cancel()
            await asyncio.sleep(10)
            pytest.fail("went on in a cancelled scope")
        await asyncio.sleep(0)
        return "after"

    assert run(main) == "after"
    assert log[:2] == ["+old", "+new"]
    assert log[-1] == "-old"


def test_a_cancellation_while_it_is_left_loses_no_release(run: Run, stack_class: Any) -> None:
    """Whatever comes after the release that it meets is released too, and the cancellation goes on."""
    log: list[str] = []

    async def main() -> None:
        async def host() -> None:
            async with stack_class() as stack:
                stack.callback(log.append, "oldest")
                await stack.enter_async_context(Noted(log, "a"))
                await stack.enter_async_context(Noted(log, "slow", slow=0.01))
                log.append("body")

        task = asyncio.create_task(host())
        while "body" not in log:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert log[-1] == "oldest"
    assert "-a" in {entry.partition(" ")[0] for entry in log}
