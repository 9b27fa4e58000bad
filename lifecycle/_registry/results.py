"""Results: the registries of a cached function's results, one for each event loop, and what can be done with them."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from .._ground import kernel
from .._ground.checks import checked_limit, checked_part, checked_sync, checked_timeout
from .registry import Registry
from .statistics import RegistryStatistics

T = TypeVar("T")


def check_options(
    *,
    ttl: float | None,
    idle_ttl: float | None,
    max_size: int | None,
    failure_ttl: float | None,
    create_timeout: float | None,
    clock: Callable[[], float] | None,
    ttl_jitter: float,
    stale_ttl: float | None,
    stale_on_error: float | None,
) -> None:
    """Check what registries will be made of, as they do: the first of them is made only at the first call.

    Raises:
        TypeError, ValueError: one of them is out of its range.
    """
    checked_timeout(ttl, "ttl")
    checked_timeout(idle_ttl, "idle_ttl")
    checked_limit(max_size, what="max_size")
    checked_timeout(failure_ttl, "failure_ttl")
    checked_timeout(create_timeout, "create_timeout")
    if clock is not None:
        checked_sync(clock, "clock", takes=0)
    checked_part(ttl_jitter, "ttl_jitter")
    checked_timeout(stale_ttl, "stale_ttl")
    checked_timeout(stale_on_error, "stale_on_error")


class Results(Generic[T]):
    """What a cached function has returned, or a cached method for one instance.

    Each event loop has a registry of its own: a result is never handed to a loop that did not make it.
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self._name = name
        self._options = options
        self._registries: dict[AbstractEventLoop, Registry[Hashable, T]] = {}

    @property
    def registry(self) -> Registry[Hashable, T]:
        """The registry of the running loop's results."""
        loop = kernel.running_loop()
        try:
            return self._registries[loop]
        except KeyError:
            self._forget_closed_loops()
        registry = self._registries[loop] = Registry(self._name, **self._options)
        return registry

    def _forget_closed_loops(self) -> None:
        """Let go of results that can no longer be asked for; loops of other threads may come and go meanwhile."""
        for loop in list(self._registries):
            if loop.is_closed():
                self._registries.pop(loop, None)

    async def aclose(self) -> None:
        """Close the running loop's registry; the next call opens another."""
        registry = self._registries.pop(kernel.running_loop(), None)
        if registry is not None:
            await registry.aclose()

    def let_go(self) -> None:
        """Let go of all results, of every loop, in its own time: nobody can ask for them any more."""
        registries, self._registries = self._registries, {}
        for loop, registry in registries.items():
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(registry._let_go)


class ResultsFace(Generic[T]):
    """What can be asked of a cached function and of a cached method alike."""

    @property
    def _results(self) -> Results[T]:
        raise NotImplementedError

    @property
    def registry(self) -> Registry[Hashable, T]:
        """The registry of the running loop's results."""
        return self._results.registry

    async def clear(self) -> None:
        """Forget all results, and those that are being made. See `Registry.clear`.

        Cancellation: as in `Registry.clear`.
        """
        await self.registry.clear()

    async def aclose(self) -> None:
        """Close the running loop's registry; the next call opens another. See `Registry.aclose`.

        Cancellation: as in `Registry.aclose`.
        """
        await self._results.aclose()

    def statistics(self) -> RegistryStatistics:
        """Return what the running loop's registry has done and holds."""
        return self.registry.statistics()
