"""What every kind of block has in common, and what it is given when it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .._language.expressions import Reference
    from .._work.frame import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(ABC):
    """One block of a flow, as it was read: immutable, the same for every run.

    A kind of block is one subclass in one file: ``run`` does the work, and a function at the end of the file
    reads it from a table: the table that has the key ``kind``. ``KINDS`` lists these functions.

    Attributes:
        path: its place in the flow, for messages.
        name: what a step is called; for a top-level block the key of its table.
        timeout: seconds it may take, None for no bound.
    """

    kind: ClassVar[str]
    path: str
    name: str | None = None
    timeout: float | None = None

    @property
    def calls(self) -> str | None:
        """The name of the handler that this block itself calls, None when it does something else."""
        return None

    @abstractmethod
    async def run(self, frame: Frame) -> object:
        """Do the work and return the output."""

    def references(self) -> Iterator[Reference]:
        """Yield the references in this block's own values."""
        return iter(())

    def children(self) -> Iterator[Block]:
        """Yield the blocks inside this one."""
        return iter(())

    def walk(self) -> Iterator[Block]:
        """Yield this block and all inside it."""
        yield self
        for child in self.children():
            yield from child.walk()
