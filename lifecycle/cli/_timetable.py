"""The timetable of a service: the schedules in its flow files, put into the store at each start."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..scheduler._blocks.flow import Flow
from ..scheduler._engine.scheduler import Scheduler
from ..scheduler._ground.errors import FlowError

logger = logging.getLogger("lifecycle.scheduler")


async def put_schedules(scheduler: Scheduler, flows: Sequence[Flow]) -> None:
    """Have the schedules of the flows in the store as the files say, and what runs are left over go on.

    A schedule of a flow that is not served stays as it is: nobody fires it until somebody serves the flow again.

    Cancellation: some may have been put in.

    Raises:
        FlowError: the store has a schedule of a flow's name that does not run this flow; nothing was changed.
        StoreError: the store cannot be used any more.
    """
    stored = {record.name: record for record in await scheduler.schedules()}
    served = {flow.name: flow for flow in flows}
    foreign = [
        f"{flow.source}: schedule: the database has another schedule {name!r}, which does not run this flow; "
        "give the flow another name, or remove that one"
        for name, flow in served.items()
        if flow.schedule is not None and name in stored and stored[name].flow != name
    ]
    if foreign:
        raise FlowError(foreign)
    for name, flow in served.items():
        await scheduler.serve_flow(flow)
        if flow.schedule is not None:
            await scheduler.schedule(name, flow, **flow.schedule.settings())
        elif name in stored and stored[name].flow == name:
            await scheduler.schedule_named(name).remove()
            logger.info("schedule %r is removed: its flow has none any more", name, extra={"flow": name})
    for record in stored.values():
        if record.flow is not None and record.flow not in served:
            what = "schedule %r is left alone: its flow %r is not served here"
            logger.info(what, record.name, record.flow, extra={"flow": record.flow})


def check_schedule(flow: Flow, problems: list[str]) -> None:
    """Report what a run that nobody starts by hand would miss: secrets that are not in the environment."""
    try:
        if flow.schedule is not None:
            flow.bind(flow.schedule.params)
    except FlowError as error:
        problems.extend(error.problems)
