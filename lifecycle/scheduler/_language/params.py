"""Parameters of a flow: declared with a type, given by name, checked before anything runs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .._ground.limits import STRING_CHARACTERS
from .._ground.text import did_you_mean, listing, quote
from .expressions import references
from .problems import Message, Problems, ReportProblem
from .table import TableReader

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "path": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "table": (dict,),
}


@dataclass(frozen=True, slots=True)
class Param:
    """One declared parameter."""

    name: str
    type: str
    required: bool
    default: Any = None
    choices: tuple[Any, ...] = ()
    help: str = ""

    def problem(self, value: object) -> str | None:
        """Return what is wrong with *value* for this parameter, or None."""
        wrong_type = not isinstance(value, _TYPES[self.type]) or (isinstance(value, bool) and self.type != "boolean")
        if wrong_type:
            return f"expected {self.wanted()}, got {quote(value)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"expected a finite number, got {value}"
        if isinstance(value, int) and abs(value) >= 2**63:
            return "an integer of more than 64 bits"
        if isinstance(value, str) and len(value) > STRING_CHARACTERS:
            return f"a string of {len(value):,} characters, at most {STRING_CHARACTERS:,} are allowed"
        if self.choices and value not in self.choices:
            return f"expected one of {listing(map(str, self.choices))}, got {quote(value)}"
        return None

    def wanted(self) -> str:
        """Return what it takes, for an error message."""
        return f"an {self.type}" if self.type[0] in "aeiou" else f"a {self.type}"


def read_params(reader: TableReader, directory: Path) -> dict[str, Param]:
    """Return the parameters declared in the table *reader* reads (``[params]``).

    Args:
        reader: over the table of declarations.
        directory: what the relative default of a path is relative to.
    """
    return {name: _read_param(reader, name, directory) for name in reader.usable_names()}


def _read_param(reader: TableReader, name: str, directory: Path) -> Param:
    declared = reader.raw(name)
    if not isinstance(declared, dict):
        declared = {"default": declared}
    inner = TableReader(declared, reader.place(name), reader.problems)
    has_default = "default" in inner
    default = inner.raw("default")
    type_name = _read_type(inner, default, has_default)
    param = Param(
        name=name,
        type=type_name,
        required=inner.flag("required", not has_default),
        default=_default_path(default, directory) if type_name == "path" else default,
        choices=_read_choices(inner),
        help=inner.text("help"),
    )
    if has_default and param.required:
        inner.problem("required", "a parameter with a default cannot be required")
    if has_default and (message := param.problem(param.default)):
        inner.problem("default", message)
    inner.finish()
    return param


def _read_type(reader: TableReader, default: object, has_default: bool) -> str:
    if "type" not in reader and has_default:
        for name in ("boolean", "integer", "number", "string", "list", "table"):
            if isinstance(default, _TYPES[name]):
                return name
    return reader.choice("type", ("string", "path", "integer", "number", "boolean", "list", "table"))


def _read_choices(reader: TableReader) -> tuple[Any, ...]:
    value = reader.raw("choices", [])
    if not isinstance(value, list):
        reader.problem("choices", f"expected a list, got {quote(value)}")
        return ()
    return tuple(value)


def _default_path(default: object, directory: Path) -> object:
    if not isinstance(default, str) or not default:
        return default
    return str((directory / Path(default).expanduser()).absolute())


def bind_params(params: Mapping[str, Param], given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the value of every parameter, from what is given and the defaults.

    Args:
        params: the declarations.
        given: values by name.
        source: the flow file's name, for the errors.

    Raises:
        FlowError: a value is missing, of a wrong type or not declared.
    """
    values = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    problems = Problems(source)
    check_params(params, values, problems.add)
    problems.raise_if_any()
    return {name: values.get(name, param.default) for name, param in params.items()}


def check_params(
    params: Mapping[str, Param], given: Mapping[str, Any], report: ReportProblem, owner: str | None = None
) -> None:
    """Report what is wrong with values for parameters: one that is unknown, of a wrong type, or missing.

    Args:
        params: the declarations.
        given: values by name; one with an expression in it is not known yet and is not checked.
        report: called with the place and a message for each problem.
        owner: whose parameters they are, where that is another flow.
    """
    for name, value in given.items():
        if name not in params:
            report(f"params.{name}", unknown_param(name, params, owner))
        elif not any(references(value)) and (message := params[name].problem(value)):
            report(f"params.{name}", message)
    for name, param in params.items():
        if param.required and name not in given:
            report(f"params.{name}", f"{owner} requires a value" if owner else "a value is required")


def unknown_param(name: str, params: Mapping[str, Param], owner: str | None = None) -> Message:
    """Return the message for a parameter that is not declared."""

    def message() -> str:
        hint = did_you_mean(name, params) or f"; there are {listing(params)}"
        return f"unknown parameter{f' of {owner}' if owner else ''}{hint}"

    return message
