"""Context managers in a scope: entered, held, failing, suppressing, and the manners of an exit stack."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from lifecycle import LifecycleError, OwnerClosed, ReleaseTimeout, Scope
from lifecycle.testing import Bubble

from ..loops import virtual
from .things import NoteClosing, Transaction, fail_after, noted


@pytest.mark.parametrize("method", ["enter", "enter_async_context"])
def test_a_context_manager_sees_the_error_of_the_body(method: str) -> None:
    """Also one that a task of its own holds: transactions depend on it."""

    @virtual
    async def check(bubble: Bubble) -> None:
        log: list[str] = []
        with pytest.raises(ValueError, match="body"):
            async with Scope() as scope:
                await getattr(scope, method)(Transaction(log))
                raise ValueError("body")
        async with Scope() as scope:
            await getattr(scope, method)(Transaction(log))
        assert log == ["roll back for ValueError", "commit"]

    check()


@pytest.mark.parametrize("method", ["enter", "enter_async_context"])
def test_a_context_manager_may_suppress_or_replace_the_error(method: str) -> None:
    """As in a with statement; replacing is raising *from* the error that was given."""

    @contextlib.asynccontextmanager
    async def suppresses() -> AsyncIterator[None]:
        with contextlib.suppress(ValueError):
            yield

    @contextlib.asynccontextmanager
    async def replaces() -> AsyncIterator[None]:
        try:
            yield
        except ValueError as error:
            raise KeyError("replaced") from error

    @contextlib.asynccontextmanager
    async def fails_itself() -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise OSError("while leaving")

    @virtual
    async def check(bubble: Bubble) -> None:
        async with Scope() as scope:
            await getattr(scope, method)(suppresses())
            raise ValueError("body")
        with pytest.raises(KeyError, match="replaced"):
            async with Scope() as scope:
                await getattr(scope, method)(replaces())
                raise ValueError("body")
        with pytest.raises(ExceptionGroup) as info:
            async with Scope() as scope:
                await getattr(scope, method)(fails_itself())
                raise ValueError("body")
        assert [type(error) for error in info.value.exceptions] == [ValueError, OSError]

    check()


@virtual
async def test_a_context_manager_with_a_task_group_may_be_left_from_any_task(bubble: Bubble) -> None:
    """The task that holds it enters and leaves its scopes."""

    @contextlib.asynccontextmanager
    async def service(log: list[str]) -> AsyncIterator[str]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(noted, log, "worker ended")
            yield "service"
            tasks.cancel_scope.cancel()

    log: list[str] = []
    scope = Scope()
    assert await scope.enter(service(log)) == "service"
    await asyncio.sleep(1)
    await asyncio.create_task(scope.aclose())
    assert log == ["worker ended"]


@virtual
async def test_a_held_context_manager_that_fails_interrupts_the_body(bubble: Bubble) -> None:
    """A task group inside it crashed: the body stands on nothing."""

    @contextlib.asynccontextmanager
    async def service() -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_after, 1, KeyError("inside"))
            yield

    with pytest.raises(ExceptionGroup) as info:
        async with Scope() as scope:
            await scope.enter(service())
            await asyncio.sleep(60)
    assert info.group_contains(KeyError, match="inside")
    assert bubble.clock.time() < 2


@virtual
async def test_a_held_context_manager_that_ends_quietly_is_named(bubble: Bubble) -> None:
    """What was held is gone, and no error said why."""

    @contextlib.asynccontextmanager
    async def leaves() -> AsyncIterator[None]:
        with anyio.move_on_after(1):
            yield

    with pytest.raises(
        LifecycleError, match=r"'_AsyncGeneratorContextManager' ended while scope 'scope' still held it"
    ):
        async with Scope() as scope:
            await scope.enter(leaves())
            await asyncio.sleep(60)


@virtual
async def test_entering_that_fails_leaves_nothing(bubble: Bubble) -> None:
    """The error is raised to the caller, and the scope goes on."""

    @contextlib.asynccontextmanager
    async def fails() -> AsyncIterator[None]:
        raise OSError("refused")
        yield

    async with Scope() as scope:
        for method in (scope.enter, scope.enter_async_context):
            with pytest.raises(OSError, match="refused"):
                await method(fails())
        assert scope.statistics().live == 0


@virtual
async def test_entering_under_a_deadline_undoes_what_was_entered_too_late(bubble: Bubble) -> None:
    """Cancelled in ``__aenter__``, or entered in spite of it: left at once, and never seen again."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def stubborn() -> AsyncIterator[None]:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(2)
        try:
            yield
        finally:
            log.append("left")

    async with Scope() as scope:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await scope.enter(stubborn())
        assert log == []
        await asyncio.sleep(2)
        assert log == ["left"]
        assert scope.statistics().live == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a task cannot run in another's context before 3.12")
def test_context_variables_that_a_context_manager_sets_reach_the_body() -> None:
    """As they do in a with statement, and the reset reaches it too."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    @contextlib.asynccontextmanager
    async def sets() -> AsyncIterator[None]:
        token = variable.set("set")
        yield
        variable.reset(token)

    async def main() -> None:
        async with Scope() as scope:
            await scope.enter(sets())
            assert variable.get() == "set"
        assert variable.get() == "unset"

    asyncio.run(main())


@virtual
async def test_the_manners_of_an_exit_stack(bubble: Bubble) -> None:
    """enter_context, push and callbacks, also as decorators, in reverse order; verdicts count."""
    log: list[str] = []

    @contextlib.contextmanager
    def entered(name: str) -> Iterator[str]:
        yield name
        log.append(name)

    async with Scope() as scope:
        assert scope.enter_context(entered("first")) == "first"

        @scope.callback
        def _() -> None:
            log.append("callback")

        @scope.push
        def swallow(kind: object, error: object, traceback: object) -> bool:
            log.append(f"saw {kind and kind.__name__}")  # type: ignore[attr-defined]
            return True

        @scope.push_async_exit
        async def look(kind: object, error: object, traceback: object) -> bool:
            log.append("looked")
            return False

        scope.push_async_callback(asyncio.sleep, 1)
        scope.push(entered("entered elsewhere").__enter__ and contextlib.closing(NoteClosing(log)))
        raise ValueError("swallowed")
    assert log == ["closed", "looked", "saw ValueError", "callback", "first"]


@virtual
async def test_a_callback_that_registers_another_has_it_called_next(bubble: Bubble) -> None:
    """It is refused, loudly, and yet not lost."""
    log: list[str] = []

    def registers(scope: Scope) -> None:
        with pytest.raises(OwnerClosed):
            scope.callback(log.append, "late one")
        log.append("registered")

    async with Scope() as scope:
        scope.callback(log.append, "oldest")
        scope.callback(registers, scope)
    assert log == ["registered", "late one", "oldest"]


@virtual
async def test_an_inline_exit_that_takes_too_long_is_cancelled_and_named(bubble: Bubble) -> None:
    """The weaker promise still has a deadline."""

    class Slow(Transaction):
        async def __aexit__(self, *details: object) -> None:
            await asyncio.sleep(100)

    with pytest.raises(ReleaseTimeout, match="Slow"):
        async with Scope(close_timeout=2) as scope:
            await scope.enter_async_context(Slow([]))
    assert bubble.clock.time() == pytest.approx(2)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)
