"""``sequence``: one block after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .._ground.values import Kept
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(Block):
    """Runs its blocks in order; the output is that of the last.

    A step with a ``name`` can be used by those after it: ``${steps.NAME.output}``.
    """

    kind: ClassVar[str] = "sequence"
    steps: tuple[Block, ...]

    async def run(self, frame: Frame) -> object:
        """Run one step after the other; the first that fails ends it."""
        output: object = None
        kept = Kept(self.path)
        for step in self.steps:
            output = await frame.run(step)
            if step.name is not None:
                kept.add(output)
                frame = frame.with_step(step.name, output)
        return output

    def children(self) -> Iterator[Block]:
        """Yield the steps."""
        return iter(self.steps)


def read_sequence(reader: BlockReader) -> Sequence:
    """Read ``sequence``, a list of blocks."""
    return Sequence(**reader.common(), steps=reader.blocks("sequence", sequential=True))
