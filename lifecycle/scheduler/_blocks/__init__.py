"""The kinds of blocks. To add one: write its file, and put its class into ``KINDS``."""

from __future__ import annotations

from typing import Final

from .._ground.text import did_you_mean, listing, quote
from .block import Block
from .call import Call
from .conditional import If
from .foreach import Foreach
from .http import Http
from .parallel import Parallel
from .reader import BlockReader, FlowReading
from .retry import Retry
from .sequence import Sequence
from .shell import Shell
from .sleep import Sleep
from .subflow import Subflow
from .wait_for import WaitFor

KINDS: Final[dict[str, type[Block]]] = {
    kind.kind: kind for kind in (Call, Shell, Http, Sequence, Parallel, Foreach, Retry, If, WaitFor, Subflow, Sleep)
}

__all__ = ["KINDS", "Block", "BlockReader", "FlowReading", "read_block"]


def read_block(reader: BlockReader) -> Block | None:
    """Return the block that *reader* stands on, None when it is none; problems go to the reader.

    The caller reads further keys of its own (``needs``, ``retries``) before ``reader.finish()``.
    """
    kinds = [kind for kind in KINDS if kind in reader]
    if len(kinds) == 1:
        return KINDS[kinds[0]].read(reader)
    if kinds:
        reader.problems.add(reader.path, f"a block is of one kind, but it has the keys {listing(kinds)}")
    else:
        reader.problems.add(reader.path, _unknown_kind(reader))
    return None


def _unknown_kind(reader: BlockReader) -> str:
    for key in reader.unread():
        if hint := did_you_mean(key, KINDS):
            return f"unknown block {quote(key)}{hint}"
    keys = f"; its keys are {listing(reader.unread())}" if reader.unread() else ", but the table is empty"
    return f"unknown block: expected one of the keys {listing(KINDS, limit=20)}{keys}"
