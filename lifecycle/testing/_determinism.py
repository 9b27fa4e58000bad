"""What else would make two equal runs differ: anyio's cancel scopes, and tasks made past the task factory."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from typing import TYPE_CHECKING, Any

from anyio._backends import _asyncio as anyio_asyncio

if TYPE_CHECKING:
    from collections.abc import Iterator

from ._task import VirtualTask

try:
    from .. import _kernel
except ImportError:  # the kit also runs beside an anyio that is too old for the rest of this package
    _kernel = None  # type: ignore[assignment]

_CancelScope: Any = anyio_asyncio.CancelScope
_depth = 0


@contextlib.contextmanager
def numbered_scopes() -> Iterator[None]:
    """Let anyio's cancel scopes hash by the order in which they are first put into a set.

    A cancel scope keeps its inner scopes in a set and cancels them in the order of that set. Scopes are
    compared by identity, so any constant hash is correct; numbering makes the order the same in every run.
    """
    global _depth
    if _depth:
        yield
        return
    counter = itertools.count(1)
    numbers: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def number(scope: Any) -> int:
        known = numbers.get(id(scope))
        if known is None or known[1]() is not scope:  # an address is used again
            known = numbers[id(scope)] = (next(counter), weakref.ref(scope))
        return known[0]

    plain = _CancelScope.__hash__
    _depth += 1
    _CancelScope.__hash__ = number
    try:
        with _numbered_kernel_tasks():
            yield
    finally:
        _depth -= 1
        _CancelScope.__hash__ = plain


@contextlib.contextmanager
def _numbered_kernel_tasks() -> Iterator[None]:
    """Let our own kernel make numbered tasks where it bypasses the task factory, as it does in production.

    A virtual loop therefore shows no task factory: with one, the kernel would take another path, and its
    eager tasks would never be explored.
    """
    kernel: Any = _kernel
    if kernel is None:
        yield
        return
    plain = kernel.Task
    kernel.Task = VirtualTask
    try:
        yield
    finally:
        kernel.Task = plain
