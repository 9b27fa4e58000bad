"""@resource: an async generator that becomes a resource any owner can enter and leave."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from typing_extensions import ParamSpec

from .._ground.bytecode import is_inside_try
from .._ground.calls import name_of
from .._ground.foreign import traceback_of, with_traceback

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


class OwnedResource(AbstractAsyncContextManager[T_co, bool | None]):
    """One value that an async generator makes, yields and cleans up after: an async context manager, for one use.

    What a function decorated with `resource` returns; hand it to ``Scope.enter`` or use it with ``async with``.
    """

    __slots__ = ("_generator", "_name", "_state")

    def __init__(self, generator: AsyncGenerator[T_co, None], name: str) -> None:
        self._generator = generator
        self._name = name
        self._state = "not entered yet"

    async def __aenter__(self) -> T_co:
        """Run the generator up to its ``yield`` and return the value.

        Cancellation: raised in the generator, whose clean-up runs.

        Raises:
            RuntimeError: it has been entered before, or the generator yielded nothing.
        """
        if self._state != "not entered yet":
            raise RuntimeError(f"{self} is {self._state}; call {self._name}() again for another one")
        self._state = "in use"
        try:
            return await anext(self._generator)
        except StopAsyncIteration:
            self._state = "released"
            raise RuntimeError(f"{self} yielded nothing; it must yield its value once") from None
        except BaseException:
            self._state = "released"
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Run the rest of the generator; a second call does nothing.

        A ``yield`` inside a ``try`` or ``with`` raises *error*, so that they see it; any other goes on as if there were
        none, and *error* is raised after it. Returns whether the generator has dealt with *error*.

        Cancellation: raised in the generator. ``Scope.enter`` shields the clean-up, ``async with`` does not.

        Raises:
            RuntimeError: it yielded a second time; it has been closed.
            BaseException: what the generator raised.
        """
        if self._state != "in use":
            return False
        self._state = "released"
        if error is not None and self._sees_errors():
            return await self._finish_with(error)
        await self._finish()
        return False

    def _sees_errors(self) -> bool:
        """Whether the ``yield`` is inside a ``try`` or ``with``, where errors mean something to the generator."""
        frame = getattr(self._generator, "ag_frame", None)  # that of a compiled one cannot be looked at
        return frame is None or is_inside_try(frame.f_code, frame.f_lasti)

    async def _finish(self) -> None:
        try:
            await anext(self._generator)
        except StopAsyncIteration:
            return
        await self._refuse_second_yield()

    async def _finish_with(self, error: BaseException) -> bool:
        traceback = traceback_of(error)
        try:
            await self._generator.athrow(error)
        except StopAsyncIteration as ended:
            return ended is not error
        except BaseException as raised:
            # Python turns a StopIteration that leaves a generator into a RuntimeError around it.
            if raised is not error and not (_stops(error) and raised.__cause__ is error):
                raise
            with_traceback(error, traceback)
            return False
        await self._refuse_second_yield()
        return False

    async def _refuse_second_yield(self) -> None:
        await self._generator.aclose()
        raise RuntimeError(f"{self} yielded a second time; it must yield once, and clean up after it")

    def __repr__(self) -> str:
        return f"resource {self._name!r}"


class ResourceFactory(Generic[P, T]):
    """What `resource` makes of an async generator function: called, it returns an `OwnedResource`.

    It carries the function's name, documentation and signature, so that containers that look at parameters can. For
    those that take nothing but async generator functions, ``__wrapped__`` is one, with the same promises.
    """

    def __init__(self, fn: Callable[P, AsyncGenerator[T, None] | AsyncIterator[T]]) -> None:
        functools.update_wrapper(self, fn)
        self.__wrapped__: Callable[P, AsyncGenerator[T, None]] = as_generator_function(fn)
        self._fn = fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> OwnedResource[T]:
        """Return a new resource; nothing runs before it is entered."""
        generator = cast("AsyncGenerator[T, None]", self._fn(*args, **kwargs))
        return OwnedResource(generator, name_of(self._fn))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        bound: Callable[..., OwnedResource[T]] = self
        return self if instance is None else functools.partial(bound, instance)

    def __repr__(self) -> str:
        return f"resource factory {name_of(self._fn)!r}"


def resource(fn: Callable[P, AsyncGenerator[T, None] | AsyncIterator[T]]) -> ResourceFactory[P, T]:
    """Make an async generator function that yields once a factory of owned resources.

    What comes before the ``yield`` acquires, what comes after it releases: once, and however the block ends; there is
    no need for ``try`` and ``finally``. An error in the block is raised after that. Only a ``yield`` that stands inside
    a ``try`` or ``with`` raises it there, as ``contextlib.asynccontextmanager`` does: a transaction has to see it.

    Example::

        @resource
        async def database(url: str):
            connection = await connect(url)
            yield connection
            await connection.close()

        async with Scope() as scope:
            db = await scope.enter(database("..."))

    Args:
        fn: an async generator function.

    Raises:
        TypeError: *fn* is something else.
    """
    if not inspect.isasyncgenfunction(fn):
        raise TypeError(f"@resource takes an async generator function (async def with yield), got {fn!r}")
    return ResourceFactory(fn)


def as_generator_function(
    fn: Callable[P, AsyncGenerator[T, None] | AsyncIterator[T]],
) -> Callable[P, AsyncGenerator[T, None]]:
    """Return an async generator function like *fn*, whose clean-up runs also where an error is thrown into it."""

    @functools.wraps(fn)
    async def generate(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        async with OwnedResource(cast("AsyncGenerator[T, None]", fn(*args, **kwargs)), name_of(fn)) as value:
            yield value

    return generate


def _stops(error: BaseException) -> bool:
    return isinstance(error, (StopIteration, StopAsyncIteration))
