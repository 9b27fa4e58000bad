"""``retry``: one block, tried again when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .._ground.text import quote
from .._language.table import TableReader
from .again import run_again
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBlock(Block):
    """Runs its block until it succeeds, a number of times; an attempt starts when the one before it has ended.

    This retry lives inside one job and forgets its count when the job is interrupted. ``retries`` of a
    top-level block is kept in the store instead.

    Attributes:
        do: the block.
        attempts: how often it is tried at most.
        backoff: the first and the longest pause, in seconds.
    """

    kind: ClassVar[str] = "retry"
    do: Block | None
    attempts: int
    backoff: tuple[float, float]

    async def run(self, frame: Frame) -> object:
        """Run the block; after a failure wait and run it again, until the attempts are used up."""
        assert self.do is not None  # a flow with problems never runs
        return await run_again(frame, self.do, self.attempts, self.backoff)

    def children(self) -> Iterator[Block]:
        """Yield the block."""
        return iter(() if self.do is None else (self.do,))


def read_retry(reader: BlockReader) -> RetryBlock:
    """Read ``retry`` (a number of attempts, or a table with ``attempts`` and ``backoff``) and ``do``."""
    value = reader.raw("retry")
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"attempts": value}
    if not isinstance(value, dict):
        reader.problem("retry", f"expected a number of attempts or a table, got {quote(value)}")
        value = {}
    inner = TableReader(value, reader.place("retry"), reader.problems)
    attempts = inner.integer("attempts", 3, minimum=1, maximum=10_000)
    backoff = inner.backoff("backoff")
    inner.finish()
    return RetryBlock(**reader.common(), do=reader.block("do"), attempts=attempts, backoff=backoff)
