"""The application: answers each path. It changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lifecycle import LifecycleError

from .._ground.alarms import Alarms
from ._facts import Facts, look
from ._lists import list_jobs
from ._page import page_of
from ._visitors import Visitors

if TYPE_CHECKING:
    from .._engine.scheduler import Scheduler

_ANSWERS: Final[dict[str, Callable[[Facts], Response]]] = {
    "/": lambda facts: HTMLResponse(page_of(facts)),
    "/api/statistics": lambda facts: JSONResponse(facts.statistics),
    "/api/jobs": lambda facts: JSONResponse(facts.jobs()),
    "/api/schedules": lambda facts: JSONResponse([schedule.to_dict() for schedule in facts.schedules]),
    "/api/owners": lambda facts: JSONResponse(facts.owners.to_dict()),
}


def make_application(scheduler: Scheduler, password: str | None, alarms: Alarms) -> ASGIApp:
    """Return the application; without a password it answers only to the names of this machine."""
    routes = [Route(path, _answering(answer, scheduler)) for path, answer in _ANSWERS.items()]
    return Visitors(Starlette(routes=routes), password, alarms)


def _answering(answer: Callable[[Facts], Response], scheduler: Scheduler) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        try:
            if request.url.path == "/api/jobs" and request.query_params:
                jobs = await list_jobs(scheduler, request.query_params)
                return JSONResponse({"jobs": [job.to_dict(details=False) for job in jobs]})
            return answer(await look(scheduler))
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        except LifecycleError as error:
            return PlainTextResponse(f"{error}\n", 503)

    return respond
