"""``sequence``: one block after the other."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
        kept, outputs = Kept(self.path), dict[str, Any]()
        # One table for all steps, which grows: each runs when those before it have ended.
        frame = frame.with_names({"steps": ChainMap(outputs, *_around(frame))})
        for step in self.steps:
            output = await frame.run(step)
            if step.name is not None:
                kept.add(output)
                outputs[step.name] = {"output": output}
        return output

    def children(self) -> Iterator[Block]:
        """Yield the steps."""
        return iter(self.steps)


def _around(frame: Frame) -> list[MutableMapping[str, Any]]:
    """Return the named steps of the surrounding sequences so far, those of the innermost first."""
    steps: ChainMap[str, Any] | None = frame.names.get("steps")
    return steps.maps if steps is not None else []


def read_sequence(reader: BlockReader) -> Sequence:
    """Read ``sequence``, a list of blocks."""
    return Sequence(**reader.common(), steps=reader.blocks("sequence", sequential=True))
