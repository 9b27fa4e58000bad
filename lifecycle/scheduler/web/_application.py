"""The application: checks who may read, and answers each path. It changes nothing."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from lifecycle import LifecycleError

from .._ground.addresses import is_loopback
from ._facts import Facts, look
from ._page import page_of

if TYPE_CHECKING:
    from .._engine.scheduler import Scheduler

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_ANSWERS: Final[dict[str, Callable[[Facts], Response]]] = {
    "/": lambda facts: HTMLResponse(page_of(facts)),
    "/api/statistics": lambda facts: JSONResponse(facts.statistics),
    "/api/jobs": lambda facts: JSONResponse(facts.jobs()),
    "/api/schedules": lambda facts: JSONResponse([schedule.to_dict() for schedule in facts.schedules]),
    "/api/owners": lambda facts: JSONResponse(facts.owners.to_dict()),
}


def make_application(scheduler: Scheduler, password: str | None) -> Starlette:
    """Return the application; without a password it answers only to the names of this machine."""
    return Starlette(routes=[Route(path, _guarded(answer, scheduler, password)) for path, answer in _ANSWERS.items()])


def _guarded(
    answer: Callable[[Facts], Response], scheduler: Scheduler, password: str | None
) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        response = _refusal(request, password)
        if response is None:
            try:
                response = answer(await look(scheduler))
            except LifecycleError as error:
                response = PlainTextResponse(f"{error}\n", 503)
        response.headers.update(_HEADERS)
        return response

    return respond


def _refusal(request: Request, password: str | None) -> Response | None:
    """Return the refusal of a reader who may not see the page, None for others."""
    if password is None:
        # DNS rebinding: a foreign site whose name resolves to this machine could read the page in the reader's browser.
        name = request.url.hostname or ""
        return None if is_loopback(name) else PlainTextResponse("this name is not served here\n", 421)
    if hmac.compare_digest(_given(request.headers.get("authorization", "")).encode(), password.encode()):
        return None
    return PlainTextResponse("a password is needed\n", 401, {"WWW-Authenticate": 'Basic realm="lifecycle"'})


def _given(header: str) -> str:
    """Return the password in an ``Authorization`` header, empty when there is none; any user name will do."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
