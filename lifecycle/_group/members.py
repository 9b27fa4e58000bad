"""Members: the tasks of one group: started or in line for a slot, counted, cancelled, and waited for."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextvars import Context
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from .._ground import callgraph, kernel
from .._ground.awaiters import Waiter
from .._ground.kernel import NativeTask
from .._ground.logs import OwnerLog
from .._ground.roots import Thing
from .._ground.waking import wake
from .._limits.bounds import LimitBy, Rate
from .._limits.quotas import Quotas, bounded_slots
from .._limits.share import Share
from .._limits.turns import Caller
from .._task.body import Body
from .._task.first_steps import FirstSteps
from .._task.handle import CANCELLED, FAILED, FINISHED, TaskHandle, TaskStatus
from .in_turn import InTurn
from .member import CancellationAfterFirstStep, Member, name_of_member, native_task_of

T = TypeVar("T")

logger = OwnerLog("lifecycle.group")


class MembersOwner(Protocol):
    """What members need of the group that owns them."""

    name: str
    _ending: str | None  # why the tasks are being cancelled
    _body: Body  # from the moment on in which it is entered

    def _member_ended(self, member: Member, status: TaskStatus, outcome: object) -> None:
        """Take note of a member's end: its value, its error or None; called once for each, when it has left."""

    def _refuse(self, task: str) -> NoReturn:
        """Say that a task is not taken any more."""

    def _members_gone(self) -> None:
        """Take note that no member is left, although one has been waited for."""


class Members(InTurn):
    """The tasks of one group from the moment they are handed over until they have ended.

    Two kinds, because two interfaces are served. A native task is watched by a done callback, as ``asyncio.TaskGroup``
    does it, so that its coroutine, name, context and traceback are exactly what the caller gave. A handle's coroutine
    keeps the books itself, which costs less.

    Over the limit members wait in line. A handle in line has no native task yet. A native task in line exists, and
    waits in its first step for a slot; the coroutine that it was made for has not begun, and is closed should the
    task be cancelled.

    Args:
        owner: the group, called at every end that means something to it.
        limit: how many may run at once, None for no bound.
        limit_by: bounds for each key.
        rate: how many may begin in a time.
        all_ends: call it for those that return, too.
    """

    __slots__ = (
        "_clock",
        "_dropping",
        "_early",
        "_fast_end",
        "_first_steps",
        "_idle",
        "_joiner",
        "_live",
        "_loop",
        "_name",
        "_owner",
        "_places",
        "_plain",
        "_quotas",
        "_retrying",
        "_running",
        "_slots",
        "_starting",
        "_waiting",
        "abandoned",
        "cancelled",
        "created",
        "failed",
        "finished",
        "limit",
    )

    _loop: AbstractEventLoop
    _clock: Callable[[], float]

    def __init__(
        self,
        owner: MembersOwner,
        limit: int | None,
        limit_by: LimitBy | None,
        rate: Rate | None,
        *,
        all_ends: bool,
    ) -> None:
        self._owner = owner
        self._name = owner.name
        # Whether one that returns has only to leave the books.
        bounded = limit is not None or limit_by is not None or rate is not None
        self._fast_end = not all_ends and not bounded
        self._plain = False
        self._live: dict[Member, None] = {}  # in order, so that what happens to them is
        self._running: set[object] = set()  # those that have a slot; kept only under a limit
        self.limit = limit
        self._slots = bounded_slots(self._running, limit, limit_by, rate) if bounded else None
        #: The same, where newcomers are not alike: there are bounds by key, or in a time.
        self._quotas = self._slots if isinstance(self._slots, Quotas) else None
        self._places: dict[Task[Any], Caller] = {}  # of native tasks in line there
        self._waiting: dict[Task[Any], Coroutine[Any, Any, Any]] = {}
        self._retrying: dict[Task[Any], kernel.Cancellation] = {}
        self._first_steps: FirstSteps | None = None  # once the group joins
        #: Those that the group no longer waits for, and that still run.
        self.abandoned: dict[Member, None] = {}
        #: How many are being started: under an eager task factory they run meanwhile.
        self._starting = 0
        #: Those whose end was not counted at once for that reason, in order.
        self._early: list[TaskHandle[Any]] = []
        self._dropping: str | None = None  # why all are cancelled, once they are
        self._idle: Future[None] | None = None
        self._joiner: Task[Any] | None = None  # whom asyncio's call graph shows waiting for the members
        self.created = self.finished = self.failed = self.cancelled = 0

    def bind(self, joiner: Task[Any]) -> None:
        """Tie the members to the running loop, and to the task that will join them; before the first of them."""
        if callgraph.EXISTS:
            self._joiner = joiner
        self._loop = kernel.running_loop()
        self._clock = self._loop.time
        self._plain = kernel.is_plain(self._loop)
        if self._quotas is not None:
            self._quotas.turns.bind()

    @property
    def _parent_task(self) -> Task[Any] | None:
        """The task that joins them, as ``asyncio.TaskGroup`` calls it; None when no member is left for it to join."""
        owner = getattr(self, "_owner", None)
        return None if owner is None else owner._body.host

    def _hosts(self, _: Task[Any]) -> Iterator[Waiter]:
        if (host := self._parent_task) is not None:
            yield host, True

    def now(self) -> float:
        """Return the time of the loop in seconds."""
        return self._clock()

    def __len__(self) -> int:
        return len(self._live)

    @property
    def any(self) -> bool:
        """Whether there are members, or one is about to be: it is making its first step, and runs this."""
        return bool(self._live or self._starting)

    @property
    def queued(self) -> int:
        """How many members wait for a slot."""
        return 0 if self._slots is None else len(self._waiting) + self._slots.queued

    def things(self) -> Iterator[Thing]:
        """Yield how each member looks in a snapshot."""
        for member in self._live:
            if isinstance(member, TaskHandle):
                state = "cancelling" if member.cancelling() else member.status.value
                yield Thing("task", member.name, state, member.started_at, task=member._task)
            else:
                state = "cancelling" if member.cancelling() else "pending" if member in self._waiting else "running"
                yield Thing("task", member.get_name(), state, task=member)

    # Taking members in

    def add_task(
        self,
        coro: Coroutine[Any, Any, T],
        name: str | None,
        context: Context | None,
        options: Mapping[str, Any] | None = None,
        share: Share | None = None,
    ) -> Task[T]:
        """Return a native task that runs *coro*, at once or when it gets a slot; *options* are for its making."""
        spawn: Callable[..., Task[T]] = partial(kernel.spawn_with, options) if options else kernel.spawn
        if self._slots is not None:
            spawn = partial(self._add_bounded_task, spawn, share)
        self._starting += 1
        try:
            task = spawn(coro, name, context)
        finally:
            self._starting -= 1
        self.created += 1
        self._live[task] = None
        if self._joiner is not None:
            callgraph.show_awaited(task, self._joiner)
        task.add_done_callback(self._task_done)  # called in the next turn if it was started eagerly, and has ended
        if self._dropping is not None:  # by itself: it was started eagerly, and has ended the group
            self._cancel_native(task, self._dropping)
        return task

    def add_handle(
        self, coro: Coroutine[Any, Any, T], name: str, *, reserved: bool = False, share: Share | None = None
    ) -> TaskHandle[T]:
        """Return the handle of a task that runs *coro*: at once, in the slot *reserved*, or when it gets one."""
        handle = TaskHandle(self, coro, name)
        self.created += 1
        self._live[handle] = None
        if self._slots is not None:
            if self._quotas is not None:
                share = self._quotas.turns.share_for_anybody if share is None else share
                if not reserved and not self._quotas.turns.keep(share):
                    self._quotas.line_up(handle, share, None)
                    return handle
                self._quotas.assign(handle, share)
            elif reserved:
                self._slots.take()
            elif not self._slots.free:
                self._slots.enqueue(handle, None)
                return handle
            self._running.add(handle)
        if self._plain:
            handle._task = NativeTask(handle._run(), loop=self._loop, name=name)
        else:
            self._starting += 1
            self._start(handle)
            self._starting -= 1
        if self._joiner is not None:
            self._show(handle, self._joiner)
        if self._first_steps is not None:
            self._first_steps.expect(handle)
        return handle

    async def reserve_slot(self, share: Share | None = None) -> None:
        """Wait in line for a slot and keep it for one `add_handle`; one that is never used goes with the group.

        Cancellation: the place in line is given up.
        """
        if self._quotas is not None:
            await self._quotas.wait_for(share, self._owner)
        elif self._slots is not None:
            await self._slots.wait_for_slot()

    def _start(self, handle: TaskHandle[Any], context: Context | None = None) -> None:
        try:
            handle._start(context)
        except BaseException as error:  # a task factory refused
            handle._end(FAILED, error)

    def _launch_queued(self, handle: TaskHandle[Any], context: Context | None) -> None:
        self._running.add(handle)
        self._start(handle, context)
        if self._joiner is not None:
            self._show(handle, self._joiner)
        if self._first_steps is not None:
            self._first_steps.expect(handle)

    def _show(self, handle: TaskHandle[Any], joiner: Task[Any]) -> None:
        if handle._task is not None:  # eager, it may have ended
            callgraph.show_awaited(handle._task, joiner)

    # Cancelling

    def cancel_all(self, reason: str) -> None:
        """Drop what is in line, and cancel the rest: after the first step, and never through an anyio shield.

        At a second call those are cancelled again that have swallowed their cancellation.
        """
        self._dropping = reason
        for member in list(self._live):
            if isinstance(member, TaskHandle):
                cancellation = member._cancellation
                if cancellation is not None and cancellation.delivered:
                    # The same one again: a new one would not count as delivered while a shield holds it back.
                    cancellation.deliver_to(native_task_of(member))
                else:
                    member.cancel(reason)
            else:
                self._cancel_native(member, reason)

    def _cancel_native(self, task: Task[Any], reason: str) -> None:
        if task not in self._retrying and not task.done():
            request = CancellationAfterFirstStep(reason)
            request.deliver_to(task)
            if not request.delivered:
                self._retrying[task] = request

    def abandon_all(self) -> list[Member]:
        """Stop waiting for those that still run, and return them; their ends are counted when they come."""
        members = list(self._live)
        self._live.clear()
        self._running.clear()
        self.abandoned = dict.fromkeys(members)
        self._fast_end = False
        self._report_idle()
        return members

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        if self._slots is not None and self._slots.leave(handle):
            handle._discard()

    # When they end

    def idle(self) -> Future[None]:
        """Return a future that is done when no member is left; a new one at every call."""
        self._idle = kernel.new_future()
        return self._idle

    def watch_first_steps(self) -> None:
        """Notice handles that a foreign cancellation ends before their first step, from now on."""
        self._first_steps = FirstSteps()
        for member in self._live:
            if isinstance(member, TaskHandle):
                self._first_steps.expect(member)

    def _task_done(self, task: Task[Any]) -> None:
        if self._joiner is not None:
            callgraph.hide_awaited(task, self._joiner)
        if self._retrying or self._waiting:
            self._forget(task)
        if task.cancelled():
            self._count_end(task, CANCELLED, None)
        elif (error := task.exception()) is not None:
            self._count_end(task, FAILED, error)
        elif self._fast_end:
            self._count_return(task)
        else:
            self._count_end(task, FINISHED, task.result())

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        if not self._fast_end:
            self._task_ended(handle)
            return
        if self._joiner is not None:
            callgraph.hide_awaited(kernel.current_task(), self._joiner)
        self._count_return(handle)

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        if self._joiner is not None:
            callgraph.hide_awaited(kernel.current_task(), self._joiner)
        if self._starting:  # an eager first step: what its end means to the others is seen when they have all begun
            if not self._early:
                self._loop.call_soon(self._count_early_ends)
            self._early.append(handle)
            return
        if self._early:
            self._count_early_ends()
        self._count_end(handle, handle._status, handle._outcome)

    def _count_early_ends(self) -> None:
        """Count the ends that came before: in the next turn, or before that of one that went on in this turn."""
        early, self._early = self._early, []
        for handle in early:
            self._count_end(handle, handle._status, handle._outcome)

    def _forget(self, task: Task[Any]) -> None:
        """Let go of what a native task had besides itself: a cancellation under way, a coroutine that had no slot."""
        if task in self._retrying:
            self._retrying.pop(task).withdraw()
        if task in self._waiting:
            self._waiting.pop(task).close()
        if task in self._places:  # cancelled before its first step
            assert self._quotas is not None
            self._quotas.turns.give_up(self._places.pop(task))

    def _count_return(self, member: Member) -> None:
        """Inlined `_count_end` for a member that has returned; tests/group/test_fast_end.py holds the two equal."""
        self.finished += 1
        self._live.pop(member, None)
        if self._idle is not None and not self._live:
            self._report_idle()

    def _count_end(self, member: Member, status: TaskStatus, outcome: object) -> None:
        self._live.pop(member, None)
        if status is FINISHED:
            self.finished += 1
        elif status is FAILED:
            self.failed += 1
        else:
            self.cancelled += 1
        if member in self.abandoned:
            self._end_abandoned(member, outcome)
            return
        self._owner._member_ended(member, status, outcome)
        if self._slots is not None:
            self._running.discard(member)
            if self._quotas is not None:
                self._quotas.end(member)
            self._slots.serve()
        if self._idle is not None and not self._live:
            self._report_idle()

    def _end_abandoned(self, member: Member, outcome: object) -> None:
        """Count the late end of an abandoned member: the group is gone, and cannot raise its error."""
        del self.abandoned[member]
        if isinstance(outcome, Exception):
            facts = {"owner": self._name, "task": name_of_member(member)}
            logger.error("abandoned task failed", exc_info=outcome, extra=facts)

    def _report_idle(self) -> None:
        if self._idle is not None and not self._idle.done():
            wake(self._idle)
            self._owner._members_gone()

    def dissolve(self) -> None:
        """Let go of the owner; for when no member is left, so that no cycle keeps the group."""
        if not self._live:
            del self._owner
        if self._joiner is not None:
            for member in self.abandoned:
                callgraph.hide_awaited(native_task_of(member), self._joiner)
            self._joiner = None

    def _check_invariants(self) -> None:
        ended = self.finished + self.failed + self.cancelled
        assert self.created == len(self._live) + ended + len(self.abandoned)
        assert self.limit is None or len(self._running) <= self.limit
        assert self._slots is None or len(self._running) + self.queued == len(self._live)
