"""The file that touches native asyncio calls; `loop` and `scopes` know the rest of asyncio and anyio.

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
import gc
import sys
from asyncio import CancelledError, Future, Task, get_running_loop
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import Any, TypeVar, cast
from weakref import ref

from anyio import CancelScope

from .foreign import context_of, set_context, with_traceback
from .frames import suspended_at as suspended_at  # handed on: every owner asks where its tasks are
from .requests import Interruption, last_words
from .requests import as_requested as as_requested  # handed on, as are the next two
from .requests import foremost as foremost
from .requests import latest_request as latest_request
from .scopes import in_shielded_section, is_folded, is_scope_cancellation, native_requests, shield_from_scopes

T = TypeVar("T")

#: Seconds between two looks at a task that waits in a shielded section, for a shield that another task takes away.
SHIELD_LOOK = 0.1

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


def spawn_with(options: Mapping[str, Any], coro: Coroutine[Any, Any, T], name: str | None, context: Any) -> Task[T]:
    """Do as `spawn` does, with further keywords for the task, or for the task factory of the loop."""
    loop = get_running_loop()
    make = partial(Task, loop=loop) if loop.get_task_factory() is None else loop.create_task
    return make(coro, name=name, context=context, **options)


def is_plain(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether *loop* has no task factory, so that ``NativeTask(coro, loop=loop)`` makes its tasks.

    For owners that spawn at a high rate: asking once, not for every task, saves a twentieth of a task's cost.
    """
    return loop.get_task_factory() is None


#: The native task itself, for owners that have asked `is_plain`.
NativeTask = Task


_kept: set[Task[Any]] = set()


def spawn_kept(coro: Coroutine[Any, Any, T], name: str, context: Context | None = None) -> Task[T]:
    """Return a new task that is referenced until it ends, for work that no owner holds."""
    task = spawn(coro, name, context)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task


def spawn_in(context: Context | None, coro: Coroutine[Any, Any, T], name: str) -> Task[T]:
    """Return a new task that runs *coro* in *context* itself, or in a copy where the loop's task factory takes none."""
    try:
        return spawn(coro, name, context)
    except TypeError:
        return spawn(coro, name)


def retrieve(task: Task[Any]) -> None:
    """Note that the error of *task* is told elsewhere: asyncio need not say that nobody asked for it."""
    if task.done() and not task.cancelled():
        task.exception()


def retrieve_soon() -> None:
    """Do the same for the calling task, which is about to end the process by its error.

    A done callback would be too late: whoever is woken by the end of the task may end the loop before that.
    """
    get_running_loop().call_soon(retrieve, current_task())


def context_of_task(task: Task[Any]) -> Context | None:
    """Return the context that *task* runs in; None where that cannot be seen."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    # 3.11 has no method for it; of all contexts that a task refers to, its own comes first.
    return next((thing for thing in gc.get_referents(task) if type(thing) is Context), None)


#: Returns the task that runs now; called from tasks only.
current_task = cast("Callable[[], Task[Any]]", asyncio.current_task)


def transport_below(transport: Any) -> Any:
    """Return the transport that a TLS transport of asyncio's writes to; None where that cannot be seen."""
    return getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)


def new_future() -> Future[None]:
    """Return a future of the running loop."""
    return get_running_loop().create_future()


def next_turn() -> Future[None]:
    """Return a future that is done when all has run that is ready now."""
    turn = new_future()
    get_running_loop().call_soon(turn.set_result, None)
    return turn


#: Returns the running loop.
running_loop = get_running_loop

#: Returns the running loop, None where none runs in the calling thread.
current_loop = asyncio._get_running_loop


def has_loop() -> bool:
    """Return whether the caller runs in a loop."""
    return current_loop() is not None


def clock() -> Callable[[], float]:
    """Return the running loop's clock: monotonic seconds."""
    return get_running_loop().time


def end_process(error: BaseException) -> None:
    """Raise a fatal *error* out of the loop, after the step that met it; that step comes to its end."""

    def end() -> None:
        raise error

    get_running_loop().call_soon(end)


# Cancelling


class Cancellation:
    """One request to cancel one task, delivered at its first suspension where no anyio shield is in the way.

    While there is a shield, the task is followed from step to step: a look after each of them, so that the gap between
    two shielded sections is not missed, however short it is. Nothing is spent on a task that makes no step, apart from
    a rare look for a shield that another task takes away.

    Args:
        reason: why; the message of the ``CancelledError``.
        around: a scope that the task is in; it and those around it do not count. None: all of them count.

    Attributes:
        reason: why.
        delivered: whether the task has been cancelled.
    """

    __slots__ = ("_around", "_followed", "_look", "_task", "delivered", "reason")

    def __init__(self, reason: str | None, around: CancelScope | None = None) -> None:
        self.reason = reason
        self.delivered = False
        self._around = around
        self._task: Task[Any] | None = None
        self._followed: Future[Any] | None = None  # whose end brings about the task's next step
        self._look: asyncio.Handle | None = None

    def deliver_to(self, task: Task[Any]) -> None:
        """Cancel *task*, now or when its shield ends."""
        self._task = task
        self._try_to_deliver()

    def withdraw(self) -> bool:
        """Stop trying; return whether the cancellation had already been delivered."""
        if self._look is not None:
            self._stop_following()
        self._task = None  # whose CancelledError may keep frames that lead back here: a cycle
        return self.delivered

    def note_end(self, task: Task[Any]) -> None:
        """Note that *task* ends in this step: if it has not met the cancellation by now, it was none to it."""
        if task._must_cancel:  # type: ignore[attr-defined]
            self.delivered = False

    def _try_to_deliver(self, _: object = None) -> None:
        if self._look is not None:
            self._stop_following()
        task = self._task
        if task is None or task.done():
            return
        if in_shielded_section(task, self._around):
            self._follow(task)
        else:
            self.delivered = True
            self._task = None  # a look that was on its way already finds nothing to do
            # One that is under way already keeps its message, by which its requester knows it.
            task.cancel(task._cancel_message if task._must_cancel else self.reason)  # type: ignore[attr-defined]

    def _follow(self, task: Task[Any]) -> None:
        """Look again after the next step of *task*, whose own callback on what it waits for comes before ours."""
        loop = task.get_loop()
        waits_for = task._fut_waiter  # type: ignore[attr-defined]
        if waits_for is None:  # a bare yield, or it is running: it suspends within this turn of the loop
            self._look = loop.call_soon(self._try_to_deliver)
        else:
            self._followed = waits_for
            waits_for.add_done_callback(self._try_to_deliver)
            self._look = loop.call_later(SHIELD_LOOK, self._try_to_deliver)

    def _stop_following(self) -> None:
        if self._followed is not None:
            self._followed.remove_done_callback(self._try_to_deliver)
            self._followed = None
        if self._look is not None:
            self._look.cancel()
            self._look = None


def cancel(task: Task[Any], reason: str | None = None, around: CancelScope | None = None) -> Cancellation:
    """Cancel *task*, which must have made its first step, once no anyio shield inside *around* protects it."""
    cancellation = Cancellation(reason, around)
    cancellation.deliver_to(task)
    return cancellation


def interrupt(task: Task[Any], reason: str, around: CancelScope | None = None) -> Cancellation:
    """Cancel *task* as `cancel` does, for one who takes it back: whoever else cancels it goes first."""
    return cancel(task, Interruption(reason), around)


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
    with shield_from_scopes(passed=True):
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
                held = foremost(held, with_traceback(error, None))  # whose frames would lead back here: a cycle
    return held


def time_limit(seconds: float) -> asyncio.Timeout:
    """Return an ``asyncio.timeout`` over *seconds*, which may be infinite."""
    return asyncio.timeout(None if seconds == FOREVER else seconds)


#: What `deliver_later` has not delivered yet: the arguments of the error, by the task that is owed it. The references
#: are weak because a loop may be closed before that; a ``WeakKeyDictionary`` takes long to say that it is empty.
_owed: dict[ref[Task[Any]], tuple[Any, ...]] = {}


def deliver_later(held: CancelledError) -> None:
    """Have *held* raised at the calling task's next suspension, because another error is raised now.

    The task is cancelled again in the next loop iteration unless the request has been taken back by
    then: ``asyncio.timeout`` does so while the error passes through it. (``Task.uncancel`` clears a pending
    cancellation only since 3.13; cancelling again at once would hit code after the timeout before that.)
    A cancellation by an anyio scope is left to anyio, which repeats it, but for a native one that is folded into it.
    Nor is anything changed where a block inside has had one delivered later: it is the same, and keeps its message.
    """
    task = current_task()
    by_scope = is_scope_cancellation(held)
    if native_requests(task) == 0 or (by_scope and not is_folded(task)) or ref(task) in _owed:
        return

    def cancel_again() -> None:
        owed = _pop_owed(task)
        if owed is not None and not task.done():
            if task._must_cancel:  # type: ignore[attr-defined]  # one is under way, and has a message of its own
                owed = cast("CancelledError", foremost(CancelledError(*owed), latest_request(task))).args
            task.uncancel()
            task.cancel(*owed)

    _owed[ref(task, _forget_owed)] = last_words(held, task)
    get_running_loop().call_soon(cancel_again)


def _pop_owed(task: Task[Any]) -> tuple[Any, ...] | None:
    """Return the arguments of the cancellation that *task* is owed; None where its requester has taken it back."""
    owed = _owed.pop(ref(task), None)
    return owed if native_requests(task) > 0 else None


def _forget_owed(task: ref[Task[Any]]) -> None:
    _owed.pop(task, None)


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
    context = context_of(failure)
    try:
        raise failure
    finally:
        set_context(failure, context)  # not what happens to be handled here
        del failure, held, in_flight, context


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
            return with_traceback(error, None)
    return None


async def take_owed(task: Task[Any]) -> CancelledError | None:
    """Take over a cancellation that the calling *task* is still owed, beside the error that goes through it.

    It is owed by `deliver_later`, or, since 3.13, by a group of asyncio's that has raised errors. That repeats one by
    an anyio scope, too, without the message by which anyio knows it. It is dropped: anyio repeats its own.

    Cancellation: one that is requested meanwhile is returned.
    """
    owed = _pop_owed(task) if _owed else None
    late = await absorb_cancellation(task, 0)
    if native_requests(task) == 0:
        return None
    return foremost(None if owed is None else CancelledError(*owed), late)


def requests_met(task: Task[Any]) -> int:
    """Return how many cancellations the calling *task* has met and not taken back; one that is under way is none."""
    requests: int = task.cancelling()
    if not requests:
        return 0
    under_way: int = task._must_cancel  # type: ignore[attr-defined]
    if _owed and ref(task) in _owed and native_requests(task) > 0:
        under_way += 1
    return max(0, requests - under_way)


def other_tasks() -> set[Task[Any]]:
    """Return the loop's live tasks without the calling one."""
    return asyncio.all_tasks() - {current_task()}
