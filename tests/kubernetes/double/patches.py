"""Patches: a merge patch, one that knows by which key lists are merged, and a list of JSON operations."""

from __future__ import annotations

import copy
from typing import Any

from .schemas import Schema, Schemas
from .statuses import Refused, bad_request

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"


def merged(value: Any, patch: Any) -> Any:
    """Return what a merge patch makes of a value; None removes."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, inner in patch.items():
        if inner is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), inner)
    return result


class Strategic:
    """Strategic merges: which lists are merged, and by which key, is said by the schemas."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def merged(self, value: Any, patch: Any, schema: Schema) -> Any:
        """Return what such a patch makes of a value."""
        if not isinstance(patch, dict):
            return patch
        schema = self._schemas.resolved(schema)
        directive = patch.get("$patch")
        if directive in ("replace", "delete"):
            rest = {key: inner for key, inner in patch.items() if key != "$patch"}
            return rest if directive == "replace" else {}
        result = dict(value) if isinstance(value, dict) else {}
        kept = patch.get("$retainKeys")
        if kept is not None:
            result = {key: inner for key, inner in result.items() if key in kept}
        for key, inner in patch.items():
            if key == "$retainKeys":
                continue
            if key.startswith("$deleteFromPrimitiveList/"):
                name = key.partition("/")[2]
                result[name] = [each for each in result.get(name) or () if each not in inner]
            elif key.startswith("$setElementOrder/"):
                name = key.partition("/")[2]
                by = self._field(schema, name).get("x-kubernetes-patch-merge-key")
                merge = self._lists(result.get(name), patch.get(name) or [], self._field(schema, name))
                result[name] = arranged(merge, inner, result.get(name) or [], by)
            elif inner is None:
                result.pop(key, None)
            elif isinstance(inner, list):
                if f"$setElementOrder/{key}" not in patch:
                    result[key] = self._lists(result.get(key), inner, self._field(schema, key))
            else:
                result[key] = self.merged(result.get(key), inner, self._field(schema, key))
        return result

    def _field(self, schema: Schema, name: str) -> Schema:
        found = schema.get("properties", {}).get(name)
        if found is None:
            others = schema.get("additionalProperties")
            return others if isinstance(others, dict) else {}
        return {**self._schemas.resolved(found), **found} if "$ref" in found else found

    def _lists(self, value: Any, patch: list[Any], schema: Schema) -> list[Any]:
        if "merge" not in schema.get("x-kubernetes-patch-strategy", "").split(","):
            return [each for each in patch if not (isinstance(each, dict) and each.get("$patch") == "replace")]
        key = schema.get("x-kubernetes-patch-merge-key")
        before = list(value or ())
        result = list(before)
        if key is None:
            return result + [each for each in patch if each not in result]
        if any(each.get("$patch") == "replace" and key not in each for each in patch):
            return [each for each in patch if key in each]
        for each in patch:
            if key not in each:
                raise bad_request(f"map: {each} does not contain declared merge key: {key}")
            found = [index for index, old in enumerate(result) if old.get(key) == each[key]]
            if each.get("$patch") == "delete":
                result = [old for old in result if old.get(key) != each[key]]
            elif found:
                result[found[0]] = self.merged(result[found[0]], each, schema["items"])
            else:
                result.append({name: inner for name, inner in each.items() if name != "$patch"})
        return arranged(result, [each[key] for each in patch], before, key)


def arranged(items: list[Any], order: list[Any], before: list[Any], key: str | None) -> list[Any]:
    """Return items in the order of a merge: those that the patch names as it names them, the others as they stood.

    One of the others comes first only if it stood before the next that is named; so what is new comes before them.
    """

    def of(item: Any) -> Any:
        return item[key] if key is not None and isinstance(item, dict) else item

    keys, stood = [of(each) for each in order], [of(each) for each in before]
    named = sorted((each for each in items if of(each) in keys), key=lambda each: keys.index(of(each)))
    others = [each for each in items if of(each) not in keys]
    result = []
    while named and others:
        known = of(named[0]) in stood and of(others[0]) in stood
        result.append((others if known and stood.index(of(others[0])) < stood.index(of(named[0])) else named).pop(0))
    return result + named + others


def operated(value: Any, operations: Any) -> Any:
    """Return what a list of JSON operations makes of a value."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    root = {"": copy.deepcopy(value)}
    for operation in operations:
        try:
            operate(root, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            message = f"the server rejected our request due to an error in our request: {operation}: {error!r}"
            raise Refused(422, message, "Invalid", {}) from None
    return root[""]


def operate(root: dict[str, Any], operation: dict[str, Any]) -> None:
    """Do one operation."""
    word, (parent, key) = operation["op"], target(root, operation["path"])
    if word == "test":
        if found(parent, key) != operation.get("value"):
            raise ValueError("test failed")
        return
    if word in ("move", "copy"):
        source, source_key = target(root, operation["from"])
        inner = copy.deepcopy(found(source, source_key))
        if word == "move":
            del source[source_key]
        add(parent, key, inner)
    elif word == "add":
        add(parent, key, operation["value"])
    elif word == "replace":
        found(parent, key)
        parent[key] = operation["value"]
    elif word == "remove":
        del parent[key]
    else:
        raise ValueError(f"unexpected kind: {word}")


def target(root: dict[str, Any], pointer: str) -> tuple[Any, Any]:
    """Return what holds the place that a pointer names, and the place in there."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]
    parent: Any = root
    for step in steps[:-1]:
        parent = parent[int(step)] if isinstance(parent, list) else parent[step]
    if isinstance(parent, list):
        return parent, len(parent) if steps[-1] == "-" else int(steps[-1])
    return parent, steps[-1]


def found(parent: Any, key: Any) -> Any:
    """Return what is there."""
    return parent[key]


def add(parent: Any, key: Any, value: Any) -> None:
    """Put something there: in a list, before what is there."""
    if isinstance(parent, list):
        parent.insert(key, value)
    else:
        parent[key] = value
