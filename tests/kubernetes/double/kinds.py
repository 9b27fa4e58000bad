"""The kinds that the double holds, as a table: where they live, what may be done with them, how they are announced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind.

    Args:
        name: such as Job.
        plural: as it stands in paths.
        group: empty for the core.
        namespaced: whether its objects live in namespaces.
        status: whether its status is written on its own.
        short: other names that kubectl takes.
        categories: groups of kinds that kubectl takes.
        generation: whether changes of its spec are counted.
    """

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    status: bool = False
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    generation: bool = False

    @property
    def api_version(self) -> str:
        """Group and version, as objects say them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def url(self, namespace: str, name: str = "") -> str:
        """Return where an object is, or all objects are."""
        root = f"/apis/{self.group}" if self.group else "/api"
        place = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}/{self.version}{place}/{self.plural}" + (f"/{name}" if name else "")


JOBS = Kind(name="Job", plural="jobs", group="batch", status=True, categories=("all",), generation=True)
PODS = Kind(name="Pod", plural="pods", status=True, short=("po",), categories=("all",))
EVENTS = Kind(name="Event", plural="events", short=("ev",))
NODES = Kind(name="Node", plural="nodes", namespaced=False, status=True, short=("no",))
NAMESPACES = Kind(name="Namespace", plural="namespaces", namespaced=False, status=True, short=("ns",))
SECRETS = Kind(name="Secret", plural="secrets")
CONFIG_MAPS = Kind(name="ConfigMap", plural="configmaps", short=("cm",))
SERVICE_ACCOUNTS = Kind(name="ServiceAccount", plural="serviceaccounts", short=("sa",))
QUOTAS = Kind(name="ResourceQuota", plural="resourcequotas", status=True, short=("quota",))
LEASES = Kind(name="Lease", plural="leases", group="coordination.k8s.io")

KINDS = (CONFIG_MAPS, EVENTS, NAMESPACES, NODES, PODS, QUOTAS, SECRETS, SERVICE_ACCOUNTS, JOBS, LEASES)
BY_PLURAL = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
BY_NAME = {(kind.api_version, kind.name): kind for kind in KINDS}
#: Groups that hold no objects, only questions: what may be asked, and the kind of the question.
REVIEWS = {
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    ("authorization.k8s.io", "v1", "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
    ("authentication.k8s.io", "v1", "selfsubjectreviews"): "SelfSubjectReview",
}


def resource(kind: Kind) -> dict[str, Any]:
    """Return how discovery announces a kind."""
    said: dict[str, Any] = {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.namespaced}
    said |= {"kind": kind.name, "verbs": list(ALL)}
    if kind.short:
        said["shortNames"] = list(kind.short)
    if kind.categories:
        said["categories"] = list(kind.categories)
    return said


def part(kind: Kind, name: str, what: str, *verbs: str) -> dict[str, Any]:
    """Return how discovery announces a subresource."""
    path = f"{kind.plural}/{name}"
    return {"name": path, "singularName": "", "namespaced": kind.namespaced, "kind": what, "verbs": list(verbs)}


def discovered(group: str, version: str) -> dict[str, Any] | None:
    """Return the list of resources of a group, or None where there is no such group."""
    found = []
    for kind in KINDS:
        if (kind.group, kind.version) == (group, version):
            found.append(resource(kind))
            if kind.status:
                found.append(part(kind, "status", kind.name, "get", "patch", "update"))
            if kind is PODS:
                found += [part(kind, "binding", "Binding", "create"), part(kind, "eviction", "Eviction", "create")]
                found.append(part(kind, "log", "Pod", "get"))
            if kind is NAMESPACES:
                found.append(part(kind, "finalize", "Namespace", "update"))
            if kind is SERVICE_ACCOUNTS:
                found.append(part(kind, "token", "TokenRequest", "create"))
    for (its_group, its_version, plural), name in REVIEWS.items():
        if (its_group, its_version) == (group, version):
            names = {"name": plural, "singularName": name.lower(), "namespaced": False}
            found.append({**names, "kind": name, "verbs": ["create"]})
    if not found:
        return None
    where = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": where, "resources": found}


def groups() -> list[dict[str, Any]]:
    """Return the groups, as /apis announces them."""
    names = dict.fromkeys([kind.group for kind in KINDS if kind.group] + [group for group, _, _ in REVIEWS])
    found = []
    for name in names:
        version = {"groupVersion": f"{name}/v1", "version": "v1"}
        found.append({"name": name, "versions": [version], "preferredVersion": version})
    return found
