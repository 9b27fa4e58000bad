"""Refusals: errors that are answered as the Status objects which the real server sends, a function for each kind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]
#: What the real server calls a status code that came without a better word.
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refused(Exception):
    """The request is answered with a Status, and nothing was changed.

    Args:
        code: the HTTP status.
        message: for people.
        reason: one word for programs; by default the usual one of that code.
        details: what it is about: name, group, kind, causes, retryAfterSeconds.
        metadata: of the Status itself, where a list goes on.
    """

    def __init__(
        self,
        code: int,
        message: str,
        reason: str | None = None,
        details: Object | None = None,
        metadata: Object | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS.get(code, "") if reason is None else reason
        self.details = details
        self.metadata = metadata or {}

    def status(self) -> Object:
        """Return the body of the answer."""
        body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure"}
        body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return {**body, "code": self.code}

    def encoded(self) -> bytes:
        """Return it as it is sent."""
        return encoded(self.status())


def encoded(value: object) -> bytes:
    """Return JSON without a superfluous character."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def success(details: Object | None = None) -> Object:
    """Return the Status of something that was done and left no object to show."""
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return body if details is None else {**body, "details": details}


def qualified(plural: str, group: str) -> str:
    """Return a resource as messages name it."""
    return f"{plural}.{group}" if group else plural


def about(name: str, group: str, plural: str, **more: Any) -> Object:
    """Return details; what is empty is left out."""
    given = {"name": name, "group": group, "kind": plural, **more}
    return {key: value for key, value in given.items() if value}


def bad_request(message: str) -> Refused:
    """What was sent cannot be understood."""
    return Refused(400, message)


def not_found(plural: str, group: str, name: str) -> Refused:
    """There is no such object."""
    return Refused(404, f'{qualified(plural, group)} "{name}" not found', None, about(name, group, plural))


def no_such_path() -> Refused:
    """There is no such resource."""
    return Refused(404, "the server could not find the requested resource", None, {})


def method_not_allowed() -> Refused:
    """There is such a resource, and nobody does that with it."""
    return Refused(405, "the server does not allow this method on the requested resource", None, {})


def already_exists(plural: str, group: str, name: str) -> Refused:
    """A name is taken."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    return Refused(409, message, "AlreadyExists", about(name, group, plural))


def conflict(plural: str, group: str, name: str, why: str) -> Refused:
    """Somebody else was faster, or the object is another one by now."""
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return Refused(409, message, None, about(name, group, plural))


def forbidden(plural: str, group: str, name: str, why: str) -> Refused:
    """Not allowed: by who asks, by an admission plugin, or by a quota."""
    named = f' "{name}"' if name else ""
    return Refused(403, f"{qualified(plural, group)}{named} is forbidden: {why}", None, about(name, group, plural))


def gone(message: str, metadata: Object | None = None) -> Refused:
    """What was asked for is too old to be told."""
    return Refused(410, message, "Expired", None, metadata)


def cause(field: str, kind: str, message: str) -> Object:
    """Return one reason why an object is invalid."""
    return {"reason": kind, "message": message, "field": field}


def shown(value: object) -> str:
    """Return a value as messages show it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def shown_map(values: dict[str, str] | None) -> str:
    """Return a map as messages show it, which comes from the language of the server."""
    if values is None:
        return "map[string]string(nil)"
    return "map[string]string{" + ", ".join(f'"{key}":"{value}"' for key, value in sorted(values.items())) + "}"


def required(field: str, more: str = "") -> Object:
    """A field must be there."""
    return cause(field, "FieldValueRequired", "Required value" + (f": {more}" if more else ""))


def invalid_value(field: str, value: object, more: str) -> Object:
    """A field must not be that."""
    return wrong(field, shown(value), more)


def wrong(field: str, text: str, more: str) -> Object:
    """A field must not be what a text shows."""
    return cause(field, "FieldValueInvalid", f"Invalid value: {text}: {more}")


def unsupported(field: str, value: object, allowed: Iterable[str]) -> Object:
    """A field must be one of a few words."""
    words = ", ".join(f'"{word}"' for word in allowed)
    return cause(field, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {words}")


def invalid(kind: str, group: str, name: str, causes: list[Object]) -> Refused:
    """An object says something that it must not say."""
    said = [f"{each['field']}: {each['message']}" for each in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    message = f'{qualified(kind, group)} "{name}" is invalid: {text}'
    return Refused(422, message, None, about(name, group, kind, causes=causes))
