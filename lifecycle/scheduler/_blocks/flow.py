"""A flow as it was read: parameters, and jobs that wait for each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .._ground.secrets import secret_problem
from .._language.params import Param, bind_params
from .._language.problems import Problems
from .._store.limits import DEFAULT_QUEUE
from .._store.pace import UNBOUNDED, Bound
from .block import Block


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One top-level block: a job in the store.

    Attributes:
        name: its name, unique in the flow.
        block: what it does.
        needs: names of the jobs that must have ended before it; for one of ``[finally]`` all that are not.
        priority: higher is first among those that are ready.
        delay: seconds it waits after it could start.
        retries: how often it is tried again after a failure.
        backoff: the first and the longest pause before a retry, in seconds.
        uses: names of the jobs whose outputs its expressions use.
        queue: the queue that it waits in.
        when: how those must have ended: ``success``, ``failure`` (something above it did not succeed) or ``always``.
        tolerates: names of those among the needs that may fail.
        last: whether it is one of ``[finally]``.
        asks: names of the jobs whose status or error its expressions use.
        asks_run: whether they use the status of the run.
    """

    name: str
    block: Block
    needs: tuple[str, ...]
    priority: int
    delay: float
    retries: int
    backoff: tuple[float, float]
    uses: frozenset[str]
    queue: str = DEFAULT_QUEUE
    when: str = "success"
    tolerates: tuple[str, ...] = ()
    last: bool = False
    asks: frozenset[str] = frozenset()
    asks_run: bool = False


def may_fail(jobs: Mapping[str, JobSpec]) -> frozenset[str]:
    """Return the names of the jobs whose failure is allowed: some job says so, and none needs them to succeed."""
    allowed = {name for spec in jobs.values() for name in spec.tolerates}
    needed = {
        name
        for spec in jobs.values()
        if spec.when == "success" and not spec.last
        for name in spec.needs
        if name not in spec.tolerates
    }
    return frozenset(allowed - needed)


@dataclass(frozen=True, slots=True)
class FlowSchedule:
    """When a flow runs by itself; the fields are the arguments of ``Scheduler.schedule``."""

    cron: str | None
    timezone: str
    fixed_rate: float | None
    fixed_delay: float | None
    missed: str
    misfire_grace: float | None
    max_instances: int | None
    overlap: str
    jitter: float
    starts: datetime | None
    ends: datetime | None
    priority: int
    params: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """Return it as keyword arguments of ``Scheduler.schedule``."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow, complete and valid.

    Attributes:
        name: what it is called in the store.
        description: a text for people.
        source: the file's name, for messages.
        path: the file, None for a flow made from a table.
        directory: what relative paths in it are relative to.
        digest: changes when what the flow says changes (comments and spaces do not count).
        params: its parameters by name.
        jobs: its jobs by name, in the order of the file.
        secrets: the places that use secrets, and the names of those.
        schedule: when it runs by itself while it is served, None for never; not part of the digest.
        bound: how many of its runs go on at once, and what becomes of one more; not part of the digest either.
    """

    name: str
    description: str
    source: str
    path: Path | None
    directory: Path
    digest: str
    params: Mapping[str, Param]
    jobs: Mapping[str, JobSpec]
    secrets: tuple[tuple[str, str], ...] = ()
    schedule: FlowSchedule | None = None
    bound: Bound = UNBOUNDED

    def bind(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the value of every parameter, from what is given and the defaults.

        Raises:
            TypeError: what is given is no mapping.
            FlowError: a value is missing, of a wrong type or not declared; or a secret is not in the environment.
        """
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"params must be a mapping of names to values, got {given!r}")
        problems = Problems(self.source)
        for place, name in self.secrets:
            if message := secret_problem(name):
                problems.add(place, message)
        problems.raise_if_any()
        return bind_params(self.params, given or {}, self.source)
