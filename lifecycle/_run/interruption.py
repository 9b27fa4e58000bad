"""Interruption: the KeyboardInterrupt of a run that Ctrl-C has ended, which is shown as one line."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import TracebackType

_MARK = "_lifecycle_run_was_interrupted"


def interruption() -> KeyboardInterrupt:
    """Return what to raise after a SIGINT that has ended main; where nobody catches it, it is shown in one line.

    Who pressed Ctrl-C got what was asked for: a traceback of ``run`` says nothing, and looks like a defect. It is the
    builtin class itself, because the interpreter lets a process die of its signal for no other, and shells ask for
    that before they stop a loop.
    """
    before = sys.excepthook
    if getattr(before, "func", None) is not _show:
        sys.excepthook = functools.partial(_show, before)
    error = KeyboardInterrupt()
    setattr(error, _MARK, True)
    return error


def _show(
    before: Callable[[type[BaseException], BaseException, TracebackType | None], object],
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
) -> None:
    """Show an uncaught error as *before* does, which is not given the frames of an interruption."""
    if hasattr(error, _MARK):
        error, traceback = KeyboardInterrupt(), None
    before(kind, error, traceback)
