"""Selectors: of labels in all their forms, and of the few fields that the real server can select by."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .kinds import EVENTS, JOBS, NAMESPACES, NODES, PODS, SECRETS, Kind
from .statuses import Object, bad_request
from .storage import Bucket, Record

Test = Callable[[dict[str, str]], bool]

WORD = r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
NAME = re.compile(rf"(?:{WORD}/)?{WORD}")
VALUE = re.compile(rf"(?:{WORD})?")
SET = re.compile(r"^\s*(\S+?)\s+(in|notin)\s*\(([^()]*)\)\s*$")
EQUAL = re.compile(r"^\s*([^\s=!,()]+)\s*(==|=|!=)\s*([^\s=!,()]*)\s*$")
EXISTS = re.compile(r"^\s*(!?)\s*([^\s=!,()]+)\s*$")

#: What can be selected by, besides name and namespace: where it stands in an object, and what an absent one counts as.
FIELDS: dict[Kind, dict[str, tuple[str, ...]]] = {
    PODS: {
        "spec.nodeName": ("spec", "nodeName"),
        "spec.restartPolicy": ("spec", "restartPolicy"),
        "spec.schedulerName": ("spec", "schedulerName"),
        "spec.serviceAccountName": ("spec", "serviceAccountName"),
        "status.phase": ("status", "phase"),
        "status.podIP": ("status", "podIP"),
        "status.nominatedNodeName": ("status", "nominatedNodeName"),
    },
    JOBS: {"status.successful": ("status", "succeeded")},
    NODES: {"spec.unschedulable": ("spec", "unschedulable")},
    NAMESPACES: {"status.phase": ("status", "phase")},
    SECRETS: {"type": ("type",)},
    EVENTS: {
        **{
            f"involvedObject.{word}": ("involvedObject", word)
            for word in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": ("reason",),
        "reportingComponent": ("reportingComponent",),
        "source": ("source", "component"),
        "type": ("type",),
    },
}
ABSENT = {"status.successful": "0", "spec.unschedulable": "false"}


class Selector:
    """What a request asks for.

    Args:
        kind: of what.
        namespace: only in there; empty for everywhere.
        labels, fields: as they stand in the query.
        name: only the one of that name.
    """

    def __init__(self, kind: Kind, namespace: str, labels: str, fields: str, name: str = "") -> None:
        self.namespace = namespace
        self.empty = not labels.strip() and not fields.strip() and not name
        self._labels, equal = parsed_labels(labels)
        self._fields, named = parsed_fields(kind, fields)
        self.bucket: Bucket = ("all", "", "")
        if name:
            self._fields.append((("metadata", "name"), "", True, name))
        if name or named:
            self.bucket = ("name", name or named, "")
        elif equal:
            self.bucket = ("label", *next(iter(equal.items())))

    def takes(self, record: Record) -> bool:
        """Return whether an object is among what is asked for."""
        if self.namespace and record.key[0] != self.namespace:
            return False
        for path, absent, wanted, value in self._fields:
            if (field(record.object, path, absent) == value) is not wanted:
                return False
        labels = record.meta.get("labels") or {}
        return all(test(labels) for test in self._labels)


def field(value: Object, path: tuple[str, ...], absent: str) -> str:
    """Return the text of a field."""
    inner: Any = value
    for key in path:
        inner = inner.get(key) if isinstance(inner, dict) else None
    if isinstance(inner, bool):
        return str(inner).lower()
    return absent if inner is None else str(inner)


def parsed_fields(kind: Kind, text: str) -> tuple[list[tuple[tuple[str, ...], str, bool, str]], str]:
    """Return the tests of fields, and the name that is asked for."""
    tests, named = [], ""
    known = {"metadata.name": ("metadata", "name"), **FIELDS.get(kind, {})}
    if kind.namespaced:
        known["metadata.namespace"] = ("metadata", "namespace")
    for term in filter(None, text.split(",")):
        key, sign, value = re.match(r"([^=!]*)(==|=|!=|)(.*)$", term).groups()  # type: ignore[union-attr]
        if not sign:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        if key not in known:
            simple = '"metadata.name", "metadata.namespace"'
            message = f'"{key}" is not a known field selector: only {simple}'
            raise bad_request(f"field label not supported: {key}" if kind in FIELDS else message)
        if key == "metadata.name" and sign != "!=":
            named = value
        tests.append((known[key], ABSENT.get(key, ""), sign != "!=", value))
    return tests, named


def parsed_labels(text: str) -> tuple[list[Test], dict[str, str]]:
    """Return the tests of labels, and which must have one certain value."""
    tests: list[Test] = []
    equal: dict[str, str] = {}
    for term in re.split(r",(?![^(]*\))", text) if text.strip() else ():
        if found := SET.match(term):
            key, word, listed = found.groups()
            values = {each.strip() for each in listed.split(",")}
            tests.append(among(key, values, word == "in"))
            checked(text, key, *values)
        elif found := EQUAL.match(term):
            key, sign, value = found.groups()
            tests.append(among(key, {value}, sign != "!="))
            checked(text, key, value)
            if sign != "!=":
                equal[key] = value
        elif found := EXISTS.match(term):
            no, key = found.groups()
            tests.append(there(key, not no))
            checked(text, key)
        else:
            raise bad_request(f"unable to parse requirement: found '{term.strip()}', expected: identifier: \"{text}\"")
    return tests, equal


def checked(text: str, key: str, *values: str) -> None:
    """Refuse a name or value that no label can have."""
    if not NAME.fullmatch(key) or any(not VALUE.fullmatch(value) or len(value) > 63 for value in values):
        raise bad_request(f"unable to parse requirement: <nil>: Invalid value: invalid label in {text!r}")


def among(key: str, values: set[str], wanted: bool) -> Test:
    """Return the test for one of several values; a label that is not there is none of them."""
    return lambda labels: (key in labels and labels[key] in values) is wanted


def there(key: str, wanted: bool) -> Test:
    """Return the test for a label of any value."""
    return lambda labels: (key in labels) is wanted
