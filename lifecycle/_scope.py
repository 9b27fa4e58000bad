"""Scope: the owner of tasks and resources, in one ledger, released in strict reverse order."""

from __future__ import annotations

import inspect
import warnings
from asyncio import AbstractEventLoop, CancelledError, Future, Task
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import Context
from types import TracebackType
from typing import Any, Self, TypeVar

from typing_extensions import ParamSpec, TypeVarTuple, Unpack

from . import _kernel as kernel
from . import _trace
from ._closing import OwnerState, checked_timeout, closing_tasks, refuse
from ._entries import (
    Acquisition,
    CallbackEntry,
    CallbackRun,
    Child,
    Holder,
    InlineExit,
    OwnTask,
    Release,
    Resource,
    count_calls,
    count_kinds,
    describe,
    logger,
)
from ._handle import FAILED, TaskHandle, checked_coroutine, coroutine_of, name_of
from ._kernel import NativeTask
from ._roots import Portrait, enroll
from ._startup import Startup
from ._statistics import ScopeStatistics
from ._unwind import Unwinding

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

OPEN, CLOSING, CLOSED = OwnerState

_ABSENT = object()


class Scope:
    """Owns tasks and resources that live as long as it does, and releases them newest first.

    Tasks and resources share one ledger: a task that was started after a resource was acquired has *ended* before
    that resource's release begins. Releases are shielded from every cancellation, each has a deadline, all are
    attempted and no error is lost. What ends by itself leaves the ledger at once.

    A failing task interrupts the ``async with`` body; everything is unwound and the error is raised. A scope need not
    be
    entered: ``scope = Scope()`` and, from any task, ``await scope.aclose()`` do as well; a failing task then closes
    the scope, and `aclose` raises the error.

    Do not use it for work that should end by itself before the block is left: that is a ``TaskGroup``. Do not use it
    for many short, independent tasks: it stops them one after the other; a ``TaskManager`` drains them together.

    Example::

        async with Scope("session") as scope:
            connection = await scope.acquire(connect, address, release=disconnect)
            scope.start_soon(keep_alive, connection)
            await serve(connection)
        # keep_alive has ended, then the connection was closed

    Args:
        name: for logs, errors and statistics.
        close_timeout: seconds that each single release, and each stopped task, may take to end; then it is
            cancelled (a task: once more), the rest goes on, and `ReleaseTimeout` names it. None for no bound.

    Raises:
        TypeError, ValueError: ``close_timeout`` is no number of seconds.
    """

    # What a scope has until it needs something else. On the class, because many scopes live and die without.
    _run: list[Any] | None = None  # the callbacks on top of the ledger
    _releasing: Any = None
    _opened = 0  # without the callbacks that are in the ledger now
    _released = 0
    _state = OPEN
    _place: Child | None = None  # in the parent's ledger
    _since: float | None = None  # when the first thing came in
    _plain_loop: AbstractEventLoop | None = None
    _closing_in: Task[Any] | None = None
    _closing_begun: Future[None] | None = None
    _closing_ended: Future[None] | None = None
    _sweep_at = 1000
    _token: _trace.Token | None = None  # while somebody looks
    _tokens: dict[Any, _trace.Token | None] | None = None
    # The async with body: who runs it, how often it had been cancelled before, and how we interrupted it.
    _host: Task[Any] | None = None
    _cancelling_before = 0
    _interruption: kernel.Cancellation | None = None

    def __init__(self, name: str | None = None, *, close_timeout: float | None = 30.0) -> None:
        self.name = name or "scope"
        self.close_timeout = (
            close_timeout if type(close_timeout) is float else checked_timeout(close_timeout, "close_timeout")
        )
        self._ledger: dict[Any, None] = {}
        self._errors: list[BaseException] = []
        enroll(self)

    # The block

    async def __aenter__(self) -> Self:
        self._check_open("an async with block")
        if self._host is not None:
            raise RuntimeError(f"{self} has been entered before; make a child with scope.child()")
        self._host = kernel.current_task()
        self._cancelling_before = self._host.cancelling()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        body_error = error if self._interruption is None else await self._settle_interruption(error)
        failure, cancellation = await self._close(body_error, through=True)
        if failure is not None:
            if cancellation is not None:
                kernel.deliver_later(cancellation)
            if failure is not error:
                raise_as_is(failure)
            return False
        if cancellation is not None and cancellation is not error:
            raise cancellation
        return cancellation is None

    async def aclose(self) -> None:
        """Stop the tasks and release the resources, newest first; from any task, and final. Idempotent.

        A second caller waits for the first. A task of the scope that closes it is neither stopped nor waited for.

        Cancellation: held back until everything is released, then raised, once; ``Task.cancelling()`` stays exact.
        Should a release fail as well, its error is raised here and the cancellation at the caller's next suspension.
        A second caller just stops waiting.

        Raises:
            BaseException: the single error of a task or a release, as it is.
            BaseExceptionGroup: several of them, all.
            ReleaseTimeout: a release took longer than ``close_timeout``.
        """
        failure, cancellation = await self._close(None, through=False)
        if failure is not None:
            if cancellation is not None:
                kernel.deliver_later(cancellation)
            raise_as_is(failure)
        if cancellation is not None:
            raise cancellation

    def cancel(self, reason: str | None = None) -> None:
        """Ask the scope to end: interrupt its body, which ends the block without an error, or close it if it has none.

        Without a body the closing runs in the background; what it meets is raised by `aclose`.
        """
        if self._state is OPEN:
            self._interrupt(reason or f"{self} was cancelled")

    # Tasks

    def start_soon(
        self,
        fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
        *args: Unpack[Ts],
        name: str | None = None,
    ) -> TaskHandle[T]:
        """Start ``fn(*args)`` as a task of this scope and return its handle.

        The task is stopped at its place in the ledger: cancelled, and waited for. If it fails, the scope's body is
        interrupted and the error raised at the end of the block.

        Raises:
            OwnerClosed: the scope is closing or closed; *fn* was not called.
            TypeError: *fn* did not make a coroutine.
        """
        if self._state is not OPEN:
            self._check_open(f"task {name or name_of(fn)!r}")
        return self._launch(coroutine_of(fn, args), name, None)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> TaskHandle[T]:
        """Start *coro* as a task of this scope and return its handle; see `start_soon`.

        Raises:
            OwnerClosed: the scope is closing or closed; *coro* has been closed.
            TypeError: *coro* is no coroutine.
        """
        checked_coroutine(coro)
        if self._state is not OPEN:
            coro.close()
            self._check_open(f"task {name or name_of(coro)!r}")
        return self._launch(coro, name, context)

    async def start(self, fn: Callable[..., Coroutine[Any, Any, Any]], *args: object, name: str | None = None) -> Any:
        """Start ``fn(*args, task_status=...)`` and return what it hands to ``task_status.started(value)``.

        An error before that call is raised here and does not interrupt the scope.

        Cancellation: the half-started task is cancelled; the scope sees it off.

        Raises:
            OwnerClosed: the scope is closing or closed; *fn* was not called.
            RuntimeError: the task ended without calling ``started``.
        """
        startup = Startup(fn, args)
        return await startup.wait(self.start_soon(startup.run, name=name or startup.name))

    # Resources

    async def acquire(
        self,
        factory: Callable[[Unpack[Ts]], Awaitable[T] | T],
        *args: Unpack[Ts],
        release: Release | None = None,
        name: str | None = None,
        timeout: float | None = None,
    ) -> T:
        """Return the value of ``factory(*args)``, which the scope owns from the step on in which it exists.

        An asynchronous factory runs in a task of its own, so that a value that arrives after the caller left, or
        in the very moment of a timeout, is released and not lost. A factory that works in a thread should use
        ``anyio.to_thread.run_sync``: it is shielded, and its late value reaches the scope.

        Cancellation: passed on to the factory; waits for its clean-up, except for a shielded section, which is left
        at once. A value that arrives nevertheless is released exactly once.

        Args:
            factory: makes the value; synchronous or asynchronous.
            args: what the factory is called with.
            release: called with the value; synchronous or asynchronous. By default its ``aclose`` or ``close``.
            name: for errors and statistics; by default the factory's name.
            timeout: seconds that the factory may take; None for no bound.

        Raises:
            OwnerClosed: the scope is closed, or was closed meanwhile; a value that arrived was released.
            TimeoutError: *timeout* has passed.
            BaseException: what the factory raised.
        """
        limit = checked_timeout(timeout, "timeout")
        label = name or name_of(factory)
        self._check_open(f"resource {label!r}")
        value = factory(*args)
        if not inspect.isawaitable(value):
            self._own(Resource(label, value, release))
            return value
        acquisition = Acquisition(self, label, value, release)
        acquisition.begin(acquisition.make())
        await acquisition.arrival(limit)
        assert acquisition.resource is not None
        return acquisition.resource.value

    async def enter(self, cm: AbstractAsyncContextManager[T, Any], *, name: str | None = None) -> T:
        """Return the value of ``async with cm``, entered, held and left by a task of its own.

        So it may hold anyio scopes and task groups, may be left from any task, and nothing that happens to this task
        reaches its clean-up. If it fails while it is held, the scope's body is interrupted as by a failing task.

        Cancellation: passed on to ``__aenter__``; if that succeeds nevertheless, the context manager is left at once.

        Raises:
            OwnerClosed: the scope is closed, or was closed meanwhile; the context manager has been left.
            TypeError: *cm* is no asynchronous context manager.
            BaseException: what ``__aenter__`` raised.
        """
        label = name or name_of(cm)
        require_methods(cm, "__aenter__", "__aexit__", what="an asynchronous context manager")
        self._check_open(f"context manager {label!r}")
        holder: Holder[T] = Holder(self, label, cm)
        holder.begin(holder.make())
        await holder.arrival(kernel.FOREVER)
        value: T = holder.value
        holder.value = None
        return value

    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, Any]) -> T:
        """Return the value of ``async with cm``, entered here and left by the closing task, as ``AsyncExitStack`` does.

        The weaker promise of the two: its exit runs unshielded in the task that closes the scope, which must be this
        one if it holds anyio scopes. `enter` has neither limit.

        Cancellation: passed on to ``__aenter__``.

        Raises:
            OwnerClosed: the scope is closed, or was closed meanwhile; the context manager has been left.
            TypeError: *cm* is no asynchronous context manager.
        """
        require_methods(cm, "__aenter__", "__aexit__", what="an asynchronous context manager")
        self._check_open(f"context manager {name_of(cm)!r}")
        value = await cm.__aenter__()
        if self._state is not OPEN:
            await cm.__aexit__(None, None, None)
            self._check_open(f"context manager {name_of(cm)!r}")
        self._own(InlineExit(name_of(cm), cm.__aexit__, is_async=True))
        return value

    def enter_context(self, cm: AbstractContextManager[T, Any]) -> T:
        """Return the value of ``with cm``; it is left, in the closing task, at its place in the ledger.

        Raises:
            OwnerClosed: the scope is closing or closed; *cm* was not entered.
            TypeError: *cm* is no context manager.
        """
        require_methods(cm, "__enter__", "__exit__", what="a context manager")
        self._check_open(f"context manager {name_of(cm)!r}")
        value = cm.__enter__()
        self._own(InlineExit(name_of(cm), cm.__exit__, is_async=False))
        return value

    def push(self, exit: Any) -> Any:  # noqa: A002
        """Register the ``__exit__`` of a context manager entered elsewhere, or a function like it; return it."""
        self._offer(InlineExit(name_of(exit), getattr(exit, "__exit__", exit), is_async=False))
        return exit

    def push_async_exit(self, exit: Any) -> Any:  # noqa: A002
        """Register the ``__aexit__`` of a context manager entered elsewhere, or a function like it; return it."""
        self._offer(InlineExit(name_of(exit), getattr(exit, "__aexit__", exit), is_async=True))
        return exit

    def callback(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Callable[P, T]:
        """Have ``fn(*args, **kwargs)`` called at its place in the ledger; return *fn*, so that it also decorates.

        Raises:
            OwnerClosed: the scope is closing or closed; *fn* is called nevertheless, by the close in progress or by
                one that this starts, because what it would release was acquired already.
        """
        if self._state is not OPEN or _trace.sink is not None:
            self._offer(CallbackEntry(fn, args, kwargs))
        else:
            (self._run or self._begin_run()).append((fn, args, kwargs))
        return fn

    def push_async_callback(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Callable[P, Awaitable[T]]:
        """Have ``await fn(*args, **kwargs)`` run, shielded, at its place in the ledger; return *fn*. See `callback`."""
        if self._state is not OPEN or _trace.sink is not None:
            self._offer(CallbackEntry(fn, args, kwargs))
        else:
            (self._run or self._begin_run()).append((fn, args, kwargs))
        return fn

    def pop_all(self) -> Scope:
        """Hand everything over to a new scope, which is returned; this one stays open and owns nothing.

        Raises:
            OwnerClosed: the scope is closing or closed.
        """
        self._check_open("pop_all()")
        heir = Scope(self.name, close_timeout=self.close_timeout)
        heir._ledger, self._ledger = self._ledger, heir._ledger
        heir._errors, self._errors = self._errors, heir._errors
        heir._tokens, self._tokens = self._tokens, heir._tokens
        heir._token, self._token = self._token, heir._token
        heir._opened = count_kinds(heir._ledger).total() - count_calls(heir._ledger)
        heir._run, self._run = self._run, None
        self._opened -= heir._opened
        for entry in heir._ledger:
            if isinstance(entry, OwnTask):
                entry._owner = heir
            elif hasattr(entry, "_scope"):
                entry._scope = heir
        return heir

    def child(self, name: str | None = None) -> Scope:
        """Return a new scope that this one owns and closes at its place in the ledger.

        An error of a child whose body is not running interrupts this scope; a child's ``async with`` block raises its
        errors itself.

        Raises:
            OwnerClosed: the scope is closing or closed.
        """
        self._check_open("a child scope")
        timeout = None if self.close_timeout == kernel.FOREVER else self.close_timeout
        child = Scope(name or f"{self.name}.child", close_timeout=timeout)
        child._place = Child(self, child)
        self._own(child._place)
        return child

    # The books

    @property
    def closed(self) -> bool:
        """Whether everything has been released, for good."""
        return self._state is CLOSED

    def statistics(self) -> ScopeStatistics:
        """Return what the scope owns at this moment; costs a look at every entry."""
        self._sweep()
        kinds = count_kinds(self._ledger)
        tasks, children = kinds["task"], kinds["scope"]
        return ScopeStatistics(
            name=self.name,
            state=self._state.value,
            tasks=tasks,
            resources=kinds.total() - tasks - children + (self._releasing is not None),
            children=children,
            opened=self._opened + count_calls(self._ledger),
            released=self._released,
        )

    def _portrait(self) -> Portrait:
        self._sweep()
        things = [describe(entry, self._tokens) for entry in self._ledger]
        return Portrait("scope", self.name, self._state.value, self._since, things, token=self._token)

    def __repr__(self) -> str:
        return f"scope {self.name!r}"

    def __del__(self) -> None:
        if getattr(self, "_ledger", None) and self._state is OPEN:
            warnings.warn(
                f"{self} was dropped with {len(self._ledger)} things in it; close it with `await scope.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _own(self, entry: Any) -> None:
        self._ledger[entry] = None
        self._opened += 1
        self._run = None
        if self._since is None:
            self._since = self._clock()
        if _trace.sink is not None:
            self._report_opened(entry)

    def _report_opened(self, entry: Any) -> None:
        """Tell whoever looks of a new entry, and of this scope with its first."""
        if self._token is None:
            owner = self._place.parent._token if self._place is not None else None
            self._token = _trace.opened("scope", self.name, owner)
        if self._tokens is None:
            self._tokens = {}
        if entry.kind != "scope":
            self._tokens[entry] = _trace.opened(entry.kind, getattr(entry, "name", None) or entry.label, self._token)

    def _report_closed(self, entry: Any) -> None:
        assert self._tokens is not None
        _trace.closed(self._tokens.pop(entry, None))

    def _begin_run(self) -> list[Any]:
        """Put a run of callbacks on top of the ledger, until something else comes to lie there."""
        run = CallbackRun()
        self._ledger[run] = None
        self._run = run.calls
        return run.calls

    def _forget(self, entry: Any) -> bool:
        """Take an entry that has ended by itself out of the ledger; return whether it was still in it."""
        if self._ledger.pop(entry, _ABSENT) is _ABSENT:
            return False
        self._released += 1
        if self._tokens:
            self._report_closed(entry)
        return True

    def _replace(self, entry: Any, successor: Any) -> None:
        """Put *successor* on top of the ledger in place of *entry*, which it continues."""
        del self._ledger[entry]
        self._ledger[successor] = None
        self._run = None
        if self._tokens:
            self._tokens[successor] = self._tokens.pop(entry, None)

    def _offer(self, entry: Any) -> None:
        """Take an entry that stands for something acquired already: a closed scope releases it at once and refuses."""
        self._own(entry)
        if self._state is not OPEN:
            if self._state is CLOSED:
                kernel.spawn_kept(self._close_alone(), f"late release by {self}")
            self._check_open(entry.label)

    def _check_open(self, offer: str) -> None:
        if self._state is not OPEN:
            refuse(self, offer, f"it is {self._state.value}")

    def _clock(self) -> float:
        """Return the loop's time; binds the scope to the loop's clock the first time."""
        self._clock = kernel.clock()  # type: ignore[method-assign]
        return self._clock()

    def _launch(self, coro: Coroutine[Any, Any, T], name: str | None, context: Context | None) -> TaskHandle[T]:
        handle = OwnTask(self, coro, name or name_of(coro))
        self._ledger[handle] = None
        self._opened += 1
        self._run = None
        if self._since is None:
            self._since = self._clock()
        if _trace.sink is not None:
            self._report_opened(handle)
        if len(self._ledger) > self._sweep_at:
            self._sweep()
            self._sweep_at = 4 * len(self._ledger) + 1000
        if self._plain_loop is not None:
            handle._task = NativeTask(handle._run(), loop=self._plain_loop, name=handle.name, context=context)
        else:
            self._start_with_care(handle, context)
        return handle

    def _start_with_care(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start the first task, and every task where a task factory may refuse it."""
        loop = kernel.running_loop()
        if kernel.is_plain(loop):
            self._plain_loop = loop
        try:
            handle._start(context)
        except BaseException:
            self._forget(handle)
            handle._coro.close()
            raise

    def _sweep(self) -> None:
        """Find the tasks that somebody else cancelled before their first step: nothing told us of them."""
        for entry in [entry for entry in self._ledger if isinstance(entry, OwnTask)]:
            entry._sweep()

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        self._forget(handle)

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        self._forget(handle)
        if handle._status is FAILED:
            error = handle._outcome
            assert isinstance(error, BaseException)
            self._fail(error, f"task {handle.name!r} failed")

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        raise AssertionError(f"{handle} of {self} has no native task")  # a scope starts every task at once

    # Failing and interrupting

    def _record_error(self, error: BaseException) -> None:
        if self._state is CLOSED:
            logger.error("error after %s was closed", self, exc_info=error)
        else:
            self._errors.append(error)

    def _fail(self, error: BaseException, reason: str) -> None:
        """Take the error of something that we own, and end the body: what it stands on is gone."""
        self._record_error(error)
        if self._state is OPEN:
            self._interrupt(reason)

    def _interrupt(self, reason: str) -> None:
        if self._body_runs():
            assert self._host is not None
            if self._interruption is None:
                self._interruption = kernel.cancel(self._host, reason)
        else:
            kernel.spawn_kept(self._close_alone(), f"closer of {self}")

    def _body_runs(self) -> bool:
        return self._host is not None and not self._host.done() and self._state is OPEN

    async def _settle_interruption(self, error: BaseException | None) -> BaseException | None:
        """Take our own interruption of the body back; return what the body itself raised, if anything."""
        interruption, self._interruption = self._interruption, None
        host = self._host
        if interruption is None or not interruption.withdraw() or host is not kernel.current_task():
            return error
        host.uncancel()
        if host.cancelling() > self._cancelling_before:
            return error  # somebody else cancelled it as well
        if isinstance(error, CancelledError) and not kernel.is_scope_cancellation(error):
            return None
        await kernel.absorb_cancellation(host, self._cancelling_before)
        return error

    # Closing

    async def _close(
        self, error: BaseException | None, *, through: bool
    ) -> tuple[BaseException | None, CancelledError | None]:
        """Empty the ledger; return the error that carries all errors, and the cancellation to deliver.

        A close in progress is waited for: *through* every cancellation at the end of the block, whose owner this is;
        elsewhere a cancellation ends the waiting, because the first closer may itself be waiting for this task.
        """
        held = None
        if self._closing_in is not None:
            if self._closing_in in closing_tasks():
                return error, None  # a release closes the very scope that waits for it
            self._closing_ended = self._closing_ended or kernel.new_future()
            if through:
                held = await kernel.wait_through(self._closing_ended)
            else:
                await kernel.wait_shielded(self._closing_ended)
        unwinding = Unwinding(self, error)
        if held is not None:
            unwinding.hold(held)
        if self._ledger or self._state is OPEN:
            await self._unwind(unwinding)
        failure = unwinding.error()
        self._errors = []
        return failure, unwinding.cancellation

    async def _unwind(self, unwinding: Unwinding) -> None:
        self._state = CLOSING
        self._closing_in = kernel.current_task()
        if self._closing_begun is not None:
            self._closing_begun.set_result(None)
        try:
            unwinding.call_callbacks()
            if self._ledger or unwinding.unfinished:
                await unwinding.run()
        finally:
            self._state = CLOSED
            self._closing_in = None
            if self._closing_ended is not None:
                self._closing_ended.set_result(None)
                self._closing_ended = None
            place, self._place = self._place, None
            if place is not None:
                place.leave()
            if self._token is not None:
                _trace.closed(self._token)
                self._token = None

    async def _close_alone(self) -> None:
        """Close where nobody waits; the errors go to the parent, or wait for the end of the block or `aclose`."""
        place = self._place
        failure, _ = await self._close(None, through=False)
        if failure is None:
            return
        if place is not None and not place.parent.closed:
            place.parent._fail(failure, f"{self} failed")
        else:
            self._errors.append(failure)
            logger.error("%s failed and has been closed; its end raises the error", self, exc_info=failure)

    async def _close_for_parent(self) -> None:
        """Close in the parent's turn; a body that runs in some other task is ended first."""
        if self._body_runs() and self._host not in closing_tasks():
            self._closing_begun = kernel.new_future()
            self._interrupt(f"the parent of {self} is closing")
            await kernel.wait(self._closing_begun, self.close_timeout)
        await self.aclose()


def raise_as_is(error: BaseException) -> None:
    """Raise *error* without adding what happens to be handled here to its context."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context


def require_methods(thing: object, *methods: str, what: str) -> None:
    """Check that *thing*'s type has *methods*.

    Raises:
        TypeError: it has not, so that it is not *what* is needed.
    """
    if not all(hasattr(type(thing), method) for method in methods):
        raise TypeError(f"expected {what}, got {thing!r}")
