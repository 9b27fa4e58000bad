"""TaskGroup: structured work that its block waits for."""

from __future__ import annotations

from asyncio import CancelledError, Future, Handle, Task
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextvars import Context
from functools import partial
from types import CoroutineType, FunctionType, TracebackType
from typing import Any, Literal, NoReturn, Self, TypeVar, cast, get_args

from typing_extensions import TypeVarTuple, Unpack

from .._ground import kernel, trace
from .._ground.calls import SUSPECTS, check_asynchronous, checked_coroutine, coroutine_from, name_of
from .._ground.checks import checked_limit, checked_name, checked_timeout
from .._ground.closing import OwnerState, tell_closed, wait_closed
from .._ground.errors import OwnerClosed, ReleaseTimeout, TaskNotFinished, TimeoutExpired
from .._ground.foreign import is_fatal, without_our_frame
from .._ground.ladder import Ladder
from .._ground.lifeline import keep_tasks_of
from .._ground.roots import Portrait, enroll
from .._limits.bounds import LimitBy, Rate, checked_limit_by, checked_rate
from .._limits.quotas import UNSAID
from .._task.body import Body
from .._task.handle import FAILED, FINISHED, TaskHandle, TaskStatus
from .._task.startup import Startup
from .ending import is_request, raise_together
from .keyed import KEYED, create_keyed, refuse_if_ending, start_keyed
from .member import Member, name_of_member, native_task_of, run_startup, was_cancelled
from .members import Members, logger
from .statistics import TaskGroupStatistics

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OPEN, CLOSING, CLOSED = OwnerState

#: What the end of one task means to the others of its group.
Policy = Literal["fail_fast", "collect", "race"]

POLICIES = get_args(Policy)

_NOTHING = object()


class TaskGroup:
    """Runs tasks that the block waits for: when it is left, every one of them has ended.

    All that ``asyncio.TaskGroup`` of Python 3.15 does, on every version: `create_task` returns a real
    ``asyncio.Task``, errors come as an ``ExceptionGroup`` (also a single one), ``Task.cancelling()`` stays exact. And
    anyio's `start_soon` and `start`, a limit, a timeout, `cancel`, and a choice of what one task's end means to the
    others. No task is cancelled before its first step, or inside an ``anyio.CancelScope(shield=True)``.

    A group belongs to the task that enters it. If that task is cancelled, in the body or while it joins, the tasks are
    cancelled and joined, and then the cancellation goes on.

    Do not use it for work that should outlive the block: that is a ``TaskManager``. Do not use it for tasks that live
    as long as a resource and never end by themselves: that is a ``Scope``, which stops them.

    Example::

        async with TaskGroup(limit=10, timeout=30.0) as group:
            tasks = [group.create_task(fetch(url)) for url in urls]
        pages = [task.result() for task in tasks]

    Args:
        name: for errors and statistics; "task group" unless given.
        limit: how many tasks may run at once, at least 1; None for no bound. Further ones wait in line. A task that
            waits for another of its group that is in line may wait for ever.
        timeout: seconds that the block, joining included, may take; then the body and the tasks are cancelled,
            joined, and `TimeoutExpired` is raised, a ``TimeoutError``. None for no bound.
        limit_by: bounds for each key, see `lifecycle.limit_by`. A task whose key is full waits and lets others pass.
        rate: how many tasks may begin in a time.
        close_timeout: seconds that a task has to end when the group has cancelled it. Then it is cancelled again, and
            ``min(1, close_timeout)`` seconds later it is abandoned, and named by a `ReleaseTimeout` among the errors
            of the group. None for ever, as in asyncio. A task that the group has not cancelled has no such bound.
        policy: ``"fail_fast"``: the first error cancels the others and interrupts the body. ``"collect"``: an error
            cancels none, and all are raised together in the end. ``"race"``: the first task that returns cancels
            the others, ends the block, and is the `winner`; errors are raised if all fail. ``KeyboardInterrupt``
            and ``SystemExit`` end a group of every policy, and are raised bare.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of its range.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        limit: int | None = None,
        timeout: float | None = None,
        close_timeout: float | None = 30.0,
        policy: Policy = "fail_fast",
        limit_by: LimitBy | None = None,
        rate: Rate | None = None,
    ) -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
        self.name: str = checked_name(name, "task group")
        self.policy: Policy = policy
        self.timeout: float = checked_timeout(timeout, "timeout")
        self.close_timeout: float = checked_timeout(close_timeout, "close_timeout")
        bounds = checked_limit(limit), checked_limit_by(limit_by), checked_rate(rate)
        self._members = Members(self, *bounds, all_ends=self._needs_all_ends())
        self._errors: list[BaseException] = []
        self._lost: list[BaseException] = []  # errors of tasks that have lost a race
        self._state = OPEN
        # Why a task is not taken in the shortest way: it is not taken at all, or is to have a key.
        self._refusal: str | None = "has not been entered"
        self._ending: str | None = None  # why the tasks are being cancelled
        self._ladder: Ladder | None = None  # while they are
        self._over: Future[None] | None = None  # see `wait_closed`
        self._timed_out = False
        self._timer: Handle | None = None
        self._winner: object = _NOTHING
        self._entered = False
        self._body: Body  # from the moment on in which it is entered
        self._since: float | None = None
        self._token: trace.Mark | None = None

    # The block

    async def __aenter__(self) -> Self:
        """Make the calling task the body of the group; does not suspend."""
        if self._entered:
            state = self._state.value
            raise OwnerClosed(f"{self} has already been entered, and is {state}; make a new group for every block")
        host = cast("Task[Any] | None", kernel.current_task())
        if host is None:
            raise RuntimeError(f"{self} cannot determine the parent task; enter it inside a task")
        self._entered = True
        self._body = Body(host)
        self._members.bind(host)
        self._since = self._members.now()
        self._refusal = None if self._members._quotas is None else KEYED
        enroll(self)
        keep_tasks_of(self, self._members._live)
        self._token = trace.opened("task group", self.name) if trace.sink is not None else None
        if self.timeout != kernel.FOREVER:
            loop = kernel.running_loop()
            if self.timeout > 0:
                self._timer = loop.call_at(self._since + self.timeout, self._expire)
            else:  # before whatever the body waits for can go on
                self._timer = loop.call_soon(self._expire)
        if self._ending is not None:  # cancelled before it was entered
            self._refusal = "is shutting down"
            self._body.interrupt(self._ending)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Join the tasks, and raise what went wrong.

        Cancellation: cancels the tasks, is held back until they have ended or were abandoned, and raised then, once.
        Should tasks fail as well, their errors are raised here and the cancellation at the next suspension.
        """
        self._state = CLOSING
        try:
            self._leave_body(await self._body.take_back(error) if self._body.leave() else error)
            await self._join()
        finally:
            self._close()
        try:
            return self._conclude(error)
        finally:
            del self._body, error  # what is raised leads to this frame, and the task that runs it to what is raised

    def cancel(self, reason: str | None = None) -> None:
        """End the block without an error: cancel the tasks, interrupt the body; from any task, any number of times.

        The tasks are joined as ever, and what they raise while they clean up is raised at the end of the block. A group
        that has not been entered yet ends at the first suspension of its body.
        """
        self._end(reason or f"{self} was cancelled")

    @property
    def closed(self) -> bool:
        """Whether the block has ended, and every task with it, or was abandoned."""
        return self._state is CLOSED

    async def wait(self) -> None:
        """Wait, outside of the group, until its block has ended.

        Cancellation: ends the waiting, and changes nothing.
        """
        await wait_closed(self)

    # Tasks

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        limit_key: Hashable = UNSAID,
        **options: Any,
    ) -> Task[T]:
        """Start *coro* as a task of this group and return the ``asyncio.Task``, as ``asyncio.TaskGroup`` does.

        Over the ``limit`` the task exists at once, and waits in its first step for a slot; *coro* begins when it has
        one. Cancelled before that, the task ends cancelled and *coro* is closed.

        Args:
            coro: the coroutine of an async function.
            name: the task's name.
            context: what *coro* runs in; a copy of the caller's unless given.
            limit_key: the key whose bounds count, where there are bounds by key; None for none.
            options: whatever else the loop's task factory understands. Without a factory that is ``eager_start``, from
                Python 3.12 on: whether the task makes its first step at once.

        Raises:
            OwnerClosed: the group is not entered yet, is cancelling its tasks, or has ended; *coro* has been closed.
            TypeError: *coro* is not a coroutine.
        """
        if self._refusal is not None or limit_key is not UNSAID:
            if self._refusal in (None, KEYED):
                return create_keyed(self._members, checked_coroutine(coro), name, context, options, limit_key)
            checked_coroutine(coro).close()
            self._refuse(name or name_of(coro))
        return self._members.add_task(coro, name, context, options)

    def start_soon(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: Unpack[Ts],
        name: str | None = None,
    ) -> TaskHandle[T]:
        """Start ``fn(*args)`` as a task of this group and return its handle; cheaper than `create_task`.

        Over the ``limit`` the task waits for a slot, in order. ``functools.partial`` gives *fn* keyword arguments.

        Raises:
            OwnerClosed: the group is not entered yet, is cancelling its tasks, or has ended; *fn* was not called.
            TypeError: *fn* is no async function. A built-in function or a class is not called to see that.
        """
        if self._refusal is not None:
            if self._refusal is KEYED:
                return start_keyed(self._members, fn, args, name, args)
            self._refuse(name or name_of(fn))
        if type(fn) is not FunctionType and type(fn) in SUSPECTS:
            check_asynchronous(fn)
        try:
            coro = fn(*args)
        except TypeError:
            check_asynchronous(fn)
            raise
        if type(coro) is not CoroutineType:
            coro = coroutine_from(fn, coro)
        if self._ending is not None:
            refuse_if_ending(self, coro, name)
        return self._members.add_handle(coro, name or getattr(coro, "__qualname__", None) or name_of(coro))

    async def start(self, fn: Callable[..., Coroutine[Any, Any, Any]], *args: object, name: str | None = None) -> Any:
        """Start ``fn(*args, task_status=...)`` and return what it hands to ``task_status.started(value)``.

        An error before that call is raised here and means nothing to the rest of the group.

        Cancellation: the half-started task is cancelled; the group joins it.

        Raises:
            OwnerClosed: the group is cancelling its tasks, or has ended; *fn* was not called.
            RuntimeError: the task ended without calling ``started``.
        """
        startup = Startup(fn, args)
        name = name or startup.name
        if self._refusal is KEYED:
            return await startup.wait(start_keyed(self._members, run_startup, (startup,), name, args))
        return await startup.wait(self.start_soon(run_startup, startup, name=name))

    @property
    def winner(self) -> Any:
        """The value of the task that won the race.

        Raises:
            TaskNotFinished: no task has returned, or the policy is not ``"race"``.
        """
        if self._winner is _NOTHING:
            raise TaskNotFinished(f"{self} has no winner (policy {self.policy!r}, {self._members.finished} returned)")
        return self._winner

    def statistics(self) -> TaskGroupStatistics:
        """Return what the group has done and holds at this moment."""
        members = self._members
        return TaskGroupStatistics(
            name=self.name,
            state=self._state.value,
            policy=self.policy,
            limit=members.limit,
            running=len(members) - members.queued,
            pending=members.queued,
            created=members.created,
            finished=members.finished,
            failed=members.failed,
            cancelled=members.cancelled,
            abandoned=len(members.abandoned),
        )

    def _portrait(self) -> Portrait:
        counts = {"limit": self._members.limit} if self._members.limit is not None else {}
        things = list(self._members.things())
        return Portrait("task group", self.name, self._state.value, self._since, things, counts, self._token)

    def __repr__(self) -> str:
        return f"task group {self.name!r}"

    def _refuse(self, task: str) -> NoReturn:
        advice = "start tasks before the group ends, or use another owner" if self._entered else "use `async with`"
        raise OwnerClosed(f"{self} does not take task {task!r}: it {self._refusal}; {advice}")

    def _needs_all_ends(self) -> bool:
        return self.policy == "race"

    # What becomes of the others

    def _member_ended(self, member: Member, status: TaskStatus, outcome: object) -> None:
        if status is FAILED:
            assert isinstance(outcome, BaseException)
            self._take_error(member, outcome)
        elif status is FINISHED and self.policy == "race" and self._ending is None:
            self._winner = outcome
            self._end(f"{self} has a winner")

    def _members_gone(self) -> None:
        self._refusal = "is finished"
        self._end_ladder()

    def _take_error(self, member: Member, error: BaseException) -> None:
        if self.policy == "race" and not was_cancelled(member) and not is_fatal(error):
            self._lost.append(error)
            return
        self._errors.append(error)
        if self._body.host.done():
            facts = {"owner": self.name, "task": name_of_member(member)}
            logger.error("task failed after the task of its block had ended", exc_info=error, extra=facts)
        if self.policy == "fail_fast" or is_fatal(error):
            self._end(f"a task of {self} failed")

    def _expire(self) -> None:
        self._timer = None
        if self._ending is None and (self._state is OPEN or self._members):
            self._timed_out = True
            self._end(f"{self} did not end within {self.timeout:g} s")

    def _end(self, reason: str) -> None:
        """Cancel the tasks, take no more, and interrupt the body; the first reason stands."""
        if self._ending is not None or self._state is CLOSED:
            return
        self._ending = reason
        if self._entered:
            self._refusal = "is shutting down"
            if self._members.any:
                self._ladder = Ladder(partial(self._members.cancel_all, reason), self._abandon, self.close_timeout)
                self._ladder.climb()
            if self._state is OPEN:
                self._body.interrupt(reason)

    def _end_ladder(self) -> None:
        if self._ladder is not None:
            self._ladder.end()
            self._ladder = None  # it refers to the group: a cycle

    def _abandon(self) -> None:
        """Wait no longer for tasks that have ignored two cancellations; each is an error of the group."""
        for member in self._members.abandon_all():
            stack = kernel.suspended_at(native_task_of(member))
            label = f"task {name_of_member(member)!r} of {self}"
            self._errors.append(ReleaseTimeout(label, self.close_timeout, abandoned=True, stack=stack))

    # Leaving

    def _leave_body(self, error: BaseException | None) -> None:
        """Decide what the body's end means to the tasks."""
        if isinstance(error, CancelledError):
            self._body.hold(error)
        if error is not None and (self.policy != "collect" or is_fatal(error) or is_request(error)):
            self._end(f"the body of {self} was left by {type(error).__name__}")

    async def _join(self) -> None:
        """Wait until every task has ended; a cancellation cancels them, and is held back."""
        members = self._members
        members.watch_first_steps()
        while members:
            idle = members.idle()
            if self._ending is not None:
                self._body.hold(await kernel.wait_through(idle))
                continue
            try:
                await idle
            except CancelledError as error:
                self._body.hold(without_our_frame(error))
                self._end(f"the task that waits for {self} was cancelled")
        self._refusal = "is finished"

    def _close(self) -> None:
        self._state = CLOSED
        self._refusal = "is finished"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end_ladder()
        if self._members._quotas is not None:
            self._members._quotas.turns.end()
        self._members.dissolve()
        tell_closed(self)
        if self._token is not None:
            trace.closed(self._token)

    def _conclude(self, error: BaseException | None) -> bool:
        """Raise what has to be raised; return whether *error*, with which the body was left, is dealt with."""
        failed = error is not None and not is_request(error)
        if failed or self._ending is None:  # not ended by a winner, a timeout or a request
            self._errors[:0] = self._lost
        self._lost.clear()
        if failed:
            self._errors.append(cast("BaseException", error))
        if self._errors:
            if self._timed_out:
                self._errors.append(self._timeout_error())
            request = self._body.request
            if request is not None:
                kernel.deliver_later(request)
            try:
                self._raise(self._errors, error)
            finally:
                self._errors.clear()  # what is raised refers to this frame, and so to the group
            return False
        held, self._body.held = self._body.held, None
        try:
            if held is not None:
                kernel.conclude(held, None, error)
                return False
        finally:
            del held  # which its traceback would refer to: a cycle
        if self._timed_out:
            raise self._timeout_error() from error
        return isinstance(error, CancelledError)

    def _raise(self, errors: list[BaseException], in_flight: BaseException | None) -> None:
        """Raise *errors*; return to let *in_flight*, with which the body was left, go on."""
        raise_together(self, errors, in_flight)

    def _timeout_error(self) -> TimeoutExpired:
        return TimeoutExpired(str(self), self.timeout)
