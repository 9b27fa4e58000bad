"""Finding the module that holds a flow's handlers: a file next to the flow, or a dotted name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from .._ground.text import shorten
from .handlers import HandlerTable, collecting, marked_in


class HandlerModuleError(ValueError):
    """A handler module could not be loaded; the message is one line."""


def load_handlers(module: str, directory: Path) -> HandlerTable:
    """Return the handlers of *module*.

    Args:
        module: a path that ends in ``.py``, relative to *directory*, or a dotted module name; of a package its
            modules count that it imports.
        directory: the flow's directory.

    Raises:
        HandlerModuleError: there is no such module, it failed when it was loaded, or holds no handler.
    """
    table = _from_file(directory / module) if module.endswith(".py") else _from_name(module)
    if not len(table):
        raise HandlerModuleError(f"{shorten(module, 100)} holds no handler; mark functions with @handler(NAME)")
    return table


def _from_file(path: Path) -> HandlerTable:
    if not path.is_file():
        raise HandlerModuleError(f"there is no file {shorten(str(path), 200)}")
    resolved = path.resolve()
    # The name must differ between two flows' handlers.py, and be the same again for pickle and tracebacks.
    name = f"_lifecycle_handlers_{resolved.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise HandlerModuleError(f"{path.name} cannot be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up while it is being run
    table = HandlerTable()
    try:
        with collecting(table):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise HandlerModuleError(_failure(path.name, error)) from error
    return table.merged(_marked(module))


def _from_name(name: str) -> HandlerTable:
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (name, name.split(".")[0]):
            hint = "a file's name ends in .py" if "/" in name or Path(name).is_file() else "is it installed?"
            raise HandlerModuleError(f"there is no module {shorten(name, 200)}; {hint}") from error
        raise HandlerModuleError(_failure(name, error)) from error
    table = _marked(module)
    for inner, loaded in sorted(sys.modules.items()):  # of a package also those that it has imported
        if inner.startswith(f"{name}.") and isinstance(loaded, ModuleType):
            table = table.merged(_marked(loaded))
    return table


def _marked(module: ModuleType) -> HandlerTable:
    try:
        return marked_in(vars(module))
    except ValueError as error:
        raise HandlerModuleError(str(error)) from None


def _failure(name: str, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    line = f" line {frames[-1].lineno} of {Path(frames[-1].filename).name}:" if frames else ""
    return f"{name} could not be loaded:{line} {type(error).__name__}: {error}"
