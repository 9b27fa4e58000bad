"""The public faces: what they export, where it says it comes from, and what completion shows."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pickle
import shutil
import subprocess
import sys
import typing
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
    stub = ast.parse(path.with_suffix(".pyi").read_text(encoding="utf-8")).body
    imports = [(node.module, alias.name) for node in stub if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imports) == sorted((home, name) for home, names in FACES[module].items() for name in names.split())
    (exported,) = (node.value for node in stub if isinstance(node, ast.Assign))  # what `import *` brings
    assert ast.literal_eval(exported) == importlib.import_module(module).__all__


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


def test_tools_that_freeze_programs_find_every_home() -> None:
    """They follow import statements alone: ``lifecycle/__init__.py`` has one for each home, and never makes it."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (never_called,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    found = [
        f"{node.module}.{alias.name}" if node.module else alias.name
        for node in never_called.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(found) == sorted({home for homes in FACES.values() for home in homes})


PUBLIC = (*FACES, "lifecycle.scheduler", "lifecycle.testing", "lifecycle.testing.types")
CLASSES = [
    pytest.param(value, id=f"{module}.{name}")
    for module in (*PUBLIC, "lifecycle.scheduler.control", "lifecycle.scheduler.web", "lifecycle.testing.machines")
    for name in importlib.import_module(module).__all__
    if inspect.isclass(value := getattr(importlib.import_module(module), name))
]


@pytest.mark.parametrize("public", CLASSES)
def test_no_wrong_source_is_shown_for_a_public_class(public: type) -> None:
    """`inspect` finds a class by its module, which is the face: it says that there is none, or has the right one."""
    try:
        source = inspect.getsource(public)
    except OSError:
        pass
    else:
        assert f"class {public.__name__}" in source.split(":")[0]
    for name, member in vars(public).items():
        written = inspect.isfunction(member) and "lifecycle" in member.__code__.co_filename
        if written and not name.startswith("__annotate"):  # that one is the compiler's, since 3.14
            assert f"def {member.__code__.co_name}(" in inspect.getsource(member), name


RECORDS = [
    (module, name)
    for module in PUBLIC
    for name in importlib.import_module(module).__all__
    if dataclasses.is_dataclass(getattr(importlib.import_module(module), name))
]


@pytest.mark.parametrize(("module", "name"), RECORDS)
def test_the_fields_of_a_public_record_say_their_types(module: str, name: str) -> None:
    """Serializers and web frameworks ask for them, and look a text up in the face, where the home's names are not."""
    record = getattr(importlib.import_module(module), name)
    hints = typing.get_type_hints(record, globalns={}, localns={name: record})
    assert hints.keys() >= {field.name for field in dataclasses.fields(record)}


def run_program(program: str, *, path: Path | None = None) -> str:
    """Return what a program prints that finds packages in *path* before all others."""
    args = [sys.executable, "-c", program, str(path or PACKAGE.parent)]
    ended = subprocess.run(args, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_copy_inside_of_another_package_works(tmp_path: Path) -> None:
    """A program may bring its own: names say where they are found, and pickles come back."""
    for package in (tmp_path / "shop", tmp_path / "shop" / "vendored"):
        package.mkdir()
        (package / "__init__.py").touch()
    leave = shutil.ignore_patterns("__pycache__", "scheduler", "testing", "cli", "integrations")
    shutil.copytree(PACKAGE, tmp_path / "shop" / "vendored" / "lifecycle", ignore=leave)
    program = (
        "import pickle, sys; sys.path.insert(0, sys.argv[1])\n"
        "from shop.vendored import lifecycle\n"
        "from shop.vendored.lifecycle import hooks, types\n"
        "for face in (lifecycle, hooks, types):\n"
        "    for name in face.__all__: assert pickle.loads(pickle.dumps(getattr(face, name))) is getattr(face, name)\n"
        "print(lifecycle.Scope, types.Loan, 'lifecycle' in sys.modules)\n"
    )
    scope, loan = "shop.vendored.lifecycle.Scope", "shop.vendored.lifecycle.types.Loan"
    assert run_program(program, path=tmp_path) == f"<class '{scope}'> <class '{loan}'> False\n"


def test_threads_may_load_names_at_once() -> None:
    """Also the first names of a process, while another thread is in the middle of an import."""
    program = (
        "import sys, threading, lifecycle; sys.setswitchinterval(1e-6)\n"
        "together = threading.Barrier(16); failures = []\n"
        "def load(first):\n"
        "    together.wait()\n"
        "    try: [getattr(lifecycle, name) for name in lifecycle.__all__[first:] + lifecycle.__all__[:first]]\n"
        "    except Exception as failure: failures.append(failure)\n"
        "threads = [threading.Thread(target=load, args=(3 * n,)) for n in range(16)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(failures, {getattr(lifecycle, name).__module__ for name in lifecycle.__all__})\n"
    )
    assert run_program(program) == "[] {'lifecycle'}\n"
