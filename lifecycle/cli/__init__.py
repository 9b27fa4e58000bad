"""The command line: ``lifecycle run``, ``serve``, ``worker``, ``jobs``, ``runs``, ``schedules`` and others."""

from __future__ import annotations

from ._flow import flow
from ._group import cli, main
from ._jobs import jobs
from ._kubernetes import kubernetes
from ._limits import limits
from ._run import run
from ._runs import runs
from ._schedules import schedules
from ._serve import serve
from ._store import store
from ._validate import validate
from ._worker import worker

cli.add_command(run)
cli.add_command(serve)
cli.add_command(worker)
cli.add_command(validate)
cli.add_command(flow)
cli.add_command(jobs)
cli.add_command(runs)
cli.add_command(schedules)
cli.add_command(store)
cli.add_command(limits)
cli.add_command(kubernetes)

__all__ = ["cli", "main"]
