"""What an API server answers when it does not do what it was asked, and what to do about it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from lifecycle import LifecycleError

from .._ground.text import one_line, shorten
from ._shape import is_object

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
GONE: Final = 410
INVALID: Final = 422
TOO_MANY: Final = 429

_LONGEST_WAIT: Final = 60.0
"""Seconds of a ``Retry-After`` that are kept to at most: a server that says more is asked again nevertheless."""


class ApiError(LifecycleError, RuntimeError):
    """An API server refused a request.

    Attributes:
        status: the HTTP status, from 400 on; of an error within a watch, the code that it has there.
        reason: the server's word, such as ``AlreadyExists``; empty where there is none.
        retry_after: seconds after which it wants to be asked again, None where it does not say.
    """

    def __init__(self, message: str, *, status: int = 500, reason: str = "", retry_after: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(message)


def api_error(what: str, status: int, body: bytes | Mapping[str, Any], retry_after: str | None = None) -> ApiError:
    """Return the error for an answer.

    Args:
        what: the request, for the message.
        status: the HTTP status.
        body: the answer; a Status object, as bytes or read already, or anything else.
        retry_after: the header of this name.
    """
    said = body if isinstance(body, Mapping) else _status_of(body)
    text = said.get("message") if said else None
    if not isinstance(text, str):
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else ""
    reason = str(said.get("reason") or "")
    shown = one_line(shorten(text.strip(), 600)) or reason or "no reason given"
    return ApiError(f"{what}: {status}: {shown}", status=status, reason=reason, retry_after=_seconds(said, retry_after))


def _status_of(body: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(said: Mapping[str, Any], header: str | None) -> float | None:
    details = said.get("details")
    given = header if header is not None else details.get("retryAfterSeconds") if isinstance(details, Mapping) else None
    try:
        seconds = float(given) if given is not None else None
    except (TypeError, ValueError):
        seconds = _until(given)
    return None if seconds is None or math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT)


def _until(date: object) -> float | None:
    """Return the seconds until a date, as what stands before a server may give it; None where it is none."""
    try:
        return parsedate_to_datetime(str(date)).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def page_of(answer: Mapping[str, Any], path: str) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """Return the objects of a page of a list, and what is known of the list.

    Raises:
        ConnectionError: it is no list. What a proxy says in place of the server is not one of nothing.
    """
    items, meta = answer.get("items", ()), answer.get("metadata")
    if items is None:
        items = []
    if not isinstance(items, list) or not isinstance(meta, Mapping) or not all(map(is_object, items)):
        raise ConnectionError(f"{path}: the answer is no list of objects")
    return items, meta


def next_page(query: Mapping[str, Any], meta: Mapping[str, Any], path: str) -> str:
    """Return what asks for the next page of a list.

    Raises:
        ConnectionError: it is the page that was asked for: the list would never end.
    """
    if meta["continue"] == query.get("continue"):
        raise ConnectionError(f"{path}: the list does not go on")
    return str(meta["continue"])


def worth_another_try(error: BaseException) -> bool | float:
    """Return whether a request may be made again, or after how many seconds: as `Retry.retry_on`.

    Of all answers those that say "not now": too many requests, and a server, or what stands before it, in trouble.
    """
    if isinstance(error, ApiError):
        if error.status == TOO_MANY or error.status >= 500:
            return error.retry_after or True
        return False
    if isinstance(error, PermissionError):  # it is not the server that we trust, and will not be in a moment
        return False
    return isinstance(error, (OSError, TimeoutError, EOFError))
