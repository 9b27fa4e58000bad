"""The timetable of a service: the schedules in its flow files, stored at each start."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ..scheduler._blocks.flow import Flow
from ..scheduler._engine.scheduler import Scheduler
from ..scheduler._ground.errors import FlowError
from ..scheduler._store.schedule_records import ScheduleRecord

logger = logging.getLogger("lifecycle.scheduler")


async def put_schedules(scheduler: Scheduler, flows: Sequence[Flow]) -> None:
    """Store the schedules of the flows as the files say, and go on with runs that are unfinished.

    A schedule of a flow that is not served stays as it is, and is not fired until the flow is served again.

    Cancellation: some may have been stored.

    Raises:
        FlowError: the store has a schedule of a flow's name that does not run this flow; nothing was changed.
        StoreError: the store cannot be used any more.
    """
    stored = {record.name: record for record in await scheduler.schedules()}
    served = {flow.name: flow for flow in flows}
    _check_names(served, stored)
    for name, flow in served.items():
        await scheduler.serve_flow(flow)
        if flow.schedule is not None:
            await scheduler.schedule(name, flow, **flow.schedule.settings())
        elif name in stored and stored[name].flow == name:
            await scheduler.schedule_named(name).remove()
            logger.info("schedule removed", extra={"owner": scheduler.name, "schedule": name, "flow": name})
    for record in stored.values():
        if record.flow is not None and record.flow not in served:
            extra = {"owner": scheduler.name, "schedule": record.name, "flow": record.flow}
            logger.info("schedule left alone: its flow is not served here", extra=extra)


def _check_names(served: Mapping[str, Flow], stored: Mapping[str, ScheduleRecord]) -> None:
    problems = [
        f"{flow.source}: schedule: the database has another schedule {name!r}, which does not run this flow; "
        "give the flow another name, or remove that one"
        for name, flow in served.items()
        if flow.schedule is not None and name in stored and stored[name].flow != name
    ]
    if problems:
        raise FlowError(problems)


def check_schedule(flow: Flow, problems: list[str]) -> None:
    """Report secrets that are not in the environment: a scheduled run would fail without them."""
    try:
        if flow.schedule is not None:
            flow.bind(flow.schedule.params)
    except FlowError as error:
        problems.extend(error.problems)
