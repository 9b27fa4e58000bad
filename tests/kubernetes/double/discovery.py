"""What the server says about itself: versions, groups, resources, and as much of OpenAPI as kubectl looks at."""

from __future__ import annotations

from .kinds import KINDS, discovered, groups
from .manners import Manner
from .statuses import Object, no_such_path

HEALTH = ("/healthz", "/livez", "/readyz")


def discovery(path: str, manner: Manner) -> Object | str:
    """Return what stands at a path that is about no object."""
    steps = [step for step in path.split("/") if step]
    if path.rstrip("/") in HEALTH:
        return "ok"
    if steps == ["version"]:
        return version(manner)
    if steps == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if steps == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()}
    if steps[:1] == ["apis"] and len(steps) == 2:
        found = [group for group in groups() if group["name"] == steps[1]]
        if found:
            return {"kind": "APIGroup", "apiVersion": "v1", **found[0]}
    if steps[:1] == ["api"] and len(steps) == 2:
        listed = discovered("", steps[1])
        if listed is not None:
            return listed
    if steps[:1] == ["apis"] and len(steps) == 3:
        listed = discovered(steps[1], steps[2])
        if listed is not None:
            return listed
    if steps[:2] == ["openapi", "v3"] and manner.strict_fields:
        return openapi("/".join(steps[2:]))
    if not steps:
        return {"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]}
    raise no_such_path()


def version(manner: Manner) -> Object:
    """Return which release the double plays."""
    major, minor = manner.version.split(".")
    said = {"major": major, "minor": minor, "gitVersion": f"v{manner.version}.0", "gitCommit": "0" * 40}
    said |= {"gitTreeState": "clean", "buildDate": "2024-01-01T00:00:00Z", "goVersion": "go1.23.0"}
    return {**said, "compiler": "gc", "platform": "linux/amd64"}


def openapi(group: str) -> Object:
    """Return the paths of a group, with no more than what kubectl wants to know: that fields are checked here."""
    roots = sorted({f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}" for kind in KINDS})
    if not group:
        return {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in roots}}
    if group not in roots:
        raise no_such_path()
    asked = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")]
    paths = {}
    for kind in KINDS:
        url = kind.url("{namespace}" if kind.namespaced else "", "{name}")
        if url.startswith(f"/{group}/"):
            what = {"group": kind.group, "version": kind.version, "kind": kind.name}
            answers = {"200": {"description": "OK"}}
            action = {"parameters": asked, "responses": answers, "x-kubernetes-group-version-kind": what}
            paths[url] = {"patch": {**action, "x-kubernetes-action": "patch"}}
    about = {"title": "Kubernetes", "version": "double"}
    return {"openapi": "3.0.0", "info": about, "paths": paths, "components": {"schemas": {}}}
