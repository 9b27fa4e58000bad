"""The file that touches native asyncio calls and anyio's internals, and with `loop` the only one.

Everything above asks for six things: spawn a task, cancel one without piercing an anyio shield, wait for one,
wait for one *whatever happens to the waiter*, deliver a cancellation that was held back meanwhile, and the clock.

Three facts of asyncio and anyio shape this file (each has a test in ``tests/ground/test_kernel.py``):

* A native ``Task.cancel()`` pierces ``anyio.CancelScope(shield=True)``. So a shielded task is cancelled when its
  shield ends, and work that must reach its end runs in a task of its own that no other code can name.
* anyio repeats a cancellation every loop iteration until its scope is left (level), asyncio delivers it once
  (edge). So a waiter that holds cancellations back waits under an anyio shield, and hands the native one on once.
* A task cancelled before its first step never runs its body. So nothing here cancels an unstarted task.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import CancelledError, Future, Task, get_running_loop
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Any, TypeVar, cast

from anyio import CancelScope

from .frames import is_core, suspended_frames

T = TypeVar("T")

#: Seconds between two looks at a task that sits in a shielded section: the first, and the longest.
SHIELD_POLL = (0.005, 0.1)

#: The seconds that a timeout of None stands for.
FOREVER = float("inf")


# Spawning


def spawn(coro: Coroutine[Any, Any, T], name: str | None = None, context: Context | None = None) -> Task[T]:
    """Return a new native task that runs *coro*; a task factory of the loop is respected."""
    loop = get_running_loop()
    if loop.get_task_factory() is None:
        # Inlined loop.create_task for a loop without a factory: it saves three calls.
        return Task(coro, loop=loop, name=name, context=context)
    return loop.create_task(coro, name=name, context=context)


def is_plain(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether *loop* has no task factory, so that ``NativeTask(coro, loop=loop)`` makes its tasks.

    For owners that spawn at a high rate: asking once, not for every task, saves a twentieth of a task's cost.
    """
    return loop.get_task_factory() is None


#: The native task itself, for owners that have asked `is_plain`.
NativeTask = Task


def spawn_eagerly(coro: Coroutine[Any, Any, T], name: str | None = None, context: Context | None = None) -> Task[T]:
    """Return a new native task that has made its first step already, on Python 3.12 and later.

    On 3.11, and under a task factory, the first step comes with the next loop iteration.
    """
    loop = get_running_loop()
    if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
        return Task(coro, loop=loop, name=name, context=context, eager_start=True)
    return spawn(coro, name, context)


_kept: set[Task[Any]] = set()


def spawn_kept(coro: Coroutine[Any, Any, T], name: str, context: Context | None = None) -> Task[T]:
    """Return a new task that is referenced until it ends, for work that no owner holds."""
    task = spawn(coro, name, context)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task


def context_of_caller() -> Context | None:
    """Return the calling task's own context, so that what a helper task sets in it reaches the caller.

    None, which means a copy, before 3.12, and where a task factory is set: it may start the task eagerly, and a
    context cannot be entered twice.
    """
    if sys.version_info >= (3, 12) and get_running_loop().get_task_factory() is None:
        return current_task().get_context()
    return None


#: Returns the task that runs now; called from tasks only.
current_task = cast("Callable[[], Task[Any]]", asyncio.current_task)


def new_future() -> Future[None]:
    """Return a future of the running loop."""
    return get_running_loop().create_future()


#: Returns the running loop.
running_loop = get_running_loop


def clock() -> Callable[[], float]:
    """Return the running loop's clock: monotonic seconds."""
    return get_running_loop().time


# Cancelling


class Cancellation:
    """One request to cancel one task, delivered as soon as no anyio shield is in the way.

    Attributes:
        reason: why; the message of the ``CancelledError``.
        delivered: whether the task has been cancelled.
    """

    __slots__ = ("_delay", "_retry", "_task", "delivered", "reason")

    def __init__(self, reason: str | None) -> None:
        self.reason = reason
        self.delivered = False
        self._task: Task[Any] | None = None
        self._delay, _ = SHIELD_POLL
        self._retry: asyncio.TimerHandle | None = None

    def deliver_to(self, task: Task[Any]) -> None:
        """Cancel *task*, now or when its shield ends."""
        self._task = task
        self._try_to_deliver()

    def withdraw(self) -> bool:
        """Stop trying; return whether the cancellation had already been delivered."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._task is not None and not self.delivered:
            self._task.remove_done_callback(self._task_done)
        self._task = None  # whose CancelledError may keep frames that lead back here: a cycle
        return self.delivered

    def _task_done(self, _: Task[Any]) -> None:
        """Leave no timer behind for a task that ended inside its shield."""
        self.withdraw()

    def _try_to_deliver(self) -> None:
        assert self._task is not None
        first, self._retry = self._retry is None, None
        if self._task.done():
            return
        if in_shielded_section(self._task):
            if first:
                self._task.add_done_callback(self._task_done)
            self._retry = self._task.get_loop().call_later(self._delay, self._try_to_deliver)
            self._delay = min(self._delay * 2, SHIELD_POLL[1])
        else:
            self.delivered = True
            if not first:
                self._task.remove_done_callback(self._task_done)
            self._task.cancel(self.reason)


def cancel(task: Task[Any], reason: str | None = None) -> Cancellation:
    """Cancel *task*, which must have made its first step, once no anyio shield protects it."""
    cancellation = Cancellation(reason)
    cancellation.deliver_to(task)
    return cancellation


def in_shielded_section(task: Task[Any]) -> bool:
    """Return whether *task* is inside an ``anyio.CancelScope(shield=True)`` at this moment."""
    scope: Any = _innermost_scope(task)
    while scope is not None:
        if scope.shield:
            return True
        scope = scope._parent_scope
    return False


_task_states: Any = None


def _innermost_scope(task: Task[Any]) -> CancelScope | None:
    global _task_states
    if _task_states is None:
        backend = sys.modules.get("anyio._backends._asyncio")
        if backend is None:
            return None  # anyio's scopes are not loaded, so there are none
        _task_states = backend._task_states
    state = _task_states.get(task)
    return None if state is None else state.cancel_scope


def native_requests(task: Task[Any]) -> int:
    """Return how many cancellations of *task* have been requested and not taken back, without those by anyio scopes.

    ``Task.cancelling()`` counts both, and a scope takes its own back when it is left.
    """
    requests = task.cancelling()
    return requests - sum(scope._pending_uncancellations or 0 for scope in _scopes_of(task)) if requests else 0


def is_folded(task: Task[Any]) -> bool:
    """Return whether a cancellation of *task* by an anyio scope that it is in stands for a native request as well.

    asyncio makes one exception of two requests in one step. The scope, too, goes by what it found when it was entered;
    before anyio 4.16 it does not look.
    """
    cancelled = [scope for scope in _scopes_of(task) if scope.cancel_called]
    return bool(cancelled) and native_requests(task) > getattr(cancelled[-1], "_cancelling_at_enter", FOREVER)


def _scopes_of(task: Task[Any]) -> Iterator[Any]:
    """Yield the anyio scopes that *task* has entered and not left, the innermost first."""
    scope: Any = _innermost_scope(task)
    while scope is not None:
        if scope._host_task is task:
            yield scope
        scope = scope._parent_scope


def is_scope_cancellation(error: BaseException) -> bool:
    """Return whether *error* is a cancellation by an anyio scope, which anyio itself repeats and takes back."""
    return (
        isinstance(error, CancelledError)
        and bool(error.args)
        and isinstance(error.args[0], str)
        and error.args[0].startswith(("Cancelled via cancel scope ", "Cancelled by cancel scope "))
    )


def foremost(held: CancelledError | None, other: CancelledError | None) -> CancelledError | None:
    """Return which of two cancellations of one task to deliver: the first, but a native one before one by a scope.

    anyio repeats its own until its scope is left. A native one comes once: it would be lost. It has the one that it
    goes before as its context, where anyio looks: should a timeout in between take its request back, the scope knows
    its own.
    """
    if held is None:
        return other
    if other is None or not is_scope_cancellation(held):
        return held
    if other is not held and other.__context__ is None:
        other.__context__ = held
    return other


# Waiting


async def wait(future: Future[Any], timeout: float = FOREVER) -> bool:
    """Wait until *future* is done, or *timeout* seconds have passed; return whether it is done.

    Cancellation: ends the waiting and leaves *future* untouched.
    """
    if future.done():
        return True
    loop = get_running_loop()
    waiter: Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    timer = loop.call_later(timeout, wake) if timeout != FOREVER else None
    try:
        await waiter
    finally:
        future.remove_done_callback(wake)
        if timer is not None:
            timer.cancel()
    return future.done()


async def wait_any(*futures: Future[Any]) -> None:
    """Wait until one of *futures* is done.

    Cancellation: ends the waiting and leaves *futures* untouched.
    """
    waiter: Future[None] = get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    for future in futures:
        future.add_done_callback(wake)
    try:
        await waiter
    finally:
        for future in futures:
            future.remove_done_callback(wake)


async def wait_shielded(future: Future[Any], timeout: float = FOREVER) -> bool:
    """Wait like `wait`, also where an anyio scope around the caller is cancelled.

    Cancellation: a native one ends the waiting; one by an anyio scope is left for anyio to repeat.
    """
    with shield_from_scopes():
        return await wait(future, timeout)


async def wait_through(future: Future[Any], timeout: float = FOREVER) -> CancelledError | None:
    """Wait until *future* is done or *timeout* seconds have passed, whatever happens to the calling task.

    Returns the cancellation held back, the `foremost` of several; None when there was none. ``Task.cancelling()`` keeps
    counting all of them.

    Cancellation: held back, and returned instead of raised; the caller raises it, or hands it to `deliver_later`.
    """
    held: CancelledError | None = None
    now = clock()
    deadline = now() + timeout
    with shield_from_scopes():
        while not future.done():
            try:
                if not await wait(future, deadline - now()):
                    break
            except CancelledError as error:
                held = foremost(held, error)
    return held


def shield_from_scopes() -> AbstractContextManager[object]:
    """Return a shield where the calling task is inside an anyio scope; elsewhere nothing can be redelivered."""
    return shield() if in_scope(current_task()) else nullcontext()


def in_scope(task: Task[Any]) -> bool:
    """Return whether *task* is inside an anyio scope at this moment."""
    return _innermost_scope(task) is not None


def shield() -> CancelScope:
    """Return an anyio shield, to be entered in the calling task."""
    return CancelScope(shield=True)


def time_limit(seconds: float) -> asyncio.Timeout:
    """Return an ``asyncio.timeout`` over *seconds*, which may be infinite."""
    return asyncio.timeout(None if seconds == FOREVER else seconds)


def deliver_later(held: CancelledError) -> None:
    """Have *held* raised at the calling task's next suspension, because another error is raised now.

    The task is cancelled again in the next loop iteration unless the request has been taken back by
    then: ``asyncio.timeout`` does so while the error passes through it. (``Task.uncancel`` clears a pending
    cancellation only since 3.13; cancelling again at once would hit code after the timeout before that.)
    A cancellation by an anyio scope is left to anyio, which repeats it, but for a native one that is folded into it.
    """
    task = current_task()
    asked = native_requests(task)
    message = held.args
    if is_scope_cancellation(held):
        if not is_folded(task):
            return
        message = ()
    if asked == 0:
        return

    def cancel_again() -> None:
        if 0 < native_requests(task) <= asked and not task.done():
            task.uncancel()
            task.cancel(*message)

    get_running_loop().call_soon(cancel_again)


def conclude(
    failure: BaseException | None, held: CancelledError | None = None, in_flight: BaseException | None = None
) -> None:
    """End a block or a close: raise what went wrong, or else the cancellation that was *held* back meanwhile.

    Neither is lost: with a *failure*, *held* is delivered at the calling task's next suspension. Returns where nothing
    is to be raised, or where it is *in_flight*, the exception that the block was left by, which goes on by itself.
    """
    if failure is None:
        failure = held
    elif held is not None:
        deliver_later(held)
    if failure is None or failure is in_flight:
        return
    context = failure.__context__
    try:
        raise failure
    finally:
        failure.__context__ = context  # not what happens to be handled here
        del failure, held, in_flight


async def absorb_cancellation(task: Task[Any], still_asked: int) -> CancelledError | None:
    """Take a cancellation that was requested and then taken back out of the calling *task*.

    Before 3.13 ``Task.uncancel`` leaves a request that has not been delivered in place, and it would be raised at
    some later, innocent await.

    Cancellation: one that is requested from outside meanwhile (``cancelling()`` above *still_asked*) is returned.
    """
    if not task._must_cancel:  # type: ignore[attr-defined]
        return None
    try:
        await asyncio.sleep(0)
    except CancelledError as error:
        if task.cancelling() > still_asked:
            return error
    return None


def other_tasks() -> set[Task[Any]]:
    """Return the loop's live tasks without the calling one."""
    return asyncio.all_tasks() - {current_task()}


# Looking


def suspended_at(task: Task[Any]) -> tuple[str, ...]:
    """Return where *task* is suspended, outermost call first, as ``file:line in function``."""
    return tuple(
        f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        for frame in suspended_frames(task.get_coro())
        if not is_core(frame.f_code.co_filename)
    )
