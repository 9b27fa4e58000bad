"""Who may read the page: a reader at this machine who typed its address, or one who knows the password."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .._ground.addresses import is_loopback
from .._ground.alarms import Alarms

AT_ONCE: Final = 64
"""Requests that are answered at the same time."""

PAUSE: Final = 1.0
"""Seconds before a wrong password is answered."""

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+?)\.?)(?::[0-9]{1,5})?")


class Visitors:
    """Answers those who may not read the page, and hands on the requests of all others.

    Args:
        page: what answers those.
        password: what they have to give; without one only the names of this machine are served.
        alarms: tells of wrong passwords.
    """

    def __init__(self, page: ASGIApp, password: str | None, alarms: Alarms) -> None:
        self._page = page
        self._password = password
        self._alarms = alarms
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Cancellation: it is not answered.
        """
        request = Request(scope)
        refusal = self._stranger(request) or await self._without_password(request)
        if refusal is None and self._inside >= AT_ONCE:
            refusal = _refusal(503, "too many readers at once; ask again")
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._page(scope, receive, send)
        finally:
            self._inside -= 1

    def _stranger(self, request: Request) -> Response | None:
        """Return the refusal of what another page makes a browser ask, None for the rest."""
        hosts = request.headers.getlist("host")
        name = name_of(hosts[0]) if len(hosts) == 1 else None
        if name is None and (hosts or request.scope["http_version"] != "1.0"):
            return _refusal(400, "the Host is not that of an address")
        # A foreign name may have been made to resolve to this machine, so that its page may read what this one says.
        if self._password is None and name is not None and not is_loopback(name):
            return _refusal(421, "this name is not served here")
        site = request.headers.get("sec-fetch-site", "none")
        leads_here = request.headers.get("sec-fetch-dest") == "document"  # a link may lead here
        if site not in ("none", "same-origin") and not (leads_here and request.method in ("GET", "HEAD")):
            return _refusal(403, "the pages of others get nothing here")
        return None

    async def _without_password(self, request: Request) -> Response | None:
        if self._password is None:
            return None
        given = _given(request.headers.get("authorization", ""))
        if given is not None:
            if hmac.compare_digest(given.encode(), self._password.encode()):
                return None
            client = request.client
            self._alarms.tell("wrong password", client=f"{client.host}:{client.port}" if client else None)
            await anyio.sleep(PAUSE)
        response = _refusal(401, "a password is needed")
        response.headers["WWW-Authenticate"] = 'Basic realm="lifecycle"'
        return response


def _refusal(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def name_of(host: str) -> str | None:
    """Return the name or address in a ``Host`` header, None when that is neither."""
    match = _HOST.fullmatch(host)
    return None if match is None else (match[1] or match[2]).lower()


def _given(header: str) -> str | None:
    """Return the password in an ``Authorization`` header, None when there is none; any user name will do."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None if not header else ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
