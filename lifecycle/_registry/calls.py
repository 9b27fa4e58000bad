"""Calls: the key of a call, the same however its arguments are spelled."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from .._ground.signatures import signature_of

_KEYWORDS = object()

Arguments = tuple[Any, ...]


class Spelling:
    """How the calls of one function are turned into keys.

    The arguments of a call that gives all of them by position are its key as they are; only others are bound to the
    signature, with the defaults of what is left out. A call that does not fit keeps its own spelling, for the function
    to refuse.

    Args:
        function: whose signature it is.
        typed: whether equal arguments of different types make different keys, as 1, 1.0 and True.
        skip: how many of the first parameters are bound already, as that of the instance.
    """

    __slots__ = ("_defaults", "_full", "_names", "_optional", "_typed", "_variable")

    def __init__(self, function: Callable[..., object], *, typed: bool, skip: int = 0) -> None:
        self._typed = typed
        self._names: list[str] | None = None  # of what may be given by position
        self._defaults: dict[str, Any] = {}
        self._optional: dict[str, Any] = {}  # what is given by keyword alone, and may be left out
        self._variable = False
        self._full = -1  # how many arguments make a call that needs no look at the signature
        signature = signature_of(function)
        if signature is None:
            return
        self._names = []
        for parameter in list(signature.parameters.values())[skip:]:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self._names.append(parameter.name)
                if parameter.default is not parameter.empty:
                    self._defaults[parameter.name] = parameter.default
            elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
                self._optional[parameter.name] = parameter.default
            elif parameter.kind is parameter.VAR_POSITIONAL:
                self._variable = True
        if not self._optional:
            self._full = len(self._names)

    def key_of(self, args: Arguments, kwargs: dict[str, Any]) -> Hashable:
        """Return the key of a call."""
        if kwargs or (len(args) != self._full and self._names is not None):
            args, kwargs = self._spelled_out(args, kwargs)
        key = args
        if kwargs:
            named = sorted(kwargs.items(), key=lambda item: item[0])
            key = (*args, _KEYWORDS, *named)
            args = (*args, *(value for _, value in named))
        return (key, tuple(map(type, args))) if self._typed else key

    def _spelled_out(self, args: Arguments, kwargs: dict[str, Any]) -> tuple[Arguments, dict[str, Any]]:
        """Return the arguments by position where they can be given so, with those that are left out."""
        if self._names is None or (len(args) > len(self._names) and not self._variable):
            return args, kwargs
        left = {**self._optional, **kwargs}
        filled = list(args)
        for name in self._names[len(args) :]:
            if name in left:
                filled.append(left.pop(name))
            elif name in self._defaults:
                filled.append(self._defaults[name])
            else:
                return args, kwargs  # what is missing must be said by the function
        return tuple(filled), left
