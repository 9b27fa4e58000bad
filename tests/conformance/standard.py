"""The tests that come with the running interpreter, borrowed: run on our classes in place of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import unittest
import warnings
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest

#: By the name of a test, why ours is right to fail it.
Exceptions = dict[str, str]


def borrow(name: str) -> ModuleType:
    """Return a copy of one of the interpreter's own test modules, in which names may be given another meaning.

    Skips the module that asks where the interpreter comes without its tests, as many distributions pack it.
    """
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.loader is None:
        pytest.skip(f"this Python comes without its own tests: no {name}", allow_module_level=True)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what it stands on
        spec.loader.exec_module(module)
    return module


def with_names(module: ModuleType, **names: Any) -> ModuleType:
    """Return a module that is like another, but for some names."""
    changed = ModuleType(module.__name__)
    vars(changed).update(vars(module) | names)
    return changed


def adopt(case: type, exceptions: Exceptions, **attributes: Any) -> type[unittest.TestCase]:
    """Return the tests of *case*, some of which have to fail: one that passes is no exception any more."""
    attributes["subTest"] = lambda *_, **__: contextlib.nullcontext()  # so that what fails is the test itself
    bases = (case,) if issubclass(case, unittest.TestCase) else (case, unittest.IsolatedAsyncioTestCase)
    for name, reason in exceptions.items():
        if hasattr(case, name):
            attributes[name] = pytest.mark.xfail(reason=reason, strict=True)(_copy(getattr(case, name)))
    return type(case.__name__, bases, attributes)


def _copy(function: FunctionType) -> Callable[..., Any]:
    """Return the same function as another object, because a mark stays on what it is put on."""
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    return functools.update_wrapper(copy, function)


def run_here(function: Callable[..., Any], *args: Any) -> Any:
    """Run an async function from a synchronous test; an error that it raises keeps its context."""
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(function(*args))
        loop.run_until_complete(asyncio.wait([task]))
        error = task.exception()
        if error is None:
            return task.result()
        context = error.__context__
        try:
            raise error
        finally:
            error.__context__ = context
    finally:
        loop.close()
