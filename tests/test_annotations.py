"""What tools read at run time: the types of everything public, its signature, and its documentation.

Web frameworks, injectors, serializers and command line builders evaluate annotations as `typing` does: in the module of
a function, and in the module that a class says it is of.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pydoc
import typing
from collections.abc import Iterator
from types import FunctionType

import pytest

import lifecycle.testing
from lifecycle._face import FACES

FACED = (
    *FACES,
    "lifecycle.scheduler",
    "lifecycle.scheduler.control",
    "lifecycle.scheduler.errors",
    "lifecycle.scheduler.web",
    "lifecycle.testing",
    "lifecycle.testing.faults",
    "lifecycle.testing.machines",
    "lifecycle.testing.orders",
    "lifecycle.testing.types",
    "lifecycle.integrations.aiohttp",
    "lifecycle.integrations.starlette",
)


def public_things() -> Iterator[tuple[str, object]]:
    """Yield all public functions and classes of the package, with the names of their faces."""
    for module in FACED:
        face = importlib.import_module(module)
        for name in face.__all__:
            thing = getattr(face, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                yield f"{module}.{name}", thing


def functions_of(cls: type) -> Iterator[FunctionType]:
    """Yield all functions of a class that are ours: methods of every kind, and what is behind properties."""
    for base in cls.__mro__:
        for member in vars(base).values() if base.__module__.startswith("lifecycle") else ():
            if isinstance(member, staticmethod | classmethod):
                yield from of_this_package(member.__func__)
            elif isinstance(member, property):
                yield from of_this_package(member.fget, member.fset)
            elif isinstance(member, functools.cached_property):
                yield from of_this_package(member.func)
            else:
                yield from of_this_package(member)


def of_this_package(*candidates: object) -> Iterator[FunctionType]:
    """Yield those that are functions of ours: tools that make classes add functions of their own."""
    for function in candidates:
        if isinstance(function, FunctionType) and str(function.__globals__.get("__name__")).startswith("lifecycle"):
            yield function


PUBLIC = dict(public_things())
every_public_thing = pytest.mark.parametrize("thing", PUBLIC.values(), ids=PUBLIC)


@every_public_thing
def test_types_can_be_read_at_run_time(thing: object) -> None:
    """Of the thing itself, and of each method of a class."""
    if not (inspect.isclass(thing) and issubclass(thing, lifecycle.testing.machines.LoopMachine)):
        typing.get_type_hints(thing)  # those of a machine's base, which is hypothesis's, cannot be read
    if inspect.isclass(thing):
        for function in functions_of(thing):
            typing.get_type_hints(function)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.rpartition(".")[0] in FACES])
def test_no_annotation_of_a_class_depends_on_what_has_been_used(name: str) -> None:
    """As a text it is looked up in the face, which has other names than the home, and none before its first use."""
    thing = PUBLIC[name]
    for annotation in vars(thing).get("__annotations__", {}).values() if inspect.isclass(thing) else ():
        if isinstance(annotation, str):
            assert eval(annotation, {}, {thing.__name__: thing})  # of builtins, or of itself


@every_public_thing
def test_signature_and_documentation_can_be_read(thing: object) -> None:
    """The signature is the one that is documented, never that of a wrapper; ``help`` has something to show."""
    assert pydoc.render_doc(thing)
    if inspect.isroutine(thing):
        assert [*inspect.signature(thing).parameters] != ["args", "kwargs"]
