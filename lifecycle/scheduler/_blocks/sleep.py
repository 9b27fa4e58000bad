"""``sleep``: wait for some seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from .._ground.checks import seconds_problem
from .._language.expressions import Reference, references
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep(Block):
    """Waits; the output is the seconds.

    Attributes:
        seconds: how long, a number or an expression.
    """

    kind: ClassVar[str] = "sleep"
    seconds: Any

    async def run(self, frame: Frame) -> object:
        """Wait."""
        seconds = frame.setting(self.seconds, seconds_problem, "sleep")
        await anyio.sleep(seconds)
        return seconds

    def references(self) -> Iterator[Reference]:
        """Yield the reference in ``sleep``."""
        return references(self.seconds)


def read_sleep(reader: BlockReader) -> Sleep:
    """Read ``sleep``."""
    return Sleep(**reader.common(), seconds=reader.setting("sleep", seconds_problem))
