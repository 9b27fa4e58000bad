"""``@cached``: an async function whose results live in a registry, made once per key however many ask at once."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Hashable
from types import CodeType, MethodType
from typing import Any, Concatenate, Generic, Protocol, Self, TypeVar, cast, overload
from weakref import ref

from typing_extensions import ParamSpec

from .._ground.calls import name_of
from .._ground.checks import checked_async, checked_flag, checked_sync
from .._ground.foreign import in_words
from .calls import Spelling
from .lifetimes import Lifetime
from .results import Results, ResultsFace, check_options

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")


class PassesForAsync:
    """Something callable of which ``inspect.iscoroutinefunction`` says yes, and of its class no."""

    if sys.version_info < (3, 12):  # what looks like a function is asked for the flags of its code
        __defaults__ = __kwdefaults__ = None

        @property
        def __code__(self) -> CodeType:
            return CachedFunction.__call__.__code__


if sys.version_info >= (3, 12):
    for _name, _mark in vars(inspect.markcoroutinefunction(lambda: None)).items():
        setattr(PassesForAsync, _name, property(lambda _, mark=_mark: mark))


class CachedFunction(PassesForAsync, ResultsFace[T], Generic[P, T]):
    """An async function with a registry of its results; made by `cached`.

    Each event loop has a registry of its own: a result is never handed to a loop that did not make it. On an instance
    it is a `CachedMethod`.
    """

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, T]],
        key: Callable[P, Hashable] | None,
        options: dict[str, Any],
        *,
        typed: bool,
        ttl: Callable[[T], float | Lifetime | None] | None = None,
    ) -> None:
        functools.update_wrapper(cast("Callable[..., object]", self), function)
        self.__wrapped__ = function
        self._key = key
        self._ttl = ttl
        self._options = options
        self._spelling = Spelling(function, typed=typed)
        self._spelling_of_methods = Spelling(function, typed=typed, skip=1)
        self._own: Results[T] = Results(name_of(function), options)
        self._of_instances: dict[int, tuple[ref[object], Results[T]]] = {}
        self._class: type | None = None  # whose method it is

    def __set_name__(self, owner: type, name: str) -> None:
        if not isinstance(self.__wrapped__, staticmethod):
            self._class = owner

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result for these arguments, made by the function where there is none.

        Cancellation: hurts no other caller; when the last one has left, the function is cancelled. See
        `Registry.get_or_create`.
        """
        if self._class is not None and args and isinstance(args[0], self._class):
            return await self._method_of(args[0])(*args[1:], **kwargs)
        key = self._spelling.key_of(args, kwargs) if self._key is None else self._key(*args, **kwargs)
        return await self._own.registry.get_or_create(key, lambda: self.__wrapped__(*args, **kwargs), ttl=self._ttl)

    def discard(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments, also one that is being made; return whether there was one."""
        if self._class is not None and args and isinstance(args[0], self._class):
            return self._method_of(args[0]).discard(*args[1:], **kwargs)
        key = self._spelling.key_of(args, kwargs) if self._key is None else self._key(*args, **kwargs)
        return self._own.registry.discard(key)

    @property
    def _results(self) -> Results[T]:
        return self._own

    @overload
    def __get__(self, instance: None, owner: type[object] | None = None) -> Self: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], T], instance: S, owner: type[object] | None = None
    ) -> CachedMethod[Q, T]: ...
    def __get__(self, instance: Any, owner: type[object] | None = None) -> Any:
        """Return the method of an instance, which has results of its own unless there is a key function."""
        return self if instance is None or isinstance(self.__wrapped__, staticmethod) else self._method_of(instance)

    def _method_of(self, instance: object) -> CachedMethod[Any, T]:
        return CachedMethod(self, instance)

    def _results_of(self, instance: object) -> Results[T]:
        """Return the results of an instance, known by its identity, which are kept no longer than it is."""
        if self._key is not None:
            return self._own
        number = id(instance)
        known = self._of_instances.get(number)
        if known is not None and known[0]() is instance:
            return known[1]
        try:
            link = ref(instance, functools.partial(self._forget_instance, number))
        except TypeError:
            raise TypeError(
                f"{self!r} keeps the results of each instance as long as that lives, which {in_words(instance)} does "
                "not tell; add '__weakref__' to the __slots__ of its class, or give @cached a key"
            ) from None
        results: Results[T] = Results(name_of(self.__wrapped__), self._options)
        self._of_instances[number] = link, results
        return results

    def _forget_instance(self, number: int, link: ref[object]) -> None:
        known = self._of_instances.get(number)
        if known is not None and known[0] is link:
            del self._of_instances[number]
            known[1].let_go()

    def __repr__(self) -> str:
        return f"<cached {name_of(self.__wrapped__)!r}>"


class CachedMethod(PassesForAsync, ResultsFace[T], Generic[P, T]):
    """A cached function bound to an instance, whose results are kept for it and go with it."""

    def __init__(self, function: CachedFunction[Any, T], instance: object) -> None:
        self.__func__ = function
        self.__self__ = instance
        self.__wrapped__: Callable[P, Coroutine[Any, Any, T]] = MethodType(function.__wrapped__, instance)
        self.__doc__ = function.__doc__
        for name in ("__name__", "__qualname__", "__module__"):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the instance's result for these arguments, made by the function where there is none.

        Cancellation: as in `CachedFunction`.
        """
        registry, ttl = self._results.registry, self.__func__._ttl
        key = self._key_of(args, kwargs)
        return await registry.get_or_create(key, lambda: self.__wrapped__(*args, **kwargs), ttl=ttl)

    def discard(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the instance's result for these arguments; return whether there was one."""
        return self.registry.discard(self._key_of(args, kwargs))

    @property
    def _results(self) -> Results[T]:
        return self.__func__._results_of(self.__self__)

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        function = self.__func__
        if function._key is not None:
            return function._key(self.__self__, *args, **kwargs)
        return function._spelling_of_methods.key_of(args, kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CachedMethod) and self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((id(self.__func__), id(self.__self__)))

    def __repr__(self) -> str:
        return f"<cached {name_of(self.__func__.__wrapped__)!r} of {in_words(self.__self__)}>"


class CachedDecorator(Protocol):
    """What `cached` returns. (A ``Callable`` of type variables that nothing but the function binds is lost on mypy.)"""

    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> CachedFunction[P, T]:
        """Return *fn* with a registry of its results."""


def cached(
    *,
    ttl: float | Callable[[Any], float | Lifetime | None] | None = None,
    idle_ttl: float | None = None,
    max_size: int | None = 1024,
    key: Callable[..., Hashable] | None = None,
    failure_ttl: float | None = None,
    create_timeout: float | None = 60.0,
    clock: Callable[[], float] | None = None,
    typed: bool = False,
    ttl_jitter: float = 0.0,
    stale_ttl: float | None = None,
    stale_on_error: float | None = None,
) -> CachedDecorator:
    """Keep the results of an async function, and run it once per key however many callers ask at once.

    Do not use it for results that need an end of their own, such as connections: that is a ``Registry`` with a
    finalizer and leases. On a method each instance has results of its own, told by its identity, of which
    ``max_size`` are kept; they go with it, and ``instance.method.discard(...)`` and the others are for them.

    Example::

        @cached(ttl=60.0)
        async def profile(user_id: int) -> dict:
            return await fetch(user_id)

    Args:
        ttl: seconds that a result lives, None for no bound; or a function that is called once with each result and
            returns them, or a `Lifetime`. One with 0 or less goes to those who wait for it and is not kept; an error of
            the function is one of the call.
        idle_ttl: seconds without a call after which it goes, None for no bound.
        max_size: how many results are kept; the least recently used go first. None for no bound.
        key: makes the key of a call from its arguments, on a method with the instance as the first, and the results
            are then common to all instances. By default the arguments themselves, which must be hashable; however they
            are spelled, by position, by keyword or left out, they make the same key.
        failure_ttl: seconds for which an error answers further calls; None, not at all: failures are not kept.
        create_timeout: seconds that the function may take, None for ever.
        clock: seconds that never go back; by default the loop's clock.
        typed: whether equal arguments of different types have results of their own; without it ``f(1)``, ``f(1.0)`` and
            ``f(True)`` share one.
        ttl_jitter: by which part of *ttl* results end sooner at most, at random, so that not all are made anew at once.
        stale_ttl: seconds after *ttl* in which the old result is still returned, at once, while one call of the
            function in the background makes the new one; None, not at all.
        stale_on_error: seconds after *ttl* in which the old result is returned in place of an error of the function,
            which is logged; None, not at all.

    Raises:
        TypeError, ValueError: an argument is out of its range; the decorator: what it is given is no async function.
    """
    ttl_of = ttl if callable(ttl) else None
    if ttl_of is not None:
        checked_sync(ttl_of, "ttl", takes=1)
    if key is not None:
        checked_sync(key, "key")
    checked_flag(typed, "typed")
    options: dict[str, Any] = {
        "ttl": ttl if ttl_of is None else None,
        "idle_ttl": idle_ttl,
        "max_size": max_size,
        "failure_ttl": failure_ttl,
        "create_timeout": create_timeout,
        "clock": clock,
        "ttl_jitter": ttl_jitter,
        "stale_ttl": stale_ttl,
        "stale_on_error": stale_on_error,
    }

    check_options(**options)

    def decorate(fn: Callable[P, Coroutine[Any, Any, T]], /) -> CachedFunction[P, T]:
        checked_async(fn, "@cached takes an async function")
        return CachedFunction(fn, key, options, typed=typed, ttl=ttl_of)

    return decorate
