"""A new event loop: made, run through whatever its tasks raise, and closed.

Beside the kernel the only file that touches native asyncio calls.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any


def run_in_new_loop(
    main: Callable[[], Coroutine[Any, Any, None]],
    after: Callable[[], Coroutine[Any, Any, None]],
    on_fatal: Callable[[BaseException], None],
    *,
    use_uvloop: bool,
) -> None:
    """Run ``main()`` in a new event loop, then ``after()``, and close the loop.

    Args:
        main: must leave no task behind that it could have ended; what it leaves is not waited for.
        after: run when *main* has ended, and anyio has told its worker threads so.
        on_fatal: called in the loop with a ``KeyboardInterrupt`` or ``SystemExit`` that some task has raised, which
            stops asyncio's loop; ``main`` goes on and should come to its end.
        use_uvloop: make a loop of uvloop's.

    Raises:
        RuntimeError: a loop is running in this thread already.
        ImportError: uvloop is not installed.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("run() cannot be called from a running event loop; await your main function instead")
    loop = _new_loop(use_uvloop=use_uvloop)
    try:
        asyncio.set_event_loop(loop)
        with _woken_by_signals(loop):
            _run_through(loop, main(), on_fatal)
            _run_through(loop, after(), on_fatal)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _run_through(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, None], on_fatal: Callable[[BaseException], None]
) -> None:
    task = loop.create_task(coro)
    while not task.done():
        try:
            loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit) as error:
            if task.done():
                raise
            loop.call_soon(on_fatal, error)


@contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have every signal wake *loop*, so that its Python handler runs at once.

    The interpreter runs a handler between two steps of the main thread. A loop that waits for events makes no step: a
    signal that arrives just before it begins to wait, or in another thread, interrupts nothing, and would be taken
    when something else happens, in an idle service never. So the interpreter is to write to a socket of the loop's, as
    asyncio has it for `add_signal_handler` alone; the loops of uvloop and of Windows do it themselves.
    """
    if not isinstance(loop, asyncio.SelectorEventLoop):
        yield
        return
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        try:
            _set_wakeup(writing.fileno(), instead_of=-1)
        except ValueError:  # another thread than the main one, which gets no signals
            yield
            return
        loop.add_reader(reading, _drain, reading)
        try:
            yield
        finally:
            loop.remove_reader(reading)
            _set_wakeup(-1, instead_of=writing.fileno())


def _set_wakeup(fd: int, *, instead_of: int) -> None:
    """Set the file descriptor that the interpreter writes signals to, unless it is the program's own."""
    before = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    if before != instead_of:
        signal.set_wakeup_fd(before)


def _drain(reading: socket.socket) -> None:
    with suppress(BlockingIOError):
        while reading.recv(4096):
            pass


def _new_loop(*, use_uvloop: bool) -> asyncio.AbstractEventLoop:
    if not use_uvloop:
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError as error:
        raise ImportError("run(use_uvloop=True) needs uvloop; install it with `pip install uvloop`") from error
    return uvloop.new_event_loop()
