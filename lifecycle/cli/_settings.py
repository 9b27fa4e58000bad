"""The settings of a scheduler as options, for all commands that run one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypedDict

import click

from ..scheduler._store.crashes import MAX_CRASHES
from ..scheduler._store.lease import LEASE
from ._clusters import clusters_option, hosts_from
from ._common import seconds


class SchedulerSettings(TypedDict):
    """What `Scheduler` is called with; its docstring says what each is."""

    workers: int
    drain_timeout: float
    cancel_timeout: float
    keep_for: float
    keep_jobs: int
    store_patience: float
    max_crashes: int
    lease: float
    hosts: dict[str, Any]


def scheduler_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each of the `SchedulerSettings`; it is called with all of them as *settings*."""

    @functools.wraps(command)
    def collecting(**values: Any) -> None:
        values["hosts"] = hosts_from(values.pop("clusters"))
        settings = {name: values.pop(name) for name in SchedulerSettings.__annotations__}
        command(**values, settings=settings)

    for option in reversed(_OPTIONS):
        option(collecting)
    return collecting


_OPTIONS: Final = (
    click.option(
        "--workers", type=click.IntRange(1, 1_000), default=8, show_default=True, help="How many jobs run at once."
    ),
    click.option(
        "--drain-timeout",
        type=seconds,
        default="10s",
        show_default=True,
        metavar="DURATION",
        help="Time for running jobs to end after SIGTERM or Ctrl-C; the rest is interrupted.",
    ),
    click.option(
        "--cancel-timeout",
        type=seconds,
        default="5s",
        show_default=True,
        metavar="DURATION",
        help="Time for a job that was cancelled or interrupted to come to its end; then it is left behind.",
    ),
    click.option(
        "--keep-for",
        type=seconds,
        default="7d",
        show_default=True,
        metavar="DURATION",
        help="How long an ended job is kept: seconds, or 15m, 12h, 7d, 2w; 0 for not at all.",
    ),
    click.option(
        "--keep-jobs",
        type=click.IntRange(0),
        default=100_000,
        show_default=True,
        metavar="N",
        help="How many of the newest jobs are kept, whatever their age.",
    ),
    click.option(
        "--store-patience",
        type=seconds,
        default="5m",
        show_default=True,
        metavar="DURATION",
        help="How long a locked database or a full disk is waited for, before it ends.",
    ),
    click.option(
        "--max-crashes",
        type=click.IntRange(1),
        default=MAX_CRASHES,
        show_default=True,
        metavar="N",
        help="How often the process may die while a job runs, before that job has failed.",
    ),
    click.option(
        "--lease",
        type=seconds,
        default=f"{LEASE:g}s",
        show_default=True,
        metavar="DURATION",
        help="With a PostgreSQL database: time without a sign of life after which others run what this one ran.",
    ),
    clusters_option,
)
