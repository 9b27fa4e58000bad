"""What a path means: which kind, where, which object, which part of it."""

from __future__ import annotations

from typing import NamedTuple

from .kinds import BY_PLURAL, NAMESPACES, REVIEWS, Kind
from .statuses import method_not_allowed, no_such_path

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
PARTS = {
    "pods": ("status", "log", "binding", "eviction"),
    "jobs": ("status",),
    "nodes": ("status",),
    "namespaces": ("status", "finalize"),
    "resourcequotas": ("status",),
    "serviceaccounts": ("token",),
}


class Route(NamedTuple):
    """What a request is about. Without a kind, it is about no object: discovery, a review, a version."""

    verb: str
    kind: Kind | None
    namespace: str = ""
    name: str = ""
    part: str = ""
    review: str = ""


def routed(method: str, path: str, *, watch: bool) -> Route:
    """Return what a request is about."""
    steps = [step for step in path.split("/") if step]
    verb = VERBS.get(method)
    if verb is None:
        raise method_not_allowed()
    if steps[:1] == ["api"] and len(steps) > 2:
        group, version, rest = "", steps[1], steps[2:]
    elif steps[:1] == ["apis"] and len(steps) > 3:
        group, version, rest = steps[1], steps[2], steps[3:]
    else:
        return Route(verb, None)
    review = REVIEWS.get((group, version, rest[0]))
    if review is not None:
        return Route(verb, None, review=review)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in PARTS["namespaces"]):
        namespace, rest = rest[1], rest[2:]
    kind = BY_PLURAL.get((group, version, rest[0]))
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    part = rest[2] if len(rest) > 2 else ""
    if part and part not in PARTS.get(kind.plural, ()):
        raise no_such_path()
    if name and kind.namespaced and not namespace:
        raise no_such_path()
    if verb == "get" and not part:
        verb = "get" if name else "watch" if watch else "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    if verb == "create" and name and not part:
        raise method_not_allowed()
    if verb in ("update", "patch") and not name:
        raise method_not_allowed()
    if verb in ("create", "deletecollection") and kind.namespaced and not namespace:
        raise method_not_allowed()
    return Route(verb, kind, name if kind is NAMESPACES and name else namespace, name, part)


def place(route: Route) -> tuple[Kind, str, str]:
    """Return where storage has what a route is about."""
    assert route.kind is not None
    return route.kind, route.namespace if route.kind.namespaced else "", route.name
