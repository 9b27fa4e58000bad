"""What `import lifecycle` loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lifecycle

from .tracked import core_modules

PACKAGE = Path(lifecycle.__file__).parent

#: The face and the core.
CORE = [path.removeprefix("lifecycle/") for path in core_modules() if path != "lifecycle/__main__.py"]

#: What the core may stand on besides the standard library; anyio itself may bring in what it depends on.
FOUNDATION = {"anyio", "typing_extensions"}

#: Optional, imported in the function that needs it.
OPTIONAL = {"_timers/cron_syntax.py": {"cronsim"}, "_ground/loop.py": {"uvloop"}}

_LOADED = """
import sys
import {0}
print(*{{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names))
"""


def loaded_by(module: str) -> set[str]:
    """Return the top-level modules, other than the standard library's, that importing *module* loads."""
    # Isolated, and without the environment's start-up files, which may load what they like.
    command = [sys.executable, "-I", "-c", _LOADED.format(module)]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())


#: Modules of the standard library that came after 3.11.
NEWER = {"annotationlib"}


def imports_of(path: Path) -> set[str]:
    """Return the top-level modules that the imports of a file name, wherever in the file they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_the_import_loads_nothing_but_its_foundation() -> None:
    """In a fresh interpreter `import lifecycle` loads anyio, typing-extensions and the standard library."""
    start_up = loaded_by("sys")
    anyio_with_what_it_needs = loaded_by("anyio._backends._asyncio")
    assert loaded_by("lifecycle") - start_up - anyio_with_what_it_needs <= FOUNDATION | {"lifecycle"}
    assert "lifecycle" in loaded_by("lifecycle")


@pytest.mark.parametrize("room", ["testing", "scheduler", "integrations", "cli"])
def test_the_import_loads_no_optional_room(room: str) -> None:
    """The rooms above the core stay unloaded until somebody asks for them."""
    command = [sys.executable, "-I", "-c", f"import lifecycle, sys; sys.exit('lifecycle.{room}' in sys.modules)"]
    assert subprocess.run(command, timeout=60).returncode == 0


@pytest.mark.parametrize("name", CORE)
def test_a_module_of_the_core_imports_its_foundation_only(name: str) -> None:
    """No import anywhere in the core names a library that is not its foundation."""
    foreign = imports_of(PACKAGE / name) - set(sys.stdlib_module_names) - NEWER - {"__future__"}
    assert foreign <= FOUNDATION | OPTIONAL.get(name, set())


def test_the_core_is_found() -> None:
    """The list above is not empty by mistake: each room of the core is in it."""
    assert {"__init__.py", "_run/run.py", "_ground/kernel.py", "_timers/cron.py", "_scope/scope.py"} <= set(CORE)
