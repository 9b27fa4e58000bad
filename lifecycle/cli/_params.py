"""Parameters of a flow as ``--param NAME=VALUE`` gives them: texts, read by the type that the flow declares."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from ..scheduler import Flow
from ..scheduler._ground.text import quote
from ..scheduler._language.params import Param, unknown_param
from ..scheduler._language.problems import Problems

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def values_from_texts(flow: Flow, pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of parameters that texts like ``NAME=VALUE`` stand for, checked.

    Raises:
        FlowError: a text has no ``=``, a name comes twice or is unknown, or a value is wrong or missing.
    """
    problems = Problems(flow.source)
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            problems.add("", f"--param {quote(pair)}: expected NAME=VALUE")
        elif name in texts:
            problems.add(f"params.{name}", "given twice")
        else:
            texts[name] = text
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            values[name] = _value(flow.params[name], text)
        except KeyError:
            problems.add(f"params.{name}", unknown_param(name, flow.params))
        except ValueError as error:
            problems.add(f"params.{name}", str(error))
    for name, param in flow.params.items():
        if param.required and name not in texts:
            problems.add(f"params.{name}", f"a value is required: give --param {name}=...")
    problems.raise_if_any()
    flow.bind(values)
    return values


def _value(param: Param, text: str) -> Any:
    try:
        return _FROM_TEXT[param.type](text)
    except ValueError:
        raise ValueError(f"expected {param.wanted()}, got {quote(text)}") from None


def _boolean_from(text: str) -> bool:
    if text.lower() in (*_TRUE, *_FALSE):
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
