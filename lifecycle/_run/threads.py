"""Threads: those that work for one loop, what each of them runs, and how a process ends without the stuck ones."""

from __future__ import annotations

import atexit
import functools
import sys
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as pool
from contextlib import suppress
from contextvars import Context
from threading import Thread
from types import FrameType
from typing import NoReturn

from .._ground import kernel
from .._ground.calls import name_of

#: The calls with which every thread begins.
_BEGIN = {"_bootstrap", "_bootstrap_inner", "run"}


class Workers:
    """The threads that work for *loop*: those of its default executor, and anyio's.

    They are told from all other threads of the process, since nobody else waits for them.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._of_executor: list[Thread] = []
        note = self._of_executor.append
        self._executor = ThreadPoolExecutor(
            thread_name_prefix="asyncio", initializer=lambda: note(threading.current_thread())
        )
        loop.set_default_executor(self._executor)

    def dismiss(self) -> list[Thread]:
        """Take no more work; return the threads that are left, which end when they have done what they were given."""
        self._executor.shutdown(wait=False)
        return [*self._of_executor, *filter(self._is_of_anyio, threading.enumerate())]

    def _is_of_anyio(self, thread: Thread) -> bool:
        return type(thread).__module__.startswith("anyio.") and getattr(thread, "loop", None) is self._loop


async def wait_until_ended(threads: Sequence[Thread], enough: Future[None]) -> None:
    """Wait until *threads* have ended, or *enough* is done; none of ours is left if they have.

    Cancellation: ends the waiting, nothing else.
    """
    loop, end = kernel.running_loop(), kernel.new_future()

    def wait() -> None:
        for thread in threads:
            thread.join()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            loop.call_soon_threadsafe(end.set_result, None)

    waiting = Thread(target=wait, name="lifecycle.run waits for threads", daemon=True)
    waiting.start()
    await kernel.wait_any(end, enough)
    if end.done():
        waiting.join()


def described(thread: Thread) -> str:
    """Return the name of *thread*, and what it runs, with the place of each call, outermost first."""
    calls = _calls_of(thread)
    machinery = 0
    while machinery < len(calls) and _is_machinery(calls[machinery], machinery):
        machinery += 1
    work = calls[machinery].f_code.co_qualname if machinery < len(calls) else _function_called_by(calls)
    places = (f"{call.f_code.co_filename}:{call.f_lineno} in {call.f_code.co_qualname}" for call in calls[machinery:])
    about = f"thread {thread.name!r}" if work is None else f"thread {thread.name!r}, which runs {work}"
    return about + "".join(f"\n    {place}" for place in places)


def _calls_of(thread: Thread) -> list[FrameType]:
    calls: list[FrameType] = []
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        calls.append(frame)
        frame = frame.f_back
    return calls[::-1]


def _is_machinery(call: FrameType, depth: int) -> bool:
    """Whether a call, at this depth of its thread, is the thread's own, or its pool's."""
    code = call.f_code
    if code.co_filename == threading.__file__:
        return depth < len(_BEGIN) and code.co_name in _BEGIN
    return code.co_filename == pool.__file__ or call.f_globals.get("__name__") == "anyio._backends._asyncio"


def _function_called_by(calls: list[FrameType]) -> str | None:
    """Return the name of a function in C, which has no frame: the pool that calls it still has it at hand."""
    held = calls[-1].f_locals if calls else {}
    function = held.get("func") or held.get("fn") or getattr(held.get("self"), "fn", None)
    if isinstance(function, functools.partial) and isinstance(getattr(function.func, "__self__", None), Context):
        function = function.args[0]  # asyncio.to_thread has it called in a context
    return None if function is None else name_of(function)


def leave_behind(threads: Sequence[Thread]) -> None:
    """Have the interpreter end without waiting for *threads*, as if they were daemons.

    Only when it ends: until then they are what they were, and may still come to their own end. Everything else of the
    interpreter's end takes place, and the exit code is the program's own.
    """
    if threads:
        with suppress(RuntimeError):  # it is ending already
            threading._register_atexit(_let_go, threads)  # type: ignore[attr-defined]


def _let_go(threads: Sequence[Thread]) -> None:
    """Make whoever joins *threads* believe that they have ended: one that runs cannot be made a daemon any more."""
    for thread in threads:
        if not thread.is_alive():
            continue
        if sys.version_info >= (3, 13):
            handle = "_os_thread_handle" if sys.version_info >= (3, 14) else "_handle"
            getattr(thread, handle)._set_done()
        else:
            with suppress(RuntimeError, AttributeError):  # it has ended since it was looked at, or was joined as well
                thread._tstate_lock.release()  # type: ignore[attr-defined]
    if sys.version_info >= (3, 15):
        threading._thread_shutdown = _Rounds()
    elif sys.version_info >= (3, 13):
        threading._thread_shutdown = _wait_for_others  # the interpreter's own asks for those threads again and again


class _Rounds:
    """The interpreter's waits for threads, of which 3.15 begins another after the functions of `atexit`.

    It would begin one after the other for ever: as long as there is a thread that is no daemon, whatever we have made
    of it. But a wait that was broken off, as by Ctrl-C, is the last one, and the interpreter ends with what is left.
    """

    def __init__(self) -> None:
        self._last = False

    def __call__(self) -> None:
        """Wait for the others; the second time, break off, and the interpreter waits no more."""
        _wait_for_others()
        if self._last:
            while atexit._ncallbacks():  # registered by one of them: they would be called after this wait
                atexit._run_exitfuncs()
                _wait_for_others()
            _break_off()
        self._last = True


class _Enough(BaseException):
    """What breaks off a wait for threads; nobody is to see it."""


def _break_off() -> NoReturn:
    """Raise an error out of the interpreter's wait, and have it not shown."""
    before = sys.unraisablehook

    def hook(told: sys.UnraisableHookArgs) -> None:
        if isinstance(told.exc_value, _Enough):
            sys.unraisablehook = before
        else:
            before(told)

    sys.unraisablehook = hook
    raise _Enough


def _wait_for_others() -> None:
    """Wait as the interpreter does: until no thread is left that is no daemon, those that begin meanwhile included."""
    while others := [
        thread
        for thread in threading.enumerate()
        if thread.is_alive() and not thread.daemon and thread is not threading.main_thread()
    ]:
        for thread in others:
            thread.join()
