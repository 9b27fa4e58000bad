"""The official schemas, compiled once to functions: what is wrong with an object, and how lists of it are merged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Problem(NamedTuple):
    """One thing that is wrong.

    Args:
        kind: "unknown" field, wrong "type", "required" field that is not there, or a word that is not in the "enum".
        path: where.
        value: what stands there.
        wanted: what should.
    """

    kind: str
    path: str
    value: object
    wanted: Any


Check = Callable[[object, str], Iterator[Problem]]
PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "object": dict,
    "array": list,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
#: What a schema may say besides; anything else is an error here, or it would be passed over in silence.
PASSED_OVER = {"description", "format", "title", "$schema", "$id", "default"}


BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")


def amount(check: Check) -> Check:
    """Return a check that wants a number with a unit."""

    def checked(value: object, path: str) -> Iterator[Problem]:
        yield from check(value, path)
        if isinstance(value, str) and not QUANTITY.fullmatch(value):
            yield Problem("type", path, value, "a quantity")

    return checked


def is_of(value: object, word: str) -> bool:
    """Return whether JSON would call it that."""
    return isinstance(value, PYTHON[word]) and not (isinstance(value, bool) and word in ("integer", "number"))


class Schemas:
    """The schemas of one release.

    Args:
        release: such as "1.32.0".
    """

    def __init__(self, release: str) -> None:
        place = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{release}-local-strict"
        self._definitions: dict[str, Schema] = json.loads((place / "_definitions.json").read_text())["$defs"]
        self._kinds: dict[tuple[str, str], str] = {}
        for name, schema in self._definitions.items():
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
                self._kinds.setdefault((version, kind["kind"]), name)
        self._checks: dict[str, Check] = {}

    def schema(self, api_version: str, kind: str) -> Schema:
        """Return the schema of a kind."""
        return self._definitions[self._kinds[api_version, kind]]

    def resolved(self, schema: Schema) -> Schema:
        """Return what a schema stands for."""
        return self._definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def problems(self, value: dict[str, Any]) -> list[Problem]:
        """Return all that is wrong with an object that says what it is."""
        name = self._kinds.get((value.get("apiVersion", ""), value.get("kind", "")))
        if name is None:
            return [
                Problem("unknown", "kind", f"{value.get('apiVersion')} {value.get('kind')}", "a kind with a schema")
            ]
        return list(self._named(name)(value, ""))

    def _named(self, name: str) -> Check:
        """Return the check of a definition; it may be in the making, definitions refer to themselves."""
        if name not in self._checks:
            self._checks[name] = lambda value, path: self._checks[name](value, path)
            check = self._compiled(self._definitions[name])
            self._checks[name] = amount(check) if name.endswith(".Quantity") else check
        return self._checks[name]

    def _compiled(self, schema: Schema) -> Check:
        rest = {key: value for key, value in schema.items() if key not in PASSED_OVER and not key.startswith("x-")}
        reference = rest.pop("$ref", None)
        if reference is not None:
            assert not rest, f"a schema says more than what it refers to: {schema}"
            name = reference.rpartition("/")[2]
            return lambda value, path: self._named(name)(value, path)
        either = [self._compiled(each) for each in rest.pop("oneOf", ())]
        words = rest.pop("type", None)
        words = tuple(PYTHON) if words is None else (words,) if isinstance(words, str) else tuple(words)
        enum = rest.pop("enum", None)
        needed = rest.pop("required", ())
        fields = {key: self._compiled(value) for key, value in rest.pop("properties", {}).items()}
        base64 = schema.get("format") == "byte"
        items = self._compiled(rest.pop("items")) if "items" in rest else None
        others = rest.pop("additionalProperties", True)
        other = self._compiled(others) if isinstance(others, dict) else None
        assert not rest, f"a schema says what is not understood here: {rest}"

        def check(value: object, path: str) -> Iterator[Problem]:
            if either and all(any(one(value, path)) for one in either):
                yield Problem("type", path, value, "one of several")
            if not any(is_of(value, word) for word in words):
                yield Problem("type", path, value, words[0])
                return
            if enum is not None and value is not None and value not in enum:
                yield Problem("enum", path, value, [each for each in enum if each is not None])
            if base64 and isinstance(value, str) and not BASE64.fullmatch(value):
                yield Problem("type", path, value, "base64")
            if isinstance(value, dict):
                for key in needed:
                    if value.get(key) is None:
                        yield Problem("required", f"{path}.{key}" if path else key, None, None)
                for key, inner in value.items():
                    step = f"{path}.{key}" if path else key
                    if key in fields:
                        yield from fields[key](inner, step)
                    elif other is not None:
                        yield from other(inner, step)
                    elif others is False:
                        yield Problem("unknown", step, inner, None)
            elif isinstance(value, list) and items is not None:
                for index, inner in enumerate(value):
                    yield from items(inner, f"{path}[{index}]")

        return check


@cache
def schemas(release: str) -> Schemas:
    """Return the schemas of a release, read once in a process."""
    return Schemas(release)
