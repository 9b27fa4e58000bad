"""A new event loop: made, run through whatever its tasks raise, and closed with a bound on its threads.

Beside the kernel the only file that touches native asyncio calls.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Callable, Coroutine
from typing import Any

from . import kernel


def run_in_new_loop(
    main: Callable[[], Coroutine[Any, Any, None]],
    on_fatal: Callable[[BaseException], None],
    *,
    use_uvloop: bool,
    thread_timeout: float,
) -> None:
    """Run ``main()`` in a new event loop and close the loop, waiting for nothing but its default executor.

    Args:
        main: must leave no task behind that it could have ended; what it leaves is not waited for.
        on_fatal: called in the loop with a ``KeyboardInterrupt`` or ``SystemExit`` that some task has raised, which
            stops asyncio's loop; ``main`` goes on and should come to its end.
        use_uvloop: make a loop of uvloop's.
        thread_timeout: seconds that threads of the default executor may take to end.

    Raises:
        RuntimeError: a loop is running in this thread already.
        ImportError: uvloop is not installed.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("run() cannot be called from a running event loop; await your main function instead")
    loop = _new_loop(use_uvloop=use_uvloop)
    try:
        asyncio.set_event_loop(loop)
        _run_through(loop, main(), on_fatal)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(_shut_executor_down(thread_timeout))
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


def _new_loop(*, use_uvloop: bool) -> asyncio.AbstractEventLoop:
    if not use_uvloop:
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError as error:
        raise ImportError("run(use_uvloop=True) needs uvloop; install it with `pip install uvloop`") from error
    return uvloop.new_event_loop()


async def _shut_executor_down(timeout: float) -> None:
    """Wait for the threads of the default executor; the loop's own method has no bound on Python 3.11."""
    shutdown = kernel.spawn_kept(get_running_loop().shutdown_default_executor(), "shutdown of the default executor")
    await kernel.wait(shutdown, timeout)
