"""Interrupts: whether what would end the process is the operator's, whose signal has arrived, or a program's own."""

from __future__ import annotations

import dis
import signal
import threading
from collections.abc import Iterator
from functools import partial
from traceback import walk_tb
from types import CodeType, TracebackType
from typing import Any


def from_operator(error: BaseException) -> bool:
    """Return whether a signal has brought *error* about: Python runs what handles signals in the main thread only.

    What a program has set for a signal, and that of ``asyncio.run``, stands in the traceback. Python's own is no Python
    code: with it a KeyboardInterrupt is the operator's unless a statement has raised it.
    """
    traceback = error.__traceback__
    if isinstance(error, Exception) or traceback is None:
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return not _raised_by_statement(traceback)
    set_by_program = set(_codes())
    return any(frame.f_code in set_by_program for frame, _ in walk_tb(traceback))


def _codes() -> Iterator[CodeType]:
    """Yield the code of what handles signals in this process."""
    for number in signal.valid_signals():
        code = _code_of(signal.getsignal(number))
        if code is not None:
            yield code


def _code_of(function: Any) -> CodeType | None:
    while isinstance(function, partial):
        function = function.func
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _raised_by_statement(traceback: TracebackType) -> bool:
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    instruction = traceback.tb_frame.f_code.co_code[traceback.tb_lasti]
    return dis.opname[instruction] in ("RAISE_VARARGS", "RERAISE")
