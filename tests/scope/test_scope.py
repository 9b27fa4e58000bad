"""Scope beyond its guarantees (see tests/guarantees): bodies, children, context managers, hand-overs, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from lifecycle import LifecycleError, OwnerClosed, ReleaseTimeout, Scope, TaskManager, TimeoutExpired
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual


async def fail_after(seconds: float, error: BaseException) -> None:
    await asyncio.sleep(seconds)
    raise error


async def noted(log: list[str], name: str, seconds: float = 3600) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        log.append(name)


# The body


@virtual
async def test_a_failing_task_interrupts_the_body_and_its_error_is_raised_as_it_is(bubble: Bubble) -> None:
    """The body ends at once, all is unwound, and no cancellation stays behind."""
    log: list[str] = []
    with pytest.raises(KeyError, match="planned"):
        async with Scope() as scope:
            scope.callback(log.append, "released")
            scope.start_soon(fail_after, 1, KeyError("planned"))
            await noted(log, "body ended")
    assert log == ["body ended", "released"]
    assert bubble.clock.time() == pytest.approx(1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)


@virtual
async def test_the_bodys_own_error_joins_that_of_the_task(bubble: Bubble) -> None:
    """Both are in the group."""
    with pytest.raises(ExceptionGroup) as info:
        async with Scope() as scope:
            scope.start_soon(fail_after, 1, KeyError("task"))
            try:
                await asyncio.sleep(10)
            finally:
                raise ValueError("body")
    assert {type(error) for error in info.value.exceptions} == {KeyError, ValueError}


@virtual
async def test_cancel_ends_the_block_without_an_error(bubble: Bubble) -> None:
    """As a cancel scope does; later cancels change nothing."""
    async with Scope() as scope:
        asyncio.get_running_loop().call_later(1, scope.cancel, "enough")
        await asyncio.sleep(60)
    assert bubble.clock.time() == pytest.approx(1)
    scope.cancel("again")
    assert scope.closed


@virtual
async def test_cancel_by_the_body_itself_takes_effect_at_its_next_wait(bubble: Bubble) -> None:
    """The body goes on until it waits; a body that does not wait ends well."""
    async with Scope() as scope:
        scope.cancel()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual
async def test_an_interruption_waits_for_a_shielded_section_of_the_body(bubble: Bubble) -> None:
    """The shield is respected, and a body that ends in it is not hit afterwards."""
    async with Scope() as scope:
        asyncio.get_running_loop().call_later(1, scope.cancel)
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(10)
    await asyncio.sleep(1)
    assert bubble.clock.time() == pytest.approx(11)


@virtual
async def test_an_outer_cancellation_that_comes_with_an_interruption_is_not_swallowed(bubble: Bubble) -> None:
    """The interruption is ours, the cancellation somebody else's."""
    reached = []

    async def body() -> None:
        async with Scope() as scope:
            scope.cancel("ours")
            task = asyncio.current_task()
            assert task is not None
            task.cancel("theirs")
            await asyncio.sleep(10)
        reached.append("after the block")

    task = asyncio.create_task(body())
    await asyncio.wait([task])
    assert task.cancelled()
    assert not reached


@virtual
async def test_timeouts_around_and_inside_a_scope_fire_where_they_stand(bubble: Bubble) -> None:
    """A body that is interrupted inside a timeout does not make it fire, and the other way round."""
    async with asyncio.timeout(100), Scope() as scope:
        scope.start_soon(noted, [], "x")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        asyncio.get_running_loop().call_later(1, scope.cancel)
        await asyncio.sleep(10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), Scope():
            await asyncio.sleep(10)


@virtual
async def test_a_scope_is_entered_once(bubble: Bubble) -> None:
    """Twice is a mistake; after the end it is refused as everything else is."""
    async with Scope("s") as scope:
        with pytest.raises(RuntimeError, match="entered before"):
            await scope.__aenter__()
    with pytest.raises(OwnerClosed, match="it is closed"):
        await scope.__aenter__()


# Without a body


@virtual
async def test_a_failing_task_closes_a_scope_that_has_no_body(bubble: Bubble) -> None:
    """Everything is unwound at once; aclose raises the error, once."""
    log: list[str] = []
    scope = Scope()
    scope.callback(log.append, "released")
    scope.start_soon(fail_after, 1, KeyError("planned"))
    await asyncio.sleep(2)
    assert log == ["released"]
    assert scope.closed
    with pytest.raises(KeyError, match="planned"):
        await scope.aclose()
    await scope.aclose()


@virtual
async def test_cancel_closes_a_scope_that_has_no_body(bubble: Bubble) -> None:
    """In the background; a later aclose waits for it."""
    log: list[str] = []
    scope = Scope()
    scope.start_soon(noted, log, "task")
    await asyncio.sleep(0)
    scope.cancel()
    await scope.aclose()
    assert log == ["task"]


@virtual
async def test_a_body_may_close_its_own_scope(bubble: Bubble) -> None:
    """What it owned is gone when aclose returns; the rest of the body is refused."""
    log: list[str] = []
    async with Scope() as scope:
        scope.start_soon(noted, log, "task")
        await asyncio.sleep(0)
        await scope.aclose()
        assert log == ["task"]
        with pytest.raises(OwnerClosed):
            scope.start_soon(noted, log, "late")


def test_a_forgotten_close_is_a_warning() -> None:
    """The warning names the scope."""
    scope = Scope("forgotten")
    scope.callback(str)
    with pytest.warns(ResourceWarning, match="scope 'forgotten' was dropped"):
        del scope
        gc.collect()


# Children


@virtual
async def test_an_error_of_a_child_without_a_body_reaches_the_parent(bubble: Bubble) -> None:
    """The child is unwound, then the parent's body is interrupted and the error raised there."""
    log: list[str] = []
    with pytest.raises(KeyError, match="planned"):
        async with Scope("parent") as parent:
            parent.callback(log.append, "parent released")
            child = parent.child()
            child.callback(log.append, "child released")
            child.start_soon(fail_after, 1, KeyError("planned"))
            await asyncio.sleep(60)
    assert log == ["child released", "parent released"]


@virtual
async def test_a_child_with_a_body_raises_its_errors_itself(bubble: Bubble) -> None:
    """The parent goes on."""
    async with Scope("parent") as parent:
        with pytest.raises(KeyError):
            async with parent.child("inner") as child:
                child.start_soon(fail_after, 1, KeyError("planned"))
                await asyncio.sleep(60)
        await asyncio.sleep(1)
        assert parent.statistics().live == 0


@virtual
async def test_a_closing_parent_ends_the_body_of_a_child_first(bubble: Bubble) -> None:
    """The child's body runs in some other task, which loses nothing under its hands."""
    log: list[str] = []

    async def serve(parent: Scope) -> None:
        async with parent.child("request") as request:
            request.callback(log.append, "request released")
            await noted(log, "request body ended")

    async with Scope("parent") as parent:
        parent.callback(log.append, "parent released")
        parent.start_soon(serve, parent)
        await asyncio.sleep(1)
    assert log == ["request body ended", "request released", "parent released"]


@virtual
async def test_an_idle_child_leaves_its_parent_when_it_is_closed(bubble: Bubble) -> None:
    """An owner that lives for ten years holds only what is alive."""
    async with Scope() as parent:
        for _ in range(100):
            await parent.child().aclose()
        assert parent.statistics().live == 0
        assert parent.statistics().opened == 100


# Context managers


class Transaction:
    """Commits or rolls back, as the error says."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def __aenter__(self) -> Transaction:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *details: object) -> None:
        await asyncio.sleep(0.1)
        self.log.append("commit" if kind is None else f"roll back for {kind.__name__}")


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
    """What was held is gone, and nobody said why."""

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


class NoteClosing:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def close(self) -> None:
        self.log.append("closed")


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


# Acquiring


class Connection:
    """Something with a close of its own."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def aclose(self) -> None:
        self.log.append("aclose")


@virtual
async def test_a_value_is_released_by_its_own_close_unless_told_otherwise(bubble: Bubble) -> None:
    """aclose, then close; a value with neither is an error that says what to do."""
    log: list[str] = []
    async with Scope() as scope:
        await scope.acquire(Connection, log)
        await scope.acquire(NoteClosing, log)
        await scope.acquire(Connection, log, release=lambda connection: connection.log.append("told"))
        with pytest.raises(TypeError, match="neither aclose"):
            await scope.acquire(object)
    assert log == ["told", "closed", "aclose"]


@virtual
async def test_a_resource_is_owned_after_those_that_its_factory_acquired(bubble: Bubble) -> None:
    """A pool is released before the engine that its factory acquired from the same scope."""
    log: list[str] = []

    async def engine() -> str:
        await asyncio.sleep(1)
        return "engine"

    async def pool(scope: Scope) -> str:
        await scope.acquire(engine, release=log.append)
        return "pool"

    async with Scope() as scope:
        await scope.acquire(pool, scope, release=log.append)
    assert log == ["pool", "engine"]


@virtual
async def test_a_factory_that_takes_too_long_is_cancelled_before_the_timeout_is_raised(bubble: Bubble) -> None:
    """Its clean-up is over when the caller goes on."""
    log: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            log.append("cleaned up")

    async with Scope() as scope:
        with pytest.raises(TimeoutExpired, match="'slow' took longer than 2 s") as caught:
            await scope.acquire(slow, release=log.append, name="slow", timeout=2)
        assert isinstance(caught.value, LifecycleError)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.what, caught.value.timeout) == ("acquisition of 'slow'", 2)
        assert log == ["cleaned up"]
        assert scope.statistics().live == 0


@virtual
async def test_a_scope_that_closes_meanwhile_refuses_what_is_being_made(bubble: Bubble) -> None:
    """The caller gets OwnerClosed, not a cancellation: nobody cancelled it."""
    scope = Scope()

    async def slow() -> None:
        await asyncio.sleep(100)

    asyncio.get_running_loop().call_later(1, scope.cancel)
    with pytest.raises(OwnerClosed, match="closed meanwhile"):
        await scope.acquire(slow, release=print)
    await scope.aclose()


# Starting


@virtual
async def test_start_returns_what_the_task_reports(bubble: Bubble) -> None:
    """And the task goes on until its place in the ledger."""

    async def server(port: int, *, task_status: anyio.abc.TaskStatus[int]) -> None:
        await asyncio.sleep(1)
        task_status.started(port)
        await asyncio.sleep(3600)

    async def never(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        await asyncio.sleep(1)

    async def broken(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        raise OSError("address in use")

    async with Scope() as scope:
        assert await scope.start(server, 80) == 80
        with pytest.raises(OSError, match="address in use"):
            await scope.start(broken)
        with pytest.raises(RuntimeError, match="without calling task_status"):
            await scope.start(never)
        assert scope.statistics().tasks == 1


@virtual
async def test_a_start_that_is_cancelled_takes_its_task_along(bubble: Bubble) -> None:
    """Nobody has the value, so nobody needs the task."""
    log: list[str] = []

    async def slow(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await noted(log, "slow ended")

    async with Scope() as scope:
        with anyio.move_on_after(1):
            await scope.start(slow)
        await asyncio.sleep(0.1)
        assert log == ["slow ended"]


def test_wrong_things_are_refused_before_anything_happens() -> None:
    """Types and values, with a message that says what was expected."""
    for timeout, error in ((-1, ValueError), (float("nan"), ValueError), ("3", TypeError), (True, TypeError)):
        with pytest.raises(error, match="close_timeout"):
            Scope(close_timeout=timeout)  # type: ignore[arg-type]

    @virtual
    async def check(bubble: Bubble) -> None:
        async with Scope() as scope:
            with pytest.raises(TypeError, match="async function"):
                scope.start_soon(print, "x")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="async function"):
                scope.create_task(42)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="asynchronous context manager"):
                await scope.enter(contextlib.nullcontext)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="a context manager"):
                scope.enter_context(3)  # type: ignore[arg-type]
            assert scope.statistics().opened == 0

    check()


# Handing over


@virtual
async def test_pop_all_hands_everything_over(bubble: Bubble) -> None:
    """Tasks, resources, children: the new scope releases them, the old one owns nothing."""
    log: list[str] = []
    async with Scope("old") as old:
        old.callback(log.append, "callback")
        old.start_soon(noted, log, "task")
        await old.enter(Transaction(log))
        old.child().callback(log.append, "child")
        await asyncio.sleep(0)
        heir = old.pop_all()
        assert old.statistics().live == 0
    assert log == []
    assert heir.statistics().live == 4
    await heir.aclose()
    assert log == ["child", "commit", "task", "callback"]
    statistics = heir.statistics()
    assert statistics.opened == statistics.released == 4


@virtual
async def test_a_task_that_was_handed_over_fails_in_its_new_scope(bubble: Bubble) -> None:
    """The old one has nothing to do with it any more."""
    async with Scope("old") as old:
        old.start_soon(fail_after, 1, KeyError("planned"))
        heir = old.pop_all()
        await asyncio.sleep(2)
    with pytest.raises(KeyError):
        await heir.aclose()


# Everywhere


@on_every_loop
def test_a_whole_service_on_every_loop(new_loop) -> None:  # type: ignore[no-untyped-def]
    """Inside an anyio task group and an asyncio.timeout, with eager tasks and on uvloop."""
    log: list[str] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(noted, log, "neighbour", 0.01)
            with anyio.move_on_after(0.05):
                async with asyncio.timeout(10), Scope("service") as scope:
                    await scope.acquire(Connection, log)
                    manager = await scope.enter(TaskManager(drain_timeout=0))
                    manager.start_soon(noted, log, "background")
                    scope.start_soon(noted, log, "task")
                    await scope.enter(Transaction(log))
                    await asyncio.sleep(3600)
        assert log == ["neighbour", "roll back for CancelledError", "task", "background", "aclose"]

    run_on(new_loop, main())
