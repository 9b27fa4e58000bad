"""A web service: connections from a pool, a client for each tenant, webhooks in the background, a tidy end.

    python service.py 8000 orders.sqlite
    curl -X POST "http://127.0.0.1:8000/orders/acme?what=tea&tell=http://127.0.0.1:9000/hook"
    curl http://127.0.0.1:8000/orders/acme

Ctrl-C: requests that are in are answered, webhooks that are out have five seconds, then everything is closed in order.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, TypedDict

import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request

from lifecycle import ManagerFull, Pool, Registry, Retry, Scope, TaskManager, fixed_rate, take_snapshot
from lifecycle.integrations.starlette import lifespan


def passes(error: Exception) -> bool:
    """Return whether a webhook that failed by *error* is sent again: not what its receiver does not want."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


deliver_again = Retry(attempts=4, backoff=(0.1, 2.0), retry_on=passes)


class Database:
    """A connection to SQLite, whose calls run in threads."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.connection.execute(
            "create table if not exists orders (tenant text, what text, at real default (unixepoch()))"
        )

    async def ask(self, sql: str, *values: Any) -> list[Any]:
        return await asyncio.to_thread(lambda: self.connection.execute(sql, values).fetchall())

    async def close(self) -> None:
        await asyncio.to_thread(self.connection.close)


class State(TypedDict):
    """What a request finds in ``request.state``."""

    database: Pool[Database]
    tenants: Registry[str, httpx.AsyncClient]
    webhooks: TaskManager


async def setup(path: str, scope: Scope, app: FastAPI) -> State:
    """Open all that the application needs; it is closed in reverse order."""
    database = Pool(lambda: asyncio.to_thread(Database, path), Database.close, max_size=5, max_idle=60, name="database")
    tenants = Registry[str, httpx.AsyncClient](
        "tenants", idle_ttl=300, max_size=100, finalizer=httpx.AsyncClient.aclose
    )
    webhooks = TaskManager("webhooks", limit=10, pending_limit=1000, drain_timeout=5.0)

    async def tidy() -> None:
        async with database.acquire(timeout=5.0) as connection:
            await connection.ask("delete from orders where at < unixepoch() - 86400")

    for owner in (database, tenants, webhooks):
        await scope.enter(owner)
    scope.start_soon(fixed_rate(tidy, 60.0, run_timeout=30.0))
    return {"database": database, "tenants": tenants, "webhooks": webhooks}


async def connection(request: Request) -> AsyncIterator[Database]:
    """Lend a connection to one request."""
    async with request.state.database.acquire(timeout=2.0) as value:
        yield value


Connection = Annotated[Database, Depends(connection)]


def make_application(path: str) -> FastAPI:
    """Return the application over the database at *path*."""
    app = FastAPI(lifespan=lifespan(partial(setup, path)))

    @app.get("/orders/{tenant}")
    async def orders(tenant: str, database: Connection) -> list[str]:
        return [what for (what,) in await database.ask("select what from orders where tenant = ?", tenant)]

    @app.post("/orders/{tenant}", status_code=202)
    async def order(tenant: str, what: str, tell: str, request: Request, database: Connection) -> dict[str, int]:
        await database.ask("insert into orders (tenant, what) values (?, ?)", tenant, what)
        webhooks: TaskManager = request.state.webhooks
        send = partial(post, request.state.tenants, tenant, tell, what)
        try:
            webhooks.start_soon(deliver_again.call, send, name=f"webhook of {tenant}")
        except ManagerFull:
            raise HTTPException(503, "too many webhooks are waiting") from None
        return {"waiting": len(webhooks)}

    return app


async def post(tenants: Registry[str, httpx.AsyncClient], tenant: str, url: str, what: str) -> None:
    """Tell *url* once, by the client of *tenant*, which nobody closes meanwhile."""
    async with tenants.lease(tenant, lambda: httpx.AsyncClient(headers={"x-tenant": tenant}, timeout=5.0)) as client:
        (await client.post(url, json={"ordered": what})).raise_for_status()


if __name__ == "__main__":
    uvicorn.run(make_application(sys.argv[2]), port=int(sys.argv[1]))
    print("still owned:", take_snapshot().roots or "nothing", flush=True)
