"""A new event loop: made, run through whatever its tasks raise, and closed.

Beside the kernel the only file that touches native asyncio calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
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


def _new_loop(*, use_uvloop: bool) -> asyncio.AbstractEventLoop:
    if not use_uvloop:
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError as error:
        raise ImportError("run(use_uvloop=True) needs uvloop; install it with `pip install uvloop`") from error
    return uvloop.new_event_loop()
