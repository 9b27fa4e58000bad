"""Questions that are asked as objects: who am I, and may I do that."""

from __future__ import annotations

from typing import Any

from .access import Access, Request, Token
from .kinds import BY_PLURAL, Kind
from .statuses import Object


def reviewed(review: str, body: Object, token: Token, access: Access) -> Object:
    """Return a question with its answer."""
    body.setdefault("kind", review)
    body.setdefault("metadata", {"creationTimestamp": None})
    if review == "SelfSubjectReview":
        info = {"username": token.user, "groups": list(token.groups)}
        return {**body, "status": {"userInfo": info}}
    if review == "SelfSubjectRulesReview":
        rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        status = {"resourceRules": [rule], "nonResourceRules": [], "incomplete": False}
        return {**body, "spec": {}, "status": status}
    return {**body, "status": {"allowed": access.may(asked(body.get("spec") or {}, token))}}


def asked(spec: dict[str, Any], token: Token) -> Request:
    """Return what somebody would like to do."""
    about = spec.get("resourceAttributes")
    if about is None:
        other = spec.get("nonResourceAttributes") or {}
        return Request(token.user, other.get("verb", ""), None, path=other.get("path", ""))
    group, plural = about.get("group", ""), about.get("resource", "")
    kind = BY_PLURAL.get((group, "v1", plural)) or Kind(name=plural, plural=plural, group=group)
    where = about.get("namespace", ""), about.get("name", ""), about.get("subresource", "")
    return Request(token.user, about.get("verb", ""), kind, *where)
