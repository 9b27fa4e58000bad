"""The kinds of blocks. To add one: write its file, and enter the function that reads it in ``KINDS``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .._ground.text import did_you_mean, listing, quote
from .block import Block
from .call import Call, read_call
from .conditional import If, read_if
from .foreach import Foreach, read_foreach
from .http import Http, read_http
from .kubernetes import KubernetesBlock, read_kubernetes
from .parallel import Parallel, read_parallel
from .reader import BlockReader
from .retry import RetryBlock, read_retry
from .sequence import Sequence, read_sequence
from .shell import Shell, read_shell
from .sleep import Sleep, read_sleep
from .subflow import Subflow, read_subflow
from .wait_for import WaitFor, read_wait_for

KINDS: Final[dict[str, Callable[[BlockReader], Block]]] = {
    Call.kind: read_call,
    Shell.kind: read_shell,
    Http.kind: read_http,
    KubernetesBlock.kind: read_kubernetes,
    Sequence.kind: read_sequence,
    Parallel.kind: read_parallel,
    Foreach.kind: read_foreach,
    RetryBlock.kind: read_retry,
    If.kind: read_if,
    WaitFor.kind: read_wait_for,
    Subflow.kind: read_subflow,
    Sleep.kind: read_sleep,
}


def read_block(reader: BlockReader) -> Block | None:
    """Return the block in *reader*'s table, None when it is not a block; problems go to the reader.

    The caller reads further keys of its own (``needs``, ``retries``) before ``reader.finish()``.
    """
    kinds = [kind for kind in KINDS if kind in reader]
    if len(kinds) == 1:
        return KINDS[kinds[0]](reader)
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
