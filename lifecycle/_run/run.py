"""run: an event loop that ends with its process, or the process with it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from typing_extensions import TypeVarTuple, Unpack

from .._ground.calls import coroutine_of
from .._ground.checks import checked_async, checked_callable, checked_timeout
from .._ground.logs import shown_on_stderr
from .._ground.loop import run_in_new_loop
from .process import Process
from .signals import handled_signals

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(
    main: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
    *args: Unpack[Ts],
    drain_timeout: float | None = 10.0,
    cancel_timeout: float | None = 5.0,
    use_uvloop: bool = False,
) -> T:
    """Run ``main(*args)`` in a new event loop, end everything that it left, and return its value.

    The first SIGINT or SIGTERM cancels *main*, whose owners close as their blocks are left, and drains the background
    tasks; all of that within ``drain_timeout``. Then, or at a second signal, everything that still runs is cancelled
    and given ``cancel_timeout``, then cancelled once more. What is stuck a grace later is named on stderr with the
    place where it is suspended, and abandoned. A third signal ends the process at once. A signal that was ignored
    before, or has a handler of the program's, is left alone; so are all of them outside of the main thread.

    Threads cannot be cancelled. Those of the loop's default executor and anyio's worker threads, after a signal all
    that are no daemons, have ``cancel_timeout`` to end; the interpreter ends without those that are stuck, which are
    named on stderr with what they run.

    Warnings and errors of this package are shown on stderr unless the program has set up its logging.

    Args:
        main: the async function to run.
        args: what it is called with.
        drain_timeout: seconds for everything to end by itself, after a signal or after *main*; None for ever.
        cancel_timeout: seconds for what had to be cancelled; None for ever. Background tasks that have not ended by
            then are cancelled again, and get ``min(1, cancel_timeout)`` seconds more.
        use_uvloop: run in uvloop's event loop, which must be installed.

    Raises:
        KeyboardInterrupt: a SIGINT ended *main*. Uncaught it is shown in one line, and the process dies of the signal,
            which shells call exit code 130.
        SystemExit: a SIGTERM ended *main*; the exit code is 143.
        BaseException: what *main* raised. (If it *returned* in spite of a signal, its value is returned.) A
            ``SystemExit`` or ``KeyboardInterrupt`` that a background task raised, which ends *main* as a signal does.
        TypeError: *main* is not an async function. Nothing has been started.
        RuntimeError: a loop is running in this thread already.
        ImportError: ``use_uvloop`` without uvloop.
    """
    checked_callable(main, "main", args_follow=True)
    checked_async(main, "run() takes an async function", args_follow=True)
    limits = (
        checked_timeout(drain_timeout, "drain_timeout"),
        checked_timeout(cancel_timeout, "cancel_timeout"),
    )
    process: Process[T] = Process(*limits)
    with shown_on_stderr(), handled_signals(process.on_signal):
        run_in_new_loop(
            lambda: process.supervise(coroutine_of(main, args)),
            process.wait_for_threads,
            process.on_fatal,
            use_uvloop=use_uvloop,
        )
    return process.outcome()
