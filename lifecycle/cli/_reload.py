"""Reload: a service goes on with its flows as their files are now."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import anyio.to_thread

from lifecycle import LifecycleError

from ..scheduler._engine.scheduler import Scheduler
from ..scheduler._ground.errors import FlowError
from ..scheduler.control import ControlServer
from ._flow_files import FlowFiles
from ._timetable import put_schedules

logger = logging.getLogger("lifecycle.scheduler")


class Reload:
    """Reads the flows of a service again. A file that is not right keeps its flow, and the log says why.

    Runs that have begun go on with the flow that they began with. The modules of ``--handlers`` are not read again.

    Args:
        files: the flows as they were read last.
        scheduler: runs them.
        control: lets clients run them; None where there are none.
    """

    def __init__(self, files: FlowFiles, scheduler: Scheduler, control: ControlServer | None) -> None:
        self._files = files
        self._scheduler = scheduler
        self._control = control

    async def __call__(self) -> None:
        """Read all files, and serve what they say.

        Cancellation: some flows may be those of before.
        """
        try:
            files, problems = await anyio.to_thread.run_sync(self._files.read)
            self._refused(problems)
            await put_schedules(self._scheduler, files.served)
        except FlowError as error:
            self._refused(error.problems)
        except LifecycleError as error:  # it closes, or the store cannot be used any more
            self._refused([str(error)])
        except Exception as error:  # of a handler module, which may do anything: the service goes on
            logger.error("flow not read again", exc_info=error, extra={"owner": self._scheduler.name})
        else:
            self._files = files
            served = {flow.name: flow for flow in files.served}
            if self._control is not None:
                self._control.flows = served
            extra = {"owner": self._scheduler.name, "flows": sorted(served)}
            logger.info("flows read again", extra=extra)

    def _refused(self, problems: Iterable[str]) -> None:
        for problem in problems:
            logger.error("flow not read again", extra={"owner": self._scheduler.name, "problem": problem})
