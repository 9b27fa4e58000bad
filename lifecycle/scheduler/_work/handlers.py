"""Handlers: Python callables that flows and a durable store can name."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple, TypeVar

from .._ground.text import did_you_mean, is_storable, job_label, listing, quote
from .._language.expressions import Template

if sys.version_info >= (3, 14):
    from annotationlib import Format

F = TypeVar("F", bound=Callable[..., Any])
_MARK: Final = "__lifecycle_handler__"
_SIMPLE: Final[dict[Any, tuple[type, ...]]] = {
    str: (str,),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    list: (list,),
    dict: (dict,),
}


@dataclass(frozen=True, slots=True)
class Handler:
    """A callable with a name, and what has to be known to call it.

    Attributes:
        name: what flows call it.
        function: the callable.
        is_async: whether it runs in the loop; otherwise it runs in a worker thread.
        wants_context: whether it has a parameter ``context``.
        parameters: its signature, None when it has none that can be read.
        hints: its annotations, as far as they can be resolved.
        simple: for each position the types that a value may have (none for any), when all parameters are positional
            and have no default; else None.
        label: the name as the name of a job.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    wants_context: bool
    parameters: inspect.Signature | None
    hints: Mapping[str, Any] = field(default_factory=dict)
    simple: tuple[tuple[type, ...], ...] | None = None
    label: str = ""

    def __str__(self) -> str:
        return f"handler {self.name!r}"

    def problem_of_values(self, args: tuple[Any, ...]) -> str | None:
        """Return why these positional arguments, none of them an expression, do not fit, or None."""
        simple = self.simple
        if simple is not None and len(simple) == len(args):
            for types, value in zip(simple, args, strict=True):
                if types and type(value) not in types:
                    break
            else:
                return None
        return self.problem(list(args), {})

    def problem(self, args: list[Any], kwargs: dict[str, Any]) -> str | None:
        """Return why these compiled arguments do not fit the signature, or None."""
        if "context" in kwargs and self.wants_context:
            return "the argument 'context' is given by the scheduler"
        if self.parameters is None:
            return None
        given = {"context": None} if self.wants_context else {}
        try:
            bound = self.parameters.bind(*args, **kwargs, **given)  # as it will be called
        except TypeError as error:
            if self.wants_context and self._binds_without_context(args, kwargs):
                return (
                    f"handler {self.name!r}{self.parameters}: its parameter 'context', which the scheduler gives by"
                    " name, has to stand behind those that are given by position, or behind a *"
                )
            return f"handler {self.name!r}{self.parameters}: {error}{self._hint(kwargs)}"
        for name, value in bound.arguments.items():
            if not _accepts(self.hints.get(name), value):
                expected = getattr(self.hints[name], "__name__", self.hints[name])
                return f"handler {self.name!r}: argument {name!r}: expected {expected}, got {quote(value)}"
        return None

    def _binds_without_context(self, args: list[Any], kwargs: dict[str, Any]) -> bool:
        assert self.parameters is not None
        others = [p for p in self.parameters.parameters.values() if p.name != "context"]
        try:
            self.parameters.replace(parameters=others).bind(*args, **kwargs)
        except (TypeError, ValueError):
            return False
        return True

    def _hint(self, kwargs: dict[str, Any]) -> str:
        assert self.parameters is not None
        known = [name for name in self.parameters.parameters if name != "context" or not self.wants_context]
        unknown = [name for name in kwargs if name not in known]
        return did_you_mean(unknown[0], known) if unknown else ""


def _accepts(hint: Any, value: Any) -> bool:
    """Return whether a literal can be meant for *hint*; what is not surely wrong is accepted."""
    if isinstance(value, Template):
        return value.whole or hint not in (int, float, bool, list, dict)
    expected = _SIMPLE.get(typing.get_origin(hint) or hint)
    if expected is None:
        return True
    if isinstance(value, bool):
        return bool in expected
    return isinstance(value, expected)


def make_handler(function: Callable[..., Any], name: str | None = None) -> Handler:
    """Return *function* described as a handler, named as it is marked or called."""
    shape = _shape_of(function)
    label = name or name_of(function)
    return Handler(label, function, *shape, label=job_label(label))


class _Shape(NamedTuple):
    """What has to be known of a function to call it; it does not keep the function."""

    is_async: bool
    wants_context: bool
    parameters: inspect.Signature | None
    hints: Mapping[str, Any]
    simple: tuple[tuple[type, ...], ...] | None


_SHAPE: Final = "__lifecycle_shape__"


def _shape_of(function: Callable[..., Any]) -> _Shape:
    """Return the shape of a function: from the function itself, where it was left when it was looked at before."""
    if type(function) is not FunctionType:
        return _inspect(function)
    known: tuple[CodeType, _Shape] | None = function.__dict__.get(_SHAPE)
    if known is None or known[0] is not function.__code__:  # functools.wraps copies that of another function
        known = function.__dict__[_SHAPE] = function.__code__, _inspect(function)
    return known[1]


def _inspect(function: Callable[..., Any]) -> _Shape:
    signature = _signature(function)
    wants_context = signature is not None and "context" in signature.parameters
    hints = _hints(function)
    return _Shape(is_async(function), wants_context, signature, hints, _simple_positions(signature, hints))


def _simple_positions(
    signature: inspect.Signature | None, hints: Mapping[str, Any]
) -> tuple[tuple[type, ...], ...] | None:
    """Return the types that each position may have, when there is nothing but positions to fill."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(signature.parameters.values()) if signature else []
    if parameters and parameters[-1].name == "context" and parameters[-1].kind is not inspect.Parameter.POSITIONAL_ONLY:
        parameters.pop()  # given by name, behind the others
    if (
        signature is None
        or any(p.name == "context" for p in parameters)
        or any(p.kind not in positional or p.default is not p.empty for p in parameters)
    ):
        return None
    return tuple(_SIMPLE.get(typing.get_origin(hints.get(p.name)) or hints.get(p.name), ()) for p in parameters)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name that *function* is marked with, or else what Python calls it."""
    mark = getattr(function, _MARK, None)
    if isinstance(mark, str):
        return mark
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling *function* returns a coroutine, also through ``partial`` and ``__call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(type(function), "__call__", None)  # noqa: B004 (asked for its kind; a class's own makes instances)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    with contextlib.suppress(Exception):
        return inspect.signature(function)
    if sys.version_info >= (3, 14):  # whose annotations are evaluated only now, and may name what is not there
        with contextlib.suppress(Exception):
            return inspect.signature(function, annotation_format=Format.STRING)
    return None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be resolved does not make the handler unusable
        return {}


class HandlerTable:
    """Handlers by name."""

    def __init__(self, handlers: Mapping[str, Handler] | None = None) -> None:
        self._handlers = dict(handlers or {})

    def __contains__(self, name: object) -> bool:
        return name in self._handlers

    def __len__(self) -> int:
        return len(self._handlers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def get(self, name: str) -> Handler | None:
        """Return the handler of this name, or None."""
        return self._handlers.get(name)

    def add(self, handler: Handler) -> None:
        """Add a handler.

        Raises:
            ValueError: the name is already another callable's.
        """
        known = self._handlers.get(handler.name)
        if known is not None and _identity(known.function) != _identity(handler.function):
            where = _identity(known.function)
            raise ValueError(f"the handler name {handler.name!r} is already taken by {'.'.join(where)}")
        self._handlers[handler.name] = handler

    def merged(self, other: HandlerTable) -> HandlerTable:
        """Return a table with both; a name in *other* wins."""
        return HandlerTable({**self._handlers, **other._handlers})

    def unknown(self, name: str) -> str:
        """Return the message for a name that is not here."""
        hint = did_you_mean(name, self._handlers)
        return f"unknown handler {quote(name)}{hint}; known handlers: {listing(self._handlers)}"


def _identity(function: Callable[..., Any]) -> tuple[str, str]:
    return getattr(function, "__module__", "?") or "?", getattr(function, "__qualname__", repr(function))


_registered = HandlerTable()
_collecting: ContextVar[HandlerTable | None] = ContextVar("lifecycle_scheduler_collecting", default=None)


def registered_handlers() -> HandlerTable:
    """Return the handlers that ``@handler`` has registered in this process."""
    return _registered


@contextlib.contextmanager
def collecting(table: HandlerTable) -> Iterator[None]:
    """Let ``@handler`` register in *table* meanwhile: two flows may use one name for two callables."""
    token = _collecting.set(table)
    try:
        yield
    finally:
        _collecting.reset(token)


def handler(name: str) -> Callable[[F], F]:
    """Register a callable under a name that flows and a durable store can use.

    An ``async def`` runs in the event loop. A plain function runs in a worker thread. A parameter called
    ``context`` is given the job's context (log, progress, whether the job is being stopped).

    Args:
        name: the name, unique in the process (for a flow's own handler module: in that module).

    Raises:
        TypeError: the name is not a string, or what it marks is not callable.
        ValueError: the name is empty, has no form in UTF-8 or a NUL character, or is already another callable's.
    """
    if not isinstance(name, str):
        raise TypeError(f"a handler's name is a string, got {quote(name)}; write @handler(NAME)")
    if not name.strip():
        raise ValueError(f"a handler's name is a string that is not empty, got {quote(name)}")
    if not is_storable(name):
        raise ValueError(f"a handler's name is text that has a form in UTF-8, got {quote(name)}")
    if "\0" in name:
        raise ValueError(
            f"a handler's name has no NUL character in it, which not every store can keep, got {quote(name)}"
        )

    def register(function: F) -> F:
        if not callable(function):
            raise TypeError(f"handler {name!r} must be callable, got {quote(function)}")
        with contextlib.suppress(AttributeError, TypeError):  # a partial or a builtin takes no mark
            setattr(function, _MARK, name)
        table = _collecting.get()
        (_registered if table is None else table).add(make_handler(function, name))
        return function

    return register


def marked_in(namespace: Mapping[str, Any]) -> HandlerTable:
    """Return the handlers marked in a module's namespace, also when it was imported long ago."""
    table = HandlerTable()
    for value in list(namespace.values()):
        name = getattr(value, "__dict__", {}).get(_MARK) if callable(value) else None
        if isinstance(name, str):
            table.add(make_handler(value, name))
    return table
