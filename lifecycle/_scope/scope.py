"""Scope: the owner of tasks and resources, in one ledger, released in strict reverse order."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from typing_extensions import ParamSpec, TypeVarTuple, Unpack

from .._ground import kernel, scopes, trace
from .._ground.calls import name_of, refuse_function
from .._ground.checks import checked_async_context, checked_callable, checked_context, checked_name, checked_timeout
from .._ground.errors import OwnerClosed
from .._task.body import Body
from .early import EarlyRelease, refuse_release
from .ending import OPEN, Child
from .entries import CallbackEntry, InlineExit, Release, Resource
from .making import Acquisition, Holder
from .places import entry_of
from .tasks import TaskScope

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class Scope(TaskScope):
    """Owns tasks and resources that live as long as it does, and releases them newest first.

    Tasks and resources share one ledger: a task that was started after a resource was acquired has *ended* before
    that resource's release begins. Releases are shielded from every cancellation, each has a deadline, all are
    attempted and no error is lost. What ends by itself leaves the ledger at once.

    A failing task interrupts the ``async with`` body; everything is unwound and the error is raised. A scope need
    not be entered: ``scope = Scope()`` and, from any task, ``await scope.aclose()`` do as well. A failing task then
    closes the scope at once, in the background: the error is logged, and raised by `aclose`. `wait` tells of it.

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
            cancelled, and after as many seconds once more (a task, which is cancelled to begin with: only once more).
            What ignores that is abandoned a second later and the rest goes on. `ReleaseTimeout` names it. None for no
            bound.

    Raises:
        TypeError, ValueError: ``close_timeout`` is not a number of seconds.
    """

    # The block

    async def __aenter__(self) -> Self:
        """Make the calling task the body of the scope; does not suspend."""
        self._check_open("an async with block")
        if self._body is not None:
            raise OwnerClosed(f"{self} is open and has been entered before; make a child with scope.child()")
        self._body = Body(kernel.current_task())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Stop the tasks and release the resources, newest first, and raise what went wrong.

        Cancellation: held back until everything is released, then raised, once, to the task for which it was meant.
        Should a release fail as well, its error is raised here and the cancellation at the next suspension.
        """
        body = self._body
        body_error, held = error, None
        if body is not None and body.leave():
            body_error = await body.take_back(error)
            held, body.held = body.held, None
        errors, cancellation = await self._close(body_error, held, through=True)
        try:
            if not errors and cancellation is None:
                return True
            kernel.conclude(self._failure(errors), cancellation, error)
            return False
        finally:
            del error, body_error, held, errors, cancellation  # whose tracebacks refer to this frame: a cycle

    # Resources

    @overload
    async def acquire(
        self,
        factory: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: Unpack[Ts],
        release: Release | None = None,
        name: str | None = None,
        timeout: float | None = None,
    ) -> T: ...

    @overload
    async def acquire(
        self,
        factory: Callable[[Unpack[Ts]], T],
        *args: Unpack[Ts],
        release: Release | None = None,
        name: str | None = None,
        timeout: float | None = None,
    ) -> T: ...

    async def acquire(  # a union of both kinds of factory is more than mypy can infer from
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
        at once. A value that arrives nevertheless is released exactly once; an error is raised when the scope closes.

        Args:
            factory: makes the value; synchronous or asynchronous.
            args: what the factory is called with.
            release: called with the value; synchronous or asynchronous. By default its ``aclose`` or ``close``.
            name: for errors and statistics; by default the factory's name.
            timeout: seconds that the factory may take; None for no bound.

        Raises:
            OwnerClosed: the scope is closed, or was closed meanwhile; a value that arrived was released.
            TimeoutExpired: *timeout* has passed; it is a ``TimeoutError``.
            TypeError: *factory* or *release* is not a function, or *name* not a string.
            BaseException: what the factory raised.
        """
        checked_callable(factory, "factory", args_follow=True)
        if release is not None:
            checked_callable(release, "release", takes=1)
        limit = checked_timeout(timeout, "timeout")
        label = checked_name(name, name_of(factory))
        self._check_open(f"resource {label!r}")
        made = factory(*args)
        if not inspect.isawaitable(made):
            self._own(Resource(label, made, release))
            return made
        acquisition: Acquisition[T] = Acquisition(self, label, made, release)
        acquisition.begin(acquisition.make())
        await acquisition.arrival(limit)
        return acquisition.take()

    async def enter(self, cm: AbstractAsyncContextManager[T, Any], *, name: str | None = None) -> T:
        """Return the value of ``async with cm``, entered, held and left by a task of its own.

        So it may hold anyio scopes and task groups, may be left from any task, and nothing that happens to this task
        reaches its clean-up. If it fails while it is held, the scope's body is interrupted as by a failing task.

        Cancellation: passed on to ``__aenter__``; if that succeeds nevertheless, the context manager is left at once.
        An error of either is raised when the scope closes.

        Raises:
            OwnerClosed: the scope is closed, or was closed meanwhile; the context manager has been left.
            TaskCancelled: `release` was called with *cm* meanwhile, which has been left.
            TypeError: *cm* is not an asynchronous context manager.
            BaseException: what ``__aenter__`` raised.
        """
        label = checked_name(name, name_of(cm))
        checked_async_context(cm)
        self._check_open(f"context manager {label!r}")
        holder: Holder[T] = Holder(self, label, cm)
        holder.begin(holder.make())
        await holder.arrival(kernel.FOREVER)
        return cast("T", holder.value)

    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, Any], *, name: str | None = None) -> T:
        """Return the value of ``async with cm``, entered here and left by the closing task, as ``AsyncExitStack`` does.

        Weaker than `enter`: the exit runs unshielded, in the task that closes the scope, which must be this one if the
        context manager holds anyio scopes.

        Cancellation: passed on to ``__aenter__``.

        Raises:
            OwnerClosed: the scope is closed, or was closed meanwhile; the context manager has been left.
            TypeError: *cm* is not an asynchronous context manager.
        """
        checked_async_context(cm)
        label = checked_name(name, name_of(cm))
        self._check_open(f"context manager {label!r}")
        around = scopes.scope_of_caller()
        value = await cm.__aenter__()
        if self._state is not OPEN:
            await cm.__aexit__(None, None, None)
            self._check_open(f"context manager {label!r}")
        self._own(InlineExit(label, cm.__aexit__, is_async=True, around=around))
        return value

    def enter_context(self, cm: AbstractContextManager[T, Any], *, name: str | None = None) -> T:
        """Return the value of ``with cm``; it is left, in the closing task, at its place in the ledger.

        Raises:
            OwnerClosed: the scope is closing or closed; *cm* was not entered.
            TypeError: *cm* is not a context manager.
        """
        checked_context(cm)
        label = checked_name(name, name_of(cm))
        self._check_open(f"context manager {label!r}")
        value = cm.__enter__()
        self._own(InlineExit(label, cm.__exit__, is_async=False))
        return value

    def push(self, exit: Any, *, name: str | None = None) -> Any:  # noqa: A002
        """Register the ``__exit__`` of a context manager entered elsewhere, or a function like it; return it.

        Raises:
            OwnerClosed: the scope is closing or closed; *exit* is called nevertheless, as with `callback`.
            TypeError: *exit* is neither of the two.
        """
        leave = getattr(exit, "__exit__", exit)
        checked_callable(leave, "exit")
        self._offer(InlineExit(checked_name(name, name_of(exit)), leave, is_async=False))
        return exit

    def push_async_exit(self, exit: Any, *, name: str | None = None) -> Any:  # noqa: A002
        """Register the ``__aexit__`` of a context manager entered elsewhere, or a function like it; return it.

        Raises:
            OwnerClosed, TypeError: as in `push`.
        """
        leave = getattr(exit, "__aexit__", exit)
        checked_callable(leave, "exit")
        label = checked_name(name, name_of(exit))
        self._offer(InlineExit(label, leave, is_async=True, around=scopes.scope_of_caller()))
        return exit

    def callback(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Callable[P, T]:
        """Have ``fn(*args, **kwargs)`` called at its place in the ledger; return *fn*, so that it also decorates.

        It is called in the context of the task that closes the scope, as in ``AsyncExitStack``. Should it return an
        awaitable, of whatever kind, that is awaited, shielded and in a task of its own.

        Raises:
            TypeError: *fn* is not a function.
            OwnerClosed: the scope is closing or closed; *fn* is called nevertheless, by the close in progress or by
                one that this starts, because what it would release was acquired already.
        """
        run = self._books.run
        if run and callable(fn) and trace.sink is None:
            run.append((fn, args, kwargs))
        else:
            self._register(fn, args, kwargs)
        return fn

    def push_async_callback(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Callable[P, Awaitable[T]]:
        """Have ``await fn(*args, **kwargs)`` run, shielded, at its place in the ledger; return *fn*. See `callback`.

        Whatever awaitable *fn* returns is awaited: a coroutine, a task, a future, an object of your own.
        """
        run = self._books.run
        if run and callable(fn) and trace.sink is None:
            run.append((fn, args, kwargs))
        else:
            self._register(fn, args, kwargs)
        return fn

    def _register(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Register a callback that is not simply the next of a run, or refuse it."""
        if not callable(fn):
            refuse_function("callback must be a function", fn, args_follow=True)
        if self._state is OPEN and trace.sink is None:
            self._books.begin_run().append((fn, args, kwargs))
        else:
            self._offer(CallbackEntry(fn, args, kwargs))

    async def release(self, value: object) -> None:
        """Release one thing before its turn, and return when it is gone: what `acquire`, `enter` or `start_soon` gave.

        As in a close: once, shielded, within ``close_timeout``; a task is cancelled and waited for. All else stays,
        also what was taken in later, so what stands on it has to have ended before. What ends together belongs into a
        `child`, which keeps the order. A close meanwhile, or a second call, waits for this one. Who is called by what
        it releases does not wait for itself; that stays owned until it has ended. The first call in a large scope looks
        at every entry, each further one at what has come in since.

        Cancellation: held back until it is released, then raised, once. Should the release fail as well, its error is
        raised here and the cancellation at the caller's next suspension. A second caller just stops waiting.

        Args:
            value: the very object; or the handle of a task, where one that has ended by itself is gone already; or the
                context manager itself, which is left here if it was entered inline, and not waited for by `enter` any
                longer if it is still being entered. None stands for nothing: what gave no value is named by the
                context manager.

        Raises:
            LookupError: the scope does not own it, or no longer; or it is a child scope, which has its own `aclose`.
            BaseException: what the release raised, or the task after it was cancelled, as it is. It is the caller's:
                the body goes on.
            ReleaseTimeout: it took longer than ``close_timeout``.
        """
        entry = entry_of(self._books, value)
        if entry is None or entry.kind == "scope":
            refuse_release(self, value)
            return
        under_way = self._books[entry]
        if under_way is not None:
            await under_way.join()
            return
        kernel.conclude(*await EarlyRelease(self, entry).run(entry))

    def pop_all(self) -> Scope:
        """Hand everything over to a new scope, which is returned; this one stays open and owns nothing.

        Raises:
            OwnerClosed: the scope is closing or closed.
        """
        self._check_open("pop_all()")
        heir = Scope(self.name, close_timeout=self.close_timeout)
        self._books.hand_over(heir, heir._books)
        heir._errors, self._errors = self._errors, heir._errors
        if self._on_failure is not None:
            heir._on_failure = self._on_failure
        if hasattr(self, "_alive"):
            heir._alive = self._alive
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
        child._books.be_child(child._place)
        self._own(child._place)
        return child
