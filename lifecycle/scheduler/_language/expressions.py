"""Expressions in flow values: ``${params.x}``, ``${blocks.scan.output.files[0]}``, ``${env:TOKEN}``.

Nothing is evaluated.

An expression is a name followed by keys and indexes into plain data. A string that is one single
expression becomes the value itself, with its type; inside a longer string the value is written as text.
``$${`` stands for a literal ``${``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .._ground.errors import ExpressionError
from .._ground.text import SecretText, listing, quote

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
SECRET: Final = "env:"
"""The root of an expression for a secret."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INDEX = re.compile(r"\[(-?\d{1,9})\]")
_KEY = re.compile(r"""\[("(?:[^"\\]|\\.)*"|'[^']*')\]""")


@dataclass(frozen=True, slots=True)
class Reference:
    """One expression: a root name, then keys (strings) and indexes (integers)."""

    root: str
    steps: tuple[str | int, ...]

    def __str__(self) -> str:
        if self.root == SECRET:
            return "${" + SECRET + str(self.steps[0]) + "}"
        return "${" + self.root + "".join(_step_text(step) for step in self.steps) + "}"


def _step_text(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _NAME.fullmatch(step) else f"[{json.dumps(step)}]"


@dataclass(frozen=True, slots=True)
class Template:
    """A string with expressions in it; ``whole`` when it is one expression and nothing else."""

    parts: tuple[str | Reference, ...]

    @property
    def whole(self) -> bool:
        """Whether the value keeps its type."""
        return len(self.parts) == 1


def parse_text(text: str) -> str | Template:
    """Return *text* as it is, or as a template when it holds expressions.

    Raises:
        ValueError: an expression is not well formed; the message says where.
    """
    parts: list[str | Reference] = []
    literal: list[str] = []
    position = 0
    while (start := text.find("$", position)) >= 0:
        literal.append(text[position:start])
        if text.startswith("$${", start):
            literal.append("${")
            position = start + 3
        elif text.startswith("${", start):
            if joined := "".join(literal):
                parts.append(joined)
            literal = []
            reference, position = _parse_reference(text, start)
            parts.append(reference)
        else:
            literal.append("$")
            position = start + 1
    literal.append(text[position:])
    if rest := "".join(literal):
        parts.append(rest)
    if any(isinstance(part, Reference) for part in parts):
        return Template(tuple(parts))
    return "".join(literal)


def _parse_reference(text: str, start: int) -> tuple[Reference, int]:
    if text.startswith(SECRET, start + 2):
        return _parse_secret(text, start + 2 + len(SECRET))
    root = _NAME.match(text, start + 2)
    if root is None:
        raise ValueError(f"expected a name after '${{' in {quote(text)}")
    steps: list[str | int] = []
    position = root.end()
    while not text.startswith("}", position):
        step, position = _parse_step(text, position)
        steps.append(step)
    return Reference(root.group(), tuple(steps)), position + 1


def _parse_secret(text: str, position: int) -> tuple[Reference, int]:
    name = _VARIABLE.match(text, position)
    if name is None or not text.startswith("}", name.end()):
        raise ValueError(f"expected the name of an environment variable and '}}' after '${{env:' in {quote(text)}")
    return Reference(SECRET, (name.group(),)), name.end() + 1


def _parse_step(text: str, position: int) -> tuple[str | int, int]:
    if text.startswith(".", position) and (name := _NAME.match(text, position + 1)):
        return name.group(), name.end()
    if index := _INDEX.match(text, position):
        return int(index.group(1)), index.end()
    if key := _KEY.match(text, position):
        return _unquote(key.group(1)), key.end()
    expected = "expected '.name', '[0]', '[\"key\"]' or '}'"
    raise ValueError(f"{expected} at character {position + 1} of {quote(text)}")


def _unquote(literal: str) -> str:
    if literal.startswith("'"):
        return literal[1:-1]
    try:
        return str(json.loads(literal))
    except ValueError:
        raise ValueError(f"the key {literal} is not a well formed string") from None


def compile_value(value: Any) -> Any:
    """Return *value* with each string in it parsed: templates where there are expressions.

    Raises:
        ValueError: an expression is not well formed.
    """
    if isinstance(value, str):
        return parse_text(value)
    if isinstance(value, list):
        return [compile_value(child) for child in value]
    if isinstance(value, dict):
        return {key: compile_value(child) for key, child in value.items()}
    return value


def quote_compiled(value: object) -> str:
    """Return a short form of a compiled value for an error message."""
    return "a text with an expression in it" if isinstance(value, Template) else quote(value)


def references(value: Any) -> Iterator[Reference]:
    """Yield each reference in a compiled value."""
    if isinstance(value, Template):
        yield from (part for part in value.parts if isinstance(part, Reference))
    elif isinstance(value, list):
        for child in value:
            yield from references(child)
    elif isinstance(value, dict):
        for child in value.values():
            yield from references(child)


def resolve(value: Any, names: Mapping[str, Any], secret: Callable[[str], str] | None = None) -> Any:
    """Return a compiled value with every reference replaced by what it names.

    Args:
        value: what ``compile_value`` returned.
        names: the root names and their plain data.
        secret: returns the secret of a name; without it there are none.

    Raises:
        ExpressionError: a key or an index is not there.
    """
    if isinstance(value, Template):
        if value.whole:
            return _look_up(value.parts[0], names, secret)
        texts = [part if isinstance(part, str) else as_text(_look_up(part, names, secret)) for part in value.parts]
        return SecretText("".join(texts)) if any(isinstance(text, SecretText) for text in texts) else "".join(texts)
    if isinstance(value, list):
        return [resolve(child, names, secret) for child in value]
    if isinstance(value, dict):
        return {key: resolve(child, names, secret) for key, child in value.items()}
    return value


def as_text(value: object) -> str:
    """Return *value* as it is written inside a longer string: text bare, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _look_up(part: str | Reference, names: Mapping[str, Any], secret: Callable[[str], str] | None) -> Any:
    assert isinstance(part, Reference)
    if part.root == SECRET and secret is not None:
        return secret(str(part.steps[0]))
    if part.root not in names:
        raise ExpressionError(f"{part}: there is no {part.root!r} here")
    value = names[part.root]
    for step in part.steps:
        value = _step_into(value, step, part)
    return value


def _step_into(value: Any, step: str | int, reference: Reference) -> Any:
    if isinstance(step, str):
        if not isinstance(value, Mapping):
            raise ExpressionError(f"{reference}: no key {step!r} in {quote(value)}")
        if step not in value:
            raise ExpressionError(f"{reference}: no key {step!r}; there are {listing(map(str, value))}")
        return value[step]
    if not isinstance(value, (list, tuple)):
        raise ExpressionError(f"{reference}: no index {step} in {quote(value)}")
    if not -len(value) <= step < len(value):
        raise ExpressionError(f"{reference}: no index {step} in a list of {len(value)}")
    return value[step]
