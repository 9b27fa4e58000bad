"""``if``: one block or another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._language.conditions import holds
from .._language.expressions import Reference, references
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class If(Block):
    """Runs one block when its condition is true and another when it is not; the output is that block's, or null.

    Attributes:
        condition: the condition, compiled.
        then: what runs when it is true.
        otherwise: what runs when it is not, if anything.
    """

    kind: ClassVar[str] = "if"
    condition: Any
    then: Block | None
    otherwise: Block | None

    async def run(self, frame: Frame) -> object:
        """Look at the condition, and run the block that it chooses."""
        chosen = self.then if holds(self.condition, frame.resolve) else self.otherwise
        return None if chosen is None else await frame.run(chosen)

    def references(self) -> Iterator[Reference]:
        """Yield the references in the condition."""
        return references(self.condition)

    def children(self) -> Iterator[Block]:
        """Yield both blocks."""
        return (block for block in (self.then, self.otherwise) if block is not None)


def read_if(reader: BlockReader) -> If:
    """Read ``if`` (the condition), ``then`` and ``else`` (blocks)."""
    return If(
        **reader.common(),
        condition=reader.condition("if"),
        then=reader.block("then"),
        otherwise=reader.block("else") if "else" in reader else None,
    )
