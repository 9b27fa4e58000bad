"""``parallel``: blocks at the same time, a limited number at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._language.expressions import Reference, references
from .._work.crew import WIDTH, run_crew, width_problem
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(Block):
    """Runs its blocks at the same time; the output is the list of theirs, in the order of the flow.

    Attributes:
        branches: the blocks.
        width: how many run at once, a number or an expression.
        stop: whether the first failure stops the others; else they finish and then the block fails.
    """

    kind: ClassVar[str] = "parallel"
    branches: tuple[Block, ...]
    width: Any
    stop: bool

    async def run(self, frame: Frame) -> object:
        """Run all branches, at most ``width`` at once."""

        async def run_branch(own: Frame, _index: int, branch: Block) -> object:
            return await own.run(branch)

        width = frame.setting(self.width, width_problem, "width")
        return await run_crew(frame, run_branch, self.branches, width=width, stop=self.stop, path=self.path)

    def references(self) -> Iterator[Reference]:
        """Yield the reference in ``width``."""
        return references(self.width)

    def children(self) -> Iterator[Block]:
        """Yield the branches."""
        return iter(self.branches)


def read_parallel(reader: BlockReader) -> Parallel:
    """Read ``parallel`` (a list of blocks), ``width`` and ``on_failure``."""
    return Parallel(
        **reader.common(),
        branches=reader.blocks("parallel", sequential=False),
        width=reader.setting("width", width_problem, WIDTH),
        stop=reader.choice("on_failure", ("stop", "finish")) == "stop",
    )
