"""Interrupts: whether a KeyboardInterrupt is the operator's, whose signal has arrived, or a program has raised it."""

from __future__ import annotations

import dis
import signal
import threading
from functools import partial
from traceback import walk_tb
from types import CodeType, TracebackType
from typing import Any


def from_operator(error: BaseException) -> bool:
    """Return whether a signal has brought *error* about: Python runs what handles signals in the main thread only.

    A handler of the program's, such as that of ``asyncio.run``, stands in the traceback. Python's own is no Python
    code: with it an interrupt is the operator's unless a statement has raised it.
    """
    traceback = error.__traceback__
    if not isinstance(error, KeyboardInterrupt) or traceback is None:
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    installed = signal.getsignal(signal.SIGINT)
    if installed is signal.default_int_handler:
        return not _raised_by_statement(traceback)
    code = _code_of(installed)
    return code is not None and any(frame.f_code is code for frame, _ in walk_tb(traceback))


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
