"""Parameters of a flow: declared with a type, given by name, checked before anything runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .._ground.limits import STRING_CHARACTERS
from .._ground.text import did_you_mean, listing, quote
from .problems import Problems
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
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


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
            return f"expected {_article(self.type)}, got {quote(value)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"expected a finite number, got {value}"
        if isinstance(value, int) and abs(value) >= 2**63:
            return "an integer of more than 64 bits"
        if isinstance(value, str) and len(value) > STRING_CHARACTERS:
            return f"a string of {len(value):,} characters, at most {STRING_CHARACTERS:,} are allowed"
        if self.choices and value not in self.choices:
            return f"expected one of {listing(map(str, self.choices))}, got {quote(value)}"
        return None

    def from_text(self, text: str) -> Any:
        """Return the value that *text* on a command line stands for.

        Raises:
            ValueError: it stands for none of this parameter's type.
        """
        try:
            return _FROM_TEXT[self.type](text)
        except ValueError:
            raise ValueError(f"expected {_article(self.type)}, got {quote(text)}") from None


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _boolean_from(text: str) -> bool:
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise ValueError


def _path_from(text: str) -> str:
    return str(Path(text).expanduser().absolute()) if text else ""


def _json_from(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError from None


_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "string": str,
    "path": _path_from,
    "integer": int,
    "number": float,
    "boolean": _boolean_from,
    "list": _json_from,
    "table": _json_from,
}


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
    problems = Problems(source)
    for name in given:
        if name not in params:
            hint = did_you_mean(name, params) or f"; there are {listing(params)}"
            problems.add(f"params.{name}", f"unknown parameter{hint}")
    bound = {name: _bind(param, given, problems) for name, param in params.items()}
    problems.raise_if_any()
    return bound


def _bind(param: Param, given: Mapping[str, Any], problems: Problems) -> Any:
    if param.name not in given:
        if param.required:
            problems.add(f"params.{param.name}", f"a value is required: give --param {param.name}=...")
        return param.default
    value = given[param.name]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if message := param.problem(value):
        problems.add(f"params.{param.name}", message)
    return value


def params_from_text(params: Mapping[str, Param], pairs: list[str], source: str) -> dict[str, Any]:
    """Return the values that ``NAME=VALUE`` texts of a command line stand for.

    Raises:
        FlowError: a text has no ``=``, a name twice, or a value that is none of its parameter's type.
    """
    problems = Problems(source)
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            problems.add("", f"--param {quote(pair)}: expected NAME=VALUE")
        elif name in given:
            problems.add(f"params.{name}", "given twice")
        else:
            given[name] = _value_from(params.get(name), name, text, problems)
    problems.raise_if_any()
    return given


def _value_from(param: Param | None, name: str, text: str, problems: Problems) -> Any:
    if param is None:
        return text  # bind_params tells that nobody declared it
    try:
        return param.from_text(text)
    except ValueError as error:
        problems.add(f"params.{name}", str(error))
        return None
