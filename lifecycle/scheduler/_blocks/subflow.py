"""``subflow``: the blocks of another flow file, inside of this job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._ground.text import quote
from .._language.expressions import Reference, references
from .._language.params import check_params
from .._work.crew import WIDTH, width_problem
from .block import Block
from .order import run_jobs

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .flow import Flow
    from .reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Subflow(Block):
    """Runs another flow within this job; the output is a table of the outputs of its jobs.

    The file is read and checked together with the flow that names it. Its jobs have no rows in the store: they
    are part of this job and start again with it.

    Attributes:
        flow: what is run.
        params: values of its parameters, compiled.
        width: how many of its jobs run at once, a number or an expression.
    """

    kind: ClassVar[str] = "subflow"
    flow: Flow | None
    params: dict[str, Any]
    width: Any

    async def run(self, frame: Frame) -> object:
        """Run the flow's jobs, each when those that it needs have ended."""
        assert self.flow is not None  # a flow with problems never runs
        params = self.flow.bind(frame.resolve(self.params))
        run = {**frame.names["run"], "flow": self.flow.name, "directory": str(self.flow.directory)}
        width = frame.setting(self.width, width_problem, "width")
        inner = frame.moved(self.flow.directory)
        return await run_jobs(inner, self.flow, {"params": params, "run": run}, width=width, path=self.path)

    def references(self) -> Iterator[Reference]:
        """Yield the references in the parameters; those inside of the other flow are its own."""
        yield from references(self.params)
        yield from references(self.width)


def read_subflow(reader: BlockReader) -> Subflow:
    """Read ``subflow`` (the file), ``params`` and ``width``."""
    common = reader.common()
    name = reader.text("subflow")
    flow = reader.flow.load_subflow(reader, name) if isinstance(reader.raw("subflow"), str) and name else None
    params = reader.value("params", {})
    if not isinstance(params, dict):
        reader.problem("params", f"expected a table, got {quote(params)}")
        params = {}
    if flow is not None:
        check_params(flow.params, params, reader.problem, flow.source)
    return Subflow(**common, flow=flow, params=params, width=reader.setting("width", width_problem, WIDTH))
