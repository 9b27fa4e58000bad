"""A real PostgreSQL for the tests: one server for all workers of a run, a database for each test."""

from .server import Postgres, own, shared
from .wire import ServerSaidNo, ask

__all__ = ["Postgres", "ServerSaidNo", "ask", "own", "shared"]
