"""The faults that an exploration injects: how each reaches its target, and what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import CodeType, TracebackType
from typing import Any

from anyio._backends._asyncio import CancelScope

from ..._ground.foreign import in_words
from ..._ground.frames import wrapper
from .._look.bubble import Bubble

CANCEL_MESSAGE = "injected by lifecycle.testing"

_by_code: dict[str, Fault] = {}


class InjectedBaseException(BaseException):
    """A BaseException that is not an Exception, a cancellation or a request to exit."""


class Target:
    """The task that a run injects into, and the handle through which its fault reaches it.

    Attributes:
        number: the task's number within its loop, the same in every run up to the injection.
        task: the task, once it has been made.
        is_group_child: whether an anyio task group made it: its value is never asked for.
        handle: whatever the fault put around the task's coroutine.
        cancelled: whether a native cancel was accepted, so that the task must end cancelled.
    """

    __slots__ = ("cancelled", "handle", "is_group_child", "number", "task")

    def __init__(self, number: int) -> None:
        self.number: int = number
        self.is_group_child: bool = False
        self.task: asyncio.Task[Any] | None = None
        self.handle: Any = None
        self.cancelled: bool = False


class Fault:
    """One kind of interruption.

    Attributes:
        name: as it stands in reports.
        code: as it stands in replay tokens.
        needs_start: whether the target must have begun.
        on_step: whether it strikes only where the target itself is about to continue an outside wait.
        again: whether it strikes a second time, during the clean-up that the first has caused.
    """

    name: str = "fault"
    code = "?"
    needs_start: bool = False
    on_step = False
    again: bool = False

    def wrap(self, coro: Any, target: Target) -> Any:
        """Put what the fault needs around the target's coroutine, before its task is made."""
        return coro

    def strike(self, target: Target, bubble: Bubble) -> None:
        """Strike now: the target is not done, and no task is running."""
        raise NotImplementedError

    def verdict(self, target: Target) -> str | None:
        """Say what is wrong with how the target ended, None when nothing is."""
        return None

    def __repr__(self) -> str:
        return self.name


def _task(target: Target) -> asyncio.Task[Any]:
    assert target.task is not None, "the fault strikes only a task that exists"
    return target.task


class NativeCancel(Fault):
    """``task.cancel()``: delivered once, pierces anyio's shields."""

    name: str = "cancel"
    code: str = "C"

    def strike(self, target: Target, bubble: Bubble) -> None:
        target.cancelled |= _task(target).cancel(CANCEL_MESSAGE)

    def verdict(self, target: Target) -> str | None:
        return _swallowed(target)


class CancelTwice(NativeCancel):
    """``task.cancel()``, and again when the task has run one step of the clean-up that it caused."""

    name: str = "cancel twice"
    code: str = "CC"
    again: bool = True


class CancelBeforeStart(NativeCancel):
    """``task.cancel()`` on a task that has not run its first step: its body never runs."""

    name: str = "cancel before start"
    code: str = "C0"


def _swallowed(target: Target) -> str | None:
    task = _task(target)
    if not target.cancelled or not task.done() or task.cancelled():
        return None
    error = task.exception()
    if error is None:
        return f"swallowed cancel: task {task.get_name()!r} returned although it was cancelled"
    if _holds_cancellation(error):
        return None
    return f"swallowed cancel: task {task.get_name()!r} raised {error!r} although it was cancelled"


def _holds_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_holds_cancellation(inner) for inner in error.exceptions)
    return isinstance(error, asyncio.CancelledError)


class ScopeCancel(Fault):
    """The cancel scope around the task is cancelled: delivered again at every wait, held off by shields."""

    name: str = "scope cancel"
    code: str = "S"

    def wrap(self, coro: Any, target: Target) -> Any:
        target.handle = CancelScope()
        return _in_scope(coro, target.handle, target.is_group_child)

    def strike(self, target: Target, bubble: Bubble) -> None:
        target.handle.cancel()


@wrapper
async def _in_scope(coro: Coroutine[Any, Any, Any], scope: CancelScope, is_group_child: bool) -> Any:
    with scope:
        return await coro
    # A child of an anyio group that was stopped by a scope of its own has simply ended: its group goes on. Any
    # other waiter for a task wants its value, and must be told that there is none.
    if not is_group_child:
        raise asyncio.CancelledError
    return None


class TimeoutNow(Fault):
    """An ``asyncio.timeout`` around the task expires at this instant."""

    name: str = "timeout"
    code: str = "T"
    needs_start: bool = True

    def wrap(self, coro: Any, target: Target) -> Any:
        target.handle = asyncio.Timeout(None)
        return _in_timeout(coro, target.handle)

    def strike(self, target: Target, bubble: Bubble) -> None:
        target.handle.reschedule(bubble.loop.time())

    def verdict(self, target: Target) -> str | None:
        task = _task(target)
        if not target.handle.expired() or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return f"swallowed timeout: task {task.get_name()!r} returned although its timeout had expired"


@wrapper
async def _in_timeout(coro: Coroutine[Any, Any, Any], timeout: asyncio.Timeout) -> Any:
    async with timeout:
        return await coro


class _ThrowingCoroutine(Coroutine[Any, Any, Any]):
    """Drives a coroutine, and raises an error where it would have been resumed, once armed."""

    def __init__(self, coro: Any) -> None:
        self._coro = coro
        self.armed: BaseException | None = None

    def send(self, value: Any) -> Any:
        if self.armed is not None:
            error, self.armed = self.armed, None
            return self._coro.throw(error)
        return self._coro.send(value)

    def throw(self, error: Any, value: Any = None, traceback: TracebackType | None = None) -> Any:
        self.armed = None  # something else came first, a cancellation: the outside wait did not fail
        return self._coro.throw(error)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Any:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:  # cr_frame, cr_await, __name__: dumps and anyio look at them
        return getattr(self._coro, name)


def without_wrapper(chain: list[tuple[CodeType, int]]) -> list[tuple[CodeType, int]]:
    """Leave out of a call chain what a fault has put around the target's coroutine."""
    while chain and chain[0][0].co_filename == __file__:
        chain = chain[1:]
    return chain


class Raise(Fault):
    """The outside wait (a sleep, a stream, a connection) that is about to end raises an error instead.

    It does not strike inside locks, queues, events and joins: those do not fail like that, and a lock that
    survives an impossible error proves nothing.
    """

    needs_start = on_step = True

    def __init__(self, error: type[BaseException]) -> None:
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise TypeError(f"Raise takes a class of errors, got {in_words(error)}")
        self.error = error
        self.name: str = f"raise {error.__name__}"
        self.code: str = f"R{error.__name__}"
        _by_code[self.code] = self  # so that a token of yours can be replayed

    def wrap(self, coro: Any, target: Target) -> Any:
        target.handle = _ThrowingCoroutine(coro)
        return target.handle

    def strike(self, target: Target, bubble: Bubble) -> None:
        target.handle.armed = self.error(CANCEL_MESSAGE)


class KillTransport(Fault):
    """Every open connection of the memory network is reset."""

    name: str = "transport killed"
    code: str = "K"

    def strike(self, target: Target, bubble: Bubble) -> None:
        bubble.network.kill_all()


CANCEL = NativeCancel()
CANCEL_TWICE = CancelTwice()
CANCEL_BEFORE_START = CancelBeforeStart()
CANCEL_SCOPE = ScopeCancel()
TIMEOUT = TimeoutNow()
KILL_TRANSPORT = KillTransport()
RAISE_OS_ERROR = Raise(OSError)
RAISE_RESET = Raise(ConnectionResetError)
RAISE_TIMEOUT = Raise(TimeoutError)
RAISE_EXCEPTION = Raise(Exception)
RAISE_BASE_EXCEPTION = Raise(InjectedBaseException)

CANCELS: tuple[Fault, ...] = (CANCEL, CANCEL_SCOPE, TIMEOUT, CANCEL_TWICE, CANCEL_BEFORE_START)
RAISES: tuple[Fault, ...] = (
    RAISE_OS_ERROR,
    RAISE_RESET,
    RAISE_TIMEOUT,
    RAISE_EXCEPTION,
    RAISE_BASE_EXCEPTION,
)
DEFAULT: tuple[Fault, ...] = (*CANCELS, *RAISES, KILL_TRANSPORT)

_by_code.update({fault.code: fault for fault in DEFAULT})


def fault_by_code(code: str) -> Fault:
    """Return the fault that a replay token names."""
    known = _by_code.get(code)
    if known is None:
        raise ValueError(f"unknown fault {code!r} in a replay token; known are {', '.join(_by_code)}")
    return known
