"""Signatures: whether a function can be called with what it will be given, as far as that can be seen before."""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress
from types import FunctionType, MethodType
from typing import Any

from .calls import name_of

if sys.version_info >= (3, 14):
    from annotationlib import Format


def check_takes(function: Any, number: int, what: str) -> None:
    """Check that *function* can be called with *number* arguments by position, as far as its signature tells.

    Raises:
        TypeError: it cannot.
    """
    if _plainly_takes(function, number):
        return
    signature = signature_of(function, follow_wrapped=False)  # what it decorates may be given other arguments
    if signature is None:
        return
    try:
        signature.bind(*range(number))
    except TypeError as error:
        shown = f"{name_of(function)}{signature.replace(return_annotation=inspect.Signature.empty)}"
        arguments = "1 argument" if number == 1 else f"{number} arguments"
        raise TypeError(f"{what} is called with {arguments}, which {shown} does not take ({error})") from None


def _plainly_takes(function: Any, number: int) -> bool:
    """Return whether a function of Python's can be called so; for those that can it costs a tenth of a signature."""
    if isinstance(function, MethodType):
        function, number = function.__func__, number + 1
    if not isinstance(function, FunctionType):
        return False
    code = function.__code__
    most = code.co_argcount
    optional = function.__defaults__ or ()
    by_keyword = function.__kwdefaults__ or ()
    enough = most - len(optional) <= number and len(by_keyword) == code.co_kwonlyargcount
    return enough and (number <= most or bool(code.co_flags & inspect.CO_VARARGS))


def check_call_without_arguments(function: object, claim: str) -> None:
    """Check that *function* can be called without arguments, as far as its signature tells.

    Raises:
        TypeError: it needs some.
    """
    signature = signature_of(function, follow_wrapped=False)  # what it decorates may be given arguments
    if signature is None:
        return
    try:
        signature.bind()
    except TypeError as error:
        name = name_of(function)
        shown = signature.replace(return_annotation=inspect.Signature.empty)
        raise TypeError(
            f"{claim}, and {name}{shown} needs some ({error}); give them with functools.partial({name}, ...)"
        ) from None


def signature_of(function: Any, *, follow_wrapped: bool = True) -> inspect.Signature | None:
    """Return the signature of *function*, or of what it says that it wraps; None where none can be seen."""
    with suppress(Exception):
        return inspect.signature(function, follow_wrapped=follow_wrapped)
    if sys.version_info >= (3, 14):  # whose annotations are evaluated only now, and may name what is not there
        with suppress(Exception):
            return inspect.signature(function, follow_wrapped=follow_wrapped, annotation_format=Format.STRING)
    return None
