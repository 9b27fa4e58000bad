"""``wait_for``: runs one block again and again until a condition on its output is true, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .._ground.errors import BlockTimeout
from .._ground.pauses import pause_before
from .._ground.text import shorten
from .._language.conditions import holds
from .._language.expressions import Reference, Template, references
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader

TIMEOUT: Final = 300.0
"""Seconds it waits unless the flow says otherwise, so that nothing waits for ever by default."""

ATTEMPTS: Final = 1_000
"""How often the block runs unless the flow says otherwise."""

_OUTPUT: Final = Template((Reference("output", ()),))


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFor(Block):
    """Runs its block until a condition on the output is true; the output is that of the last run.

    The pause between two runs doubles, so that a long wait does not become a storm.

    Attributes:
        do: the block.
        until: the condition, compiled; in it ``${output}`` is the block's output.
        attempts: how often the block runs at most.
        interval: the first and the longest pause, in seconds.
        again: whether the block is run again after it failed.
    """

    kind: ClassVar[str] = "wait_for"
    do: Block | None
    until: Any
    attempts: int
    interval: tuple[float, float]
    again: bool

    async def run(self, frame: Frame) -> object:
        """Run the block until the condition is true, with pauses; the ``timeout`` bounds the whole."""
        assert self.do is not None  # a flow with problems never runs
        why = "the condition was not true"
        for attempt in range(1, self.attempts + 1):
            try:
                output = await frame.run(self.do)
                if holds(self.until, frame.with_names({"output": output}).resolve):
                    return output
                why = "the condition was not true"
            except Exception as error:
                if not self.again or frame.is_final(error):
                    raise
                why = f"{type(error).__name__}: {error}"
                frame.log(f"{self.path}: attempt {attempt} failed: {why}")
            if attempt < self.attempts:
                await frame.pause(pause_before(attempt, self.interval))
        raise BlockTimeout(f"gave up after {self.attempts} attempts; in the last one {shorten(why, 500)}")

    def references(self) -> Iterator[Reference]:
        """Yield the references in ``until``."""
        return (reference for reference in references(self.until) if reference.root != "output")

    def children(self) -> Iterator[Block]:
        """Yield the block."""
        return iter(() if self.do is None else (self.do,))


def read_wait_for(reader: BlockReader) -> WaitFor:
    """Read ``wait_for`` (the block), ``until``, ``attempts``, ``interval`` and ``on_failure``."""
    common = reader.common()
    if common["timeout"] is None:
        common["timeout"] = TIMEOUT
    inside = reader.available.with_items("output")
    interval = reader.backoff("interval", (1.0, 30.0))
    if not interval[0]:
        reader.problem("interval", "expected a first pause of more than 0 seconds")
    return WaitFor(
        **common,
        do=reader.block("wait_for"),
        until=reader.condition("until", inside) if "until" in reader else _OUTPUT,
        attempts=reader.integer("attempts", ATTEMPTS, minimum=1, maximum=1_000_000),
        interval=interval,
        again=reader.choice("on_failure", ("stop", "again")) == "again",
    )
