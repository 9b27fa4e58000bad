"""The public faces: what they export, where it says it comes from, and what completion shows."""

from __future__ import annotations

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import lifecycle
from lifecycle._face import FACES

PACKAGE = Path(lifecycle.__file__).parent

EVERY = [(module, name) for module, homes in FACES.items() for names in homes.values() for name in names.split()]


@pytest.mark.parametrize(("module", "name"), EVERY, ids=".".join)
def test_a_public_name_is_loaded_from_its_home_and_shows_its_face(module: str, name: str) -> None:
    """Tracebacks, documentation and pickles speak of ``lifecycle.Scope``, not of the file in which it stands."""
    value = getattr(importlib.import_module(module), name)
    assert value.__module__ == module
    assert value.__name__ == name
    assert pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize("module", FACES)
def test_the_face_for_type_checkers_is_the_same(module: str) -> None:
    """The stub imports each name from the home that the table gives it."""
    path = PACKAGE / ("__init__" if module == "lifecycle" else module.partition(".")[2])
    imports = [
        (node.module, alias.name)
        for node in ast.parse(path.with_suffix(".pyi").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(imports) == sorted((home, name) for home, names in FACES[module].items() for name in names.split())


@pytest.mark.parametrize("module", FACES)
def test_completion_shows_public_names_only(module: str) -> None:
    """``dir`` of a face is what it exports, sorted."""
    face = importlib.import_module(module)
    assert dir(face) == face.__all__ == sorted(face.__all__)
    assert not [name for name in dir(face) if name.startswith("_")]


def test_no_name_is_on_two_faces() -> None:
    """Each public name has one place."""
    assert len({name for _, name in EVERY}) == len(EVERY)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As everywhere, so that ``hasattr`` and ``from lifecycle import ...`` answer as they should."""
    with pytest.raises(AttributeError, match="module 'lifecycle' has no attribute 'Skope'"):
        lifecycle.Skope  # type: ignore[attr-defined]
    assert not hasattr(lifecycle, "_face_of")


def test_what_comes_along_shows_its_face_as_well() -> None:
    """An error or a record that nobody has asked the face for, because something else returns it, says the same."""
    program = (
        "import asyncio, lifecycle\n"
        "async def main():\n"
        "    manager = lifecycle.TaskManager()\n"
        "    report = await manager.aclose()\n"
        "    try: manager.start_soon(main)\n"
        "    except Exception as error: print(type(report), type(error), type(manager.statistics()))\n"
        "asyncio.run(main())\n"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert told.stdout.split("> <") == [
        "<class 'lifecycle.DrainReport'",
        "class 'lifecycle.OwnerClosed'",
        "class 'lifecycle.types.TaskManagerStatistics'>\n",
    ]
