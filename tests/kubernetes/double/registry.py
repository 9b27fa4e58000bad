"""What is done with objects: made, changed, patched and removed, as the real server does and refuses it.

Nothing here waits: each of these is one step, so no two requests are ever half done at once.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from . import patches
from .access import Access, Request
from .defaults import born, fill_pod_spec, fill_status, finish, prepare
from .kinds import BY_NAME, EVENTS, JOBS, LEASES, NAMESPACES, PODS, Kind
from .manners import Manner
from .protobuf import decoded
from .quotas import Quotas
from .schemas import Problem, schemas
from .statuses import (
    Object,
    Refused,
    already_exists,
    bad_request,
    cause,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
    required,
    unsupported,
)
from .storage import Record, Storage
from .validation import change_problems, problems_of

#: Whom the controllers of the double ask as.
CONTROLLER = "system:serviceaccount:kube-system:job-controller"
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
MEDIA = "accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
#: Fields that are maps: an empty one is not there.
MAPS = {
    "annotations",
    "binaryData",
    "data",
    "hard",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "stringData",
}
#: What a change cannot touch.
FIXED = ("uid", "creationTimestamp", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName")


class Registry:
    """The objects behind all that guards them.

    Args:
        storage: where they are.
        access: its rules are asked where admission webhooks are.
        manner: of which release.
        strict: an unknown field is refused whatever the request says about that; else it is dropped, unless the
            request says Strict.
        checked: everything that is kept is held to the official schemas.
    """

    def __init__(self, storage: Storage, access: Access, manner: Manner, *, strict: bool, checked: bool) -> None:
        self.storage = storage
        self.access = access
        self.manner = manner
        self.schemas = schemas(manner.schema)
        self.quotas = Quotas(storage)
        #: What went wrong in the double itself: a test that passes nevertheless has proved nothing.
        self.failures: list[Exception] = []
        self._strategic = patches.Strategic(self.schemas)
        self._strict = strict
        self._checked = checked

    # What comes in

    def read(self, raw: bytes, content_type: str, what: str = "...") -> Object:
        """Return what a body says.

        Args:
            what: of which kind it should be.
        """
        unreadable = f"the object provided is unrecognized (must be of type {what}): couldn't get version/kind; "
        try:
            if content_type == "application/yaml":
                value = yaml.safe_load(raw)
            elif content_type == "application/vnd.kubernetes.protobuf":
                value = decoded(raw)
            elif content_type in ("application/json", "", "*/*"):
                value = json.loads(raw)
            else:
                raise Refused(415, f"the body of the request was in an unknown format - {MEDIA}")
        except (ValueError, yaml.YAMLError) as error:
            raise bad_request(f"{unreadable}json parse error: {error}") from None
        if not isinstance(value, dict):
            raise bad_request(f"{unreadable}json parse error: it is no object")
        return value

    def decode(self, kind: Kind, value: Object, *, strict: bool) -> Object:
        """Return an object that says what it should; what it is not is refused."""
        api_version, name = value.setdefault("apiVersion", kind.api_version), value.setdefault("kind", kind.name)
        if (api_version, name) != (kind.api_version, kind.name):
            if (api_version, name) in BY_NAME:
                expected = f"does not match the expected API version ({kind.api_version})"
                raise bad_request(f"the API version in the data ({api_version}) {expected}")
            version = str(api_version).rpartition("/")[2]
            raise bad_request(
                f'{name} in version "{version}" cannot be handled as a {kind.name}: no kind "{name}" is registered for'
                f' version "{api_version}" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"'
            )
        value = without_nulls(value)
        if not self._checked:
            value.setdefault("metadata", {})
            return value
        problems = self.schemas.problems(value)
        handled = f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: '
        for problem in problems:
            if problem.kind == "type":
                raise bad_request(handled + untyped(kind, problem))
        unknown = [problem.path for problem in problems if problem.kind == "unknown"]
        if unknown and (strict or self._strict):
            listed = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise bad_request(f"{handled}strict decoding error: {listed}")
        for path in unknown:
            drop(value, path)
        value.setdefault("metadata", {})
        return value

    def need(self, kind: Kind, namespace: str, name: str) -> Record:
        """Return an object that must be there."""
        record = self.storage.get(kind, namespace, name)
        if record is None:
            raise not_found(kind.plural, kind.group, name)
        return record

    # What is done

    def create(
        self,
        kind: Kind,
        namespace: str,
        value: Object,
        user: str = CONTROLLER,
        *,
        strict: bool = False,
        dry: bool = False,
    ) -> Record:
        """Make an object; return it as it is kept."""
        new = self.decode(kind, value, strict=strict)
        meta = new["metadata"]
        if kind.namespaced:
            if meta.setdefault("namespace", namespace) != namespace:
                message = "the namespace of the provided object does not match the namespace sent on the request"
                raise bad_request(message)
            self._check_namespace(kind, namespace, meta.get("name", ""))
        born(kind, meta, self.manner)
        self.access.admit(Request(user, "create", kind, namespace, meta.get("name", "")))
        if not meta.get("name"):
            raise invalid(kind.name, kind.group, "", problems_of_name(kind))
        if meta.pop("resourceVersion", ""):
            raise Refused(500, "resourceVersion should not be set on objects to be created", "", None)
        prepare(kind, new, self.manner)
        self._check(kind, new)
        finish(kind, new)
        self.quotas.check(kind, namespace, meta["name"])
        if self.storage.get(kind, namespace, meta["name"]) is not None:
            raise already_exists(kind.plural, kind.group, meta["name"])
        if dry:
            return Record(kind, new)
        return self._kept(self.storage.put(kind, new))

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        value: Object,
        user: str = CONTROLLER,
        *,
        part: str = "",
        strict: bool = False,
        dry: bool = False,
        verb: str = "update",
    ) -> Record:
        """Change an object, or its status alone; return it as it is kept."""
        new = self.decode(kind, value, strict=strict)
        meta = new["metadata"]
        if meta.setdefault("name", name) != name:
            given, wanted = meta["name"], name
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({wanted})")
        if kind.namespaced and meta.setdefault("namespace", namespace) != namespace:
            raise bad_request("the namespace of the object does not match the namespace on the request")
        record = self.storage.get(kind, namespace, name)
        if record is None and kind in (EVENTS, LEASES):
            return self.create(kind, namespace, new, user, strict=strict, dry=dry)
        record = self.need(kind, namespace, name)
        self.access.admit(Request(user, "update", kind, namespace, name, part))
        old = record.copy()
        self._settle(kind, old, new, verb)
        if part == "status":
            new = {**old, "metadata": meta, "status": new.get("status", {})}
            fill_status(kind, new)
        elif kind.status and "status" in old:
            new["status"] = old["status"]
        if part != "status":
            self._refill(kind, old, new)
            finish(kind, new)
        self._check(kind, new, old)
        if dry:
            return Record(kind, new)
        changed = self._kept(self.storage.put(kind, new))
        meta = changed.meta
        going = meta.get("deletionTimestamp") and kind is not NAMESPACES
        if going and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds"):
            return self.storage.remove(changed)
        return changed

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Any, content_type: str, user: str = CONTROLLER, **how: Any
    ) -> Record:
        """Change a part of an object; return it as it is kept."""
        if content_type not in (patches.JSON, patches.MERGE, patches.STRATEGIC):
            raise Refused(415, "415: Unsupported Media Type", None, {})
        record = self.need(kind, namespace, name)
        old = record.copy()
        if content_type == patches.JSON:
            new = patches.operated(old, patch)
        elif not isinstance(patch, dict):
            raise bad_request("the patch is no object")
        elif content_type == patches.MERGE:
            new = patches.merged(old, patch)
        else:
            new = self._strategic.merged(old, patch, self.schemas.schema(kind.api_version, kind.name))
        try:
            return self.update(kind, namespace, name, new, user, verb="patch", **how)
        except Refused as refused:
            if refused.code != 400 or "cannot be handled" not in refused.message:
                raise
            causes = [{"reason": "FieldValueInvalid", "message": refused.message, "field": "patch"}]
            raise Refused(422, refused.message, None, {"causes": causes}) from None

    # How it is guarded

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        """Refuse to make something where there is no namespace, or none any more."""
        space = self.storage.get(NAMESPACES, "", namespace)
        if space is None:
            raise not_found("namespaces", "", namespace)
        if space.meta.get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            refused = forbidden(kind.plural, kind.group, name, why)
            causes = [{"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}]
            refused.details = {**(refused.details or {}), "causes": [{**causes[0], "field": "metadata.namespace"}]}
            raise refused

    def _settle(self, kind: Kind, old: Object, new: Object, verb: str) -> None:
        """Refuse a change of what was not read last; keep what no change can touch."""
        meta, before = new["metadata"], old["metadata"]
        if verb == "patch" and meta.get("uid") != before["uid"]:
            found = invalid_value("metadata.uid", meta.get("uid", ""), "field is immutable")
            raise invalid(kind.name, kind.group, before["name"], [found])
        for key, word in ("uid", "UID"), ("resourceVersion", ""):
            if meta.get(key) and meta[key] != before[key]:
                why = f"Precondition failed: {word} in precondition: {meta[key]}, {word} in object meta: {before[key]}"
                raise conflict(kind.plural, kind.group, before["name"], why if word else MODIFIED)
        for key in FIXED:
            meta.pop(key, None)
            if key in before:
                meta[key] = before[key]
        meta["resourceVersion"] = before["resourceVersion"]
        if before.get("deletionTimestamp"):
            added = set(meta.get("finalizers", ())) - set(before.get("finalizers", ()))
            if added:
                message = (
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers"
                )
                listed = ", ".join(f'"{each}"' for each in sorted(added))
                found = cause("metadata.finalizers", "FieldValueForbidden", f"{message} []string{{{listed}}}")
                raise invalid(kind.name, kind.group, before["name"], [found])
        meta.pop("generation", None)
        if "generation" in before:
            meta["generation"] = before["generation"]

    def _refill(self, kind: Kind, old: Object, new: Object) -> None:
        """Fill in defaults again, and count a change of what is wanted."""
        if kind is PODS:
            fill_pod_spec(new.setdefault("spec", {}))
        elif kind is JOBS:
            prepared = {"metadata": dict(old["metadata"]), "spec": new.get("spec", {})}
            prepare(kind, prepared, self.manner)
            new["spec"] = prepared["spec"]
        if "generation" in new["metadata"] and old.get("spec") != new.get("spec"):
            new["metadata"]["generation"] += 1

    def _check(self, kind: Kind, new: Object, old: Object | None = None) -> None:
        """Refuse what is invalid."""
        found = problems_of(kind, new, self.manner)
        if old is not None:
            found += change_problems(kind, old, new)
        if self._checked and not found:
            found = [as_cause(problem) for problem in self.schemas.problems(new)]
        if found:
            raise invalid(kind.name, kind.group, new["metadata"]["name"], found)

    def _kept(self, record: Record) -> Record:
        """Hold what is kept to the schemas; a failure here is the double's own."""
        problems = self.schemas.problems(record.object) if self._checked else ()
        assert not problems, f"the double made what is no {record.kind.name}: {problems}"
        return record


def without_nulls(value: Any) -> Any:
    """Return an object without the fields that are null, and without empty lists and maps: they are not there."""
    if isinstance(value, dict):
        return {
            key: without_nulls(inner)
            for key, inner in value.items()
            if inner is not None and inner != [] and not (inner == {} and key in MAPS)
        }
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def drop(value: Any, path: str) -> None:
    """Remove a field."""
    steps = path.replace("[", ".[").split(".")
    for step in steps[:-1]:
        value = value[int(step[1:-1])] if step.startswith("[") else value.get(step, {})
    value.pop(steps[-1], None)


def untyped(kind: Kind, problem: Problem) -> str:
    """Return how the real server says that a value is of another type."""
    words = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    wanted = {"integer": "int32", "boolean": "bool", "object": "struct", "array": "slice"}
    said = words.get(type(problem.value), "null")
    wants = wanted.get(problem.wanted, problem.wanted)
    return f"json: cannot unmarshal {said} into Go struct field {kind.name}.{problem.path} of type {wants}"


def as_cause(problem: Problem) -> Object:
    """Return what the schemas say as the server would."""
    if problem.kind == "required":
        return required(problem.path)
    if problem.kind == "enum":
        return unsupported(problem.path, problem.value, map(str, problem.wanted))
    return invalid_value(problem.path, problem.value, f"it is {problem.kind}")


def problems_of_name(kind: Kind) -> list[Object]:
    """Return what is said of an object without a name."""
    return [required("metadata.name", "name or generateName is required")]
