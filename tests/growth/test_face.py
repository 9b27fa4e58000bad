"""Every public operation has a row in `benchmarks.growth`."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Iterator
from enum import Enum
from types import CodeType, FunctionType
from typing import Any

import pytest

from benchmarks.growth_cases import CASES
from lifecycle._face import FACES

from .steps import functions_called

SIZE = 20

#: What of the syntax stands for an operation.
OPERATORS = {
    "__aenter__", "__aexit__", "__aiter__", "__anext__", "__await__", "__call__", "__contains__", "__enter__",
    "__exit__", "__iter__", "__len__",
}  # fmt: skip

#: Makes one thing, whose operations have rows, or says something of one.
OF_ONE_THING = {
    "background", "cached", "fixed_delay", "resource", "serve_unix", "TaskHandle.get_name",
    "dial_tls",  # as `dial_tcp`, which it begins with, but it wants a certificate
}  # fmt: skip


def operations() -> Iterator[tuple[str, CodeType]]:
    """Yield the name and the code of every public function, and of every public method that is ours."""
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            public = getattr(module, name)
            if not isinstance(public, type):
                yield name, inspect.unwrap(public).__code__
            elif not issubclass(public, (BaseException, Enum)) and not getattr(public, "_is_protocol", False):
                for method in dir(public):
                    code = code_of(inspect.getattr_static(public, method))
                    if (method[0] != "_" or method in OPERATORS) and code is not None:
                        yield f"{name}.{method}", code


def code_of(attribute: Any) -> CodeType | None:
    """Return the code of a method of ours, or of what sets a property; None for everything else."""
    function = attribute.fset if isinstance(attribute, property) else getattr(attribute, "__func__", attribute)
    function = inspect.unwrap(function) if callable(function) else None
    ours = isinstance(function, FunctionType) and function.__globals__["__name__"].startswith("lifecycle.")
    return function.__code__ if ours else None


@pytest.mark.slow
def test_every_public_operation_has_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """It is called in the lap of some case; what is not is named here, and why it needs none is said above."""
    caplog.set_level(logging.CRITICAL, "lifecycle")  # what fails on purpose
    every = dict(operations())
    called = functions_called(CASES.values(), SIZE)
    without = {name for name, code in every.items() if code not in called}
    assert len(every) > 150
    assert without == OF_ONE_THING
