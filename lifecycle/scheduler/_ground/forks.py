"""Forks: two processes come back from a handler that forks, and only one of them is the service.

The child has a copy of everything: the jobs, the store, the event loop in whose step it was forked, the ports. It may
do what the handler meant it to do, and ends where the handler's code does: it records no outcome, runs no clean-up of
the service, and does not go on with the loop, whose other jobs are its parent's.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import NoReturn, Protocol

from .bridge import end_loop_here, loop_running_here, scheduler_lives

FAILED = 70
"""The exit code of a child that its handler's code left with an error: EX_SOFTWARE."""


class HasFileno(Protocol):
    """Something with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor, negative when it is closed."""


_generation = 0
_ours: dict[int, HasFileno] = {}
_forking = threading.local()


def generation() -> int:
    """Return a number that is another one in every forked child."""
    return _generation


def close_in_children(thing: HasFileno) -> Callable[[], object]:
    """Take a port or a connection away from every forked child, until what comes back is called.

    With a port in a child's hands no other service could have it when this one has ended, and clients would be
    connected to nobody.
    """
    _ours[id(thing)] = thing
    return partial(_ours.pop, id(thing), None)


def end_child(error: BaseException | None) -> NoReturn:
    """End the child that a handler has forked, at the end of the handler's code; its parent goes on."""
    code: object = error.code if isinstance(error, SystemExit) else None
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
        code = FAILED
    _flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else FAILED)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()


def _end_instead_of_the_loop() -> None:
    """End the child in place of a step of the loop that it has been forked in."""
    end_child(RuntimeError("a forked child of an async handler cannot await anything: the event loop is its parent's"))


def _before() -> None:
    _forking.loop = loop_running_here()
    if scheduler_lives():
        _flush()  # or the child, which writes what it has printed, would write what is of its parent once more


def _in_child() -> None:
    global _generation
    _generation += 1
    nothing = os.open(os.devnull, os.O_RDWR)
    for thing in _ours.values():
        if (number := thing.fileno()) >= 0:
            os.dup2(nothing, number, inheritable=False)  # who closes it later closes nothing of somebody else
    _ours.clear()
    os.close(nothing)
    loop, _forking.loop = getattr(_forking, "loop", None), None
    if loop is not None:
        end_loop_here(loop, _end_instead_of_the_loop)


def _in_parent() -> None:
    _forking.loop = None


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
