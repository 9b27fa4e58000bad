"""Signals: the first two that ask a process to end are told, and the third ends it, loop or no loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_Handler = Callable[[int, FrameType | None], object] | signal.Handlers

#: The signals that ask a process to end, and what happens to each where a program has not said anything else.
DEFAULTS: dict[signal.Signals, _Handler] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextmanager
def handled_signals(callback: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Have *callback* called for the first two signals; the third ends the process.

    A signal that is handled otherwise is left alone: it was ignored when the program was started, as those of a
    shell's background job and of ``nohup`` are, or the program has set a handler of its own. Nothing is done where no
    handler can be set, which is everywhere but in the main thread of the main interpreter.

    Handlers of the interpreter rather than of the loop, because they also run while the loop is blocked, and before
    there is one.

    Args:
        callback: called between any two steps of the main thread.
    """
    received = 0

    def handler(number: int, _: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 2:
            os._exit(128 + number)
        callback(signal.Signals(number))

    handled = [number for number, default in DEFAULTS.items() if signal.getsignal(number) == default]
    try:
        for number in handled:
            signal.signal(number, handler)
    except ValueError:  # another thread, or another interpreter, than the main one
        handled.clear()
    try:
        yield
    finally:
        for number in handled:
            if signal.getsignal(number) is handler:  # what the program has set meanwhile is to stay
                signal.signal(number, DEFAULTS[number])
