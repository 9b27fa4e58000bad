"""``@cached``: an async function whose results live in a registry, made once per key however many ask at once."""

from __future__ import annotations

import functools
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, Protocol, TypeVar, cast

from typing_extensions import ParamSpec

from .._ground import kernel
from .._ground.checks import checked_async
from .registry import Registry
from .statistics import RegistryStatistics

P = ParamSpec("P")
T = TypeVar("T")

_KEYWORDS = object()


def key_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
    """Return the key of a call: its arguments, keywords in any order."""
    if not kwargs:
        return args
    return (*args, _KEYWORDS, *sorted(kwargs.items(), key=lambda item: item[0]))


class CachedFunction(Generic[P, T]):
    """An async function with a registry of its results; made by `cached`.

    Each event loop has a registry of its own: a result is never handed to a loop that did not make it.
    """

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, T]],
        key: Callable[P, Hashable] | None,
        options: dict[str, Any],
    ) -> None:
        self._key = key
        self._options = options
        self._registries: dict[AbstractEventLoop, Registry[Hashable, T]] = {}
        functools.update_wrapper(cast("Callable[..., object]", self), function)
        self.__wrapped__ = function

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result for these arguments, made by the function where there is none.

        Cancellation: hurts no other caller; when the last one has left, the function is cancelled. See
        `Registry.get_or_create`.
        """
        key = key_of(args, kwargs) if self._key is None else self._key(*args, **kwargs)
        return await self.registry.get_or_create(key, lambda: self.__wrapped__(*args, **kwargs))

    @property
    def registry(self) -> Registry[Hashable, T]:
        """The registry of the running loop's results."""
        loop = kernel.running_loop()
        try:
            return self._registries[loop]
        except KeyError:
            self._forget_closed_loops()
        name = getattr(self.__wrapped__, "__qualname__", "cached function")
        registry = self._registries[loop] = Registry(name, **self._options)
        return registry

    def _forget_closed_loops(self) -> None:
        """Let go of results that can no longer be asked for; loops of other threads may come and go meanwhile."""
        for loop in list(self._registries):
            if loop.is_closed():
                self._registries.pop(loop, None)

    def discard(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments; return whether there was one."""
        return self.registry.discard(key_of(args, kwargs) if self._key is None else self._key(*args, **kwargs))

    async def clear(self) -> None:
        """Forget all results. See `Registry.clear`.

        Cancellation: as in `Registry.clear`.
        """
        await self.registry.clear()

    async def aclose(self) -> None:
        """Close the running loop's registry; the next call opens another. See `Registry.aclose`.

        Cancellation: as in `Registry.aclose`.
        """
        registry = self._registries.pop(kernel.running_loop(), None)
        if registry is not None:
            await registry.aclose()

    def statistics(self) -> RegistryStatistics:
        """Return what the running loop's registry has done and holds."""
        return self.registry.statistics()

    def __get__(self, instance: object, owner: type[object] | None = None) -> Any:
        """Bind to an instance, which becomes the first argument and thereby part of the key."""
        return self if instance is None else functools.partial(self, instance)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<cached {getattr(self.__wrapped__, '__qualname__', self.__wrapped__)!r}>"


class CachedDecorator(Protocol):
    """What `cached` returns. (A ``Callable`` of type variables that nothing but the function binds is lost on mypy.)"""

    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> CachedFunction[P, T]:
        """Return *fn* with a registry of its results."""


def cached(
    *,
    ttl: float | None = None,
    idle_ttl: float | None = None,
    max_size: int | None = 1024,
    key: Callable[..., Hashable] | None = None,
    failure_ttl: float | None = None,
    create_timeout: float | None = 60.0,
    clock: Callable[[], float] | None = None,
) -> CachedDecorator:
    """Keep the results of an async function, and run it once per key however many callers ask at once.

    Do not use it for results that need an end of their own, such as connections: that is a ``Registry`` with a
    finalizer and leases. On a method the instance is part of the key and lives as long as its results.

    Example::

        @cached(ttl=60.0)
        async def profile(user_id: int) -> dict:
            return await fetch(user_id)

    Args:
        ttl: seconds that a result lives, None for no bound.
        idle_ttl: seconds without a call after which it goes, None for no bound.
        max_size: how many results are kept; the least recently used go first. None for no bound.
        key: makes the key of a call from its arguments; by default the arguments themselves, which must be hashable.
        failure_ttl: seconds for which an error answers further calls; None, not at all: failures are not kept.
        create_timeout: seconds that the function may take, None for ever.
        clock: seconds that never go back; by default the loop's clock.

    The decorator raises ``TypeError`` for what is no async function.
    """
    options = {
        "ttl": ttl,
        "idle_ttl": idle_ttl,
        "max_size": max_size,
        "failure_ttl": failure_ttl,
        "create_timeout": create_timeout,
        "clock": clock,
    }

    def decorate(fn: Callable[P, Coroutine[Any, Any, T]], /) -> CachedFunction[P, T]:
        checked_async(fn, "@cached takes an async function")
        return CachedFunction(fn, key, options)

    return decorate
