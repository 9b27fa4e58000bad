"""The flow files of a service: read when it starts, and again when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..scheduler._blocks.flow import Flow
from ..scheduler._flows.load import load_flow
from ..scheduler._ground.errors import FlowError
from ._timetable import check_schedule


@dataclass(frozen=True)
class FlowFiles:
    """Files with flows, whose names differ.

    Attributes:
        paths: where they are.
        flows: the flow in each file, None where that one was never right.
    """

    paths: Sequence[Path] = ()
    flows: Sequence[Flow | None] = ()

    @property
    def served(self) -> tuple[Flow, ...]:
        """The flows that there are."""
        return tuple(flow for flow in self.flows if flow is not None)

    def read(self) -> tuple[FlowFiles, list[str]]:
        """Return the same files as they are now, and what is wrong: a file that is not right keeps the flow it had."""
        problems: list[str] = []
        known = self.flows or [None] * len(self.paths)
        read = [self._read_one(path, problems) for path in self.paths]
        flows: list[Flow | None] = []
        # The names of all that stay go first, so that no new flow takes the name of one whose file is broken.
        taken = {old.name for old, new in zip(known, read, strict=True) if new is None and old is not None}
        for path, old, new in zip(self.paths, known, read, strict=True):
            if new is not None and new.name in taken:
                other = next(one for one in [*flows, *known] if one is not None and one.name == new.name)
                problems.append(f"{path}: there is another flow {new.name!r}, in {other.source}")
                new = None
            flow = new or old
            if new is not None:
                taken.add(new.name)
            flows.append(flow)
        return FlowFiles(self.paths, flows), problems

    def _read_one(self, path: Path, problems: list[str]) -> Flow | None:
        mine: list[str] = []
        try:
            flow = load_flow(path)
            check_schedule(flow, mine)
        except FlowError as error:
            mine.extend(error.problems)
        problems.extend(mine)
        return None if mine else flow
