"""The examples in the docstrings of the public face run."""

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lifecycle import run

from .evaluation import opened
from .markdown import Block
from .stand_ins import UNDER_RUN, WORLD

FACES = ("lifecycle", "lifecycle.types", "lifecycle.hooks", "lifecycle.testing", "lifecycle.scheduler")

_EXAMPLE = re.compile(r"^Examples?::?\n((?:[ ]+.*\n|\n)+)", flags=re.MULTILINE)


def documented(face: ModuleType) -> Iterator[tuple[str, object]]:
    """Return each public class and function of a module, and each public member of a class, under its full name."""
    for name in face.__all__:
        thing = getattr(face, name)
        if inspect.isroutine(thing) or inspect.isclass(thing):
            yield f"{face.__name__}.{name}", thing
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_"):
                    yield f"{face.__name__}.{name}.{member}", value


def examples() -> Iterator[tuple[str, str]]:
    """Return each example with the name of what it explains."""
    for face in FACES:
        for name, thing in documented(importlib.import_module(face)):
            documentation = (inspect.getdoc(thing) or "") + "\n"
            for found in _EXAMPLE.findall(documentation):
                yield name, textwrap.dedent(found).strip() + "\n"


@pytest.mark.parametrize(("name", "text"), [pytest.param(*example, id=example[0]) for example in examples()])
def test_the_example_of_a_docstring_runs(name: str, text: str, tmp_path: Path) -> None:
    """What a docstring shows runs as it stands, with stand-ins for what it leaves out, and leaves no task behind."""
    with opened(tmp_path) as document:
        for face in FACES:
            module = importlib.import_module(face)
            document.namespace.update((public, getattr(module, public)) for public in module.__all__)
        document.namespace.update(WORLD.get(name, {}))
        block = Block(Path(f"<the docstring of {name}>"), "python", None, 1, text)
        document.run_python(block, under=run if name in UNDER_RUN else None)


def test_there_are_examples() -> None:
    """The search for examples finds those of the two owners, so it would find others."""
    assert {"lifecycle.Scope", "lifecycle.TaskManager"} <= {name for name, _ in examples()}


def test_every_awaitable_says_what_a_cancellation_does() -> None:
    """Each public coroutine function has the paragraph, wherever the method is inherited from in this package."""
    silent = set()
    for face in map(importlib.import_module, FACES):
        for name, thing in documented(face):
            members = inspect.getmembers(thing, inspect.iscoroutinefunction) if inspect.isclass(thing) else []
            public = [(f"{name}.{member}", value) for member, value in members if not member.startswith("_")]
            if inspect.iscoroutinefunction(thing):
                public.append((name, thing))
            silent |= {label for label, value in public if "Cancellation:" not in (inspect.getdoc(value) or "")}
    assert not silent


@pytest.mark.parametrize("name", ["__await__", "__aenter__", "__aexit__", "__anext__"])
def test_what_is_awaited_by_syntax_says_it_too(name: str) -> None:
    """``await``, ``async with``, ``async for``: each of our methods has the paragraph, or says that it never waits."""
    silent, seen = set(), 0
    for face in map(importlib.import_module, [*FACES, "lifecycle.scheduler.control", "lifecycle.scheduler.web"]):
        for public in filter(inspect.isclass, (getattr(face, exported) for exported in face.__all__)):
            method = getattr(public, name, None)
            if inspect.isfunction(method) and method.__module__.startswith("lifecycle"):
                seen += 1
                said = inspect.getdoc(method) or ""
                if not ("Cancellation:" in said or "does not suspend" in said or "never suspends" in said):
                    silent.add(f"{public.__module__}.{method.__qualname__}")
    assert seen
    assert not silent
