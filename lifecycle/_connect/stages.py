"""Stages: what a connector connects with, one stage after the other, each in the ledger of its attempt."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from typing_extensions import TypeVarTuple, Unpack

from .._ground import kernel
from .._ground.calls import checked_awaitable, name_of
from .._ground.checks import checked_name, checked_timeout
from .._ground.errors import TimeoutExpired
from .._ground.foreign import carries
from .._scope.entries import Release, Resource
from .._scope.scope import Scope
from .._task.handle import TaskHandle

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: How many failures of stages are remembered, to name the one that the attempt failed in.
FAILURES = 16


class Stages:
    """The stages of one attempt of a `connect`; a connector gets it as its first argument.

    What `acquire`, `enter` and `start_soon` make is undone in reverse if the attempt does not succeed, and belongs to
    the connection if it does. Do not keep it: when the attempt is over it refuses everything. Stages may run
    concurrently; the one that was begun last is the one that shows.

    Attributes:
        attempt: which attempt this is, from 1.
        deadline: the loop time at which the attempt is cut off; None where there is no bound.
    """

    __slots__ = ("_active", "_failures", "_latest", "_on_task", "_scope", "attempt", "deadline")

    def __init__(self, scope: Scope, attempt: int, deadline: float) -> None:
        self._scope = scope
        self._active: dict[object, str] = {}
        self._latest: str | None = None
        self._failures: deque[tuple[str, BaseException]] = deque(maxlen=FAILURES)
        self._on_task: Callable[[TaskHandle[Any]], None] | None = None  # told of each task of the connection
        self.attempt: int = attempt
        self.deadline: float | None = None if deadline == kernel.FOREVER else deadline

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
        """Return the value of ``factory(*args)``, which the attempt owns from the step on in which it exists.

        Cancellation: passed on to the factory. A value that arrives nevertheless, or after the attempt is over, is
        released exactly once; no other attempt begins before that.

        Args:
            factory: makes the value; synchronous or asynchronous.
            args: what the factory is called with.
            release: called with the value; synchronous or asynchronous. By default its ``aclose`` or ``close``.
            name: what this stage is called in errors; by default the factory's name.
            timeout: seconds that this stage may take; None for as long as the attempt may.

        Raises:
            OwnerClosed: the attempt is over; *factory* was not called, or its value was released.
            TimeoutExpired: *timeout* has passed; it is a ``TimeoutError``.
            BaseException: what the factory raised.
        """
        name = checked_name(name, name_of(factory))
        make = cast("Callable[[Unpack[Ts]], Awaitable[T]]", factory)
        with self._stage(name):
            return await self._scope.acquire(make, *args, release=release, name=name, timeout=timeout)

    async def enter(
        self, cm: AbstractAsyncContextManager[T, Any], *, name: str | None = None, timeout: float | None = None
    ) -> T:
        """Return the value of ``async with cm``, entered, held and left by a task of its own.

        If it ends while it is held, the attempt fails.

        Cancellation: passed on to ``__aenter__``; if that succeeds nevertheless, the context manager is left at once.

        Args:
            cm: what to enter.
            name: what this stage is called in errors; by default the context manager's name.
            timeout: seconds that entering may take; None for as long as the attempt may.

        Raises:
            OwnerClosed: the attempt is over; *cm* was not entered, or has been left.
            TimeoutExpired: *timeout* has passed; it is a ``TimeoutError``.
            TypeError: *cm* is not an asynchronous context manager.
            BaseException: what ``__aenter__`` raised.
        """
        name = checked_name(name, name_of(cm))
        limit = checked_timeout(timeout, "timeout")
        with self._stage(name):
            return await _within(limit, name, lambda: self._scope.enter(cm, name=name))

    async def step(self, awaitable: Awaitable[T], *, name: str | None = None, timeout: float | None = None) -> T:
        """Return what *awaitable* gives; for a stage that leaves nothing to undo, such as a handshake.

        What has to be undone is for `acquire`: a value that only this function holds is lost when it is cancelled.

        Cancellation: raised in *awaitable*.

        Args:
            awaitable: what to wait for.
            name: what this stage is called in errors; by default the awaitable's name.
            timeout: seconds that it may take; None for as long as the attempt may.

        Raises:
            OwnerClosed: the attempt is over; *awaitable* was closed if it is a coroutine.
            TimeoutExpired: *timeout* has passed; it is a ``TimeoutError``.
            TypeError: *awaitable* cannot be awaited.
            BaseException: what *awaitable* raised.
        """
        try:
            checked_awaitable(awaitable)
            name = checked_name(name, name_of(awaitable))
            limit = checked_timeout(timeout, "timeout")
            self._scope._check_open(f"stage {name!r}")
        except BaseException:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise
        with self._stage(name):
            return await _within(limit, name, lambda: awaitable)

    def start_soon(
        self, fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: Unpack[Ts], name: str | None = None
    ) -> TaskHandle[T]:
        """Start ``fn(*args)`` as a task of the connection, such as a reader or a keep-alive; return its handle.

        It is stopped at its place in the ledger. If it fails before the connect is over, the attempt fails.

        Raises:
            OwnerClosed: the attempt is over; *fn* was not called.
            TypeError: *fn* is no async function. A built-in function or a class is not called to see that.
        """
        handle = self._scope.start_soon(fn, *args, name=name)
        if self._on_task is not None:
            self._on_task(handle)
        return handle

    def _pass_on(self, value: object) -> None:
        """Note that *value*, which was acquired, is released with something else that was."""
        books = self._scope._books
        for entry in list(books):
            if isinstance(entry, Resource) and entry.value is value:
                books.forget(entry)

    def _stage(self, name: str) -> StageInProgress:
        """Return a block over the stage *name*."""
        return StageInProgress(self, name)

    @property
    def _current(self) -> str | None:
        """The stage in progress that was begun last; between two stages the one before."""
        return next(reversed(self._active.values()), self._latest)

    def _stage_that_failed(self, error: BaseException | None) -> str | None:
        """Return the stage that *error* came from, as far as that can be seen, and forget the errors of stages."""
        failures, self._failures = self._failures, deque()  # whose tracebacks lead back here: a cycle
        for name, failure in reversed(failures):
            if error is not None and not isinstance(failure, CancelledError) and carries(error, failure):
                return name
        return next((name for name, failure in failures if failure is error), self._current)

    def __repr__(self) -> str:
        return f"<Stages of {self._scope.name!r}, attempt {self.attempt}, stage {self._current!r}>"


class StageInProgress:
    """The block of one stage: notes that it is in progress, and whether it failed.

    A class, because a generator would set the traceback of the stage's error, which may be one that refuses that.
    """

    __slots__ = ("_name", "_stages")

    def __init__(self, stages: Stages, name: str) -> None:
        self._stages = stages
        self._name = name

    def __enter__(self) -> None:
        self._stages._active[self] = self._stages._latest = self._name

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self._stages._active[self]
        if error is not None:
            self._stages._failures.append((self._name, error))


async def _within(limit: float, name: str, begin: Callable[[], Awaitable[T]]) -> T:
    """Return what ``begin()`` gives within *limit* seconds."""
    if limit == kernel.FOREVER:
        return await begin()
    bound = kernel.time_limit(limit)
    try:
        async with bound:
            value = await begin()
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise TimeoutExpired(f"stage {name!r}", limit) from error.__cause__
    if bound.expired():  # a cancellation that was swallowed: a stage that is late has failed
        raise TimeoutExpired(f"stage {name!r}", limit)
    return value
