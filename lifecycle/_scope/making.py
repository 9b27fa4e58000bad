"""What is half made: values and context managers that a task of their own is making, and whose caller may leave.

Guarantee 3 lives here: what arrives after its caller has left is undone exactly once, by the task that made it.
"""

from __future__ import annotations

import inspect
from asyncio import CancelledError, Future, Task
from collections.abc import Awaitable, Coroutine, Iterator
from contextvars import Context
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

from .._ground import kernel
from .._ground.awaiters import Waiter
from .._ground.closing import refuse
from .._ground.errors import LifecycleError, TaskCancelled, TimeoutExpired, failure_of
from .._ground.foreign import split_cancellation, traceback_of, without_our_frame
from .._ground.surely import run_surely
from .._task.work import work_of
from .ending import OPEN, EndingScope
from .entries import Entry, Release, Resource

T = TypeVar("T")


class HalfMade(Entry):
    """Something half made by a task of its own, which its caller may leave at any moment.

    A caller that leaves withdraws its claim. What arrives afterwards is undone by the task that made it, exactly
    once, and the entry stays in the ledger until that has happened.
    """

    __slots__ = (
        "_arrival", "_begun", "_caller", "_cancellation", "_deserted", "_error", "_left", "_scope", "name", "task",
    )  # fmt: skip

    def __init__(self, scope: EndingScope, name: str) -> None:
        self._scope = scope
        self._left = False
        self._deserted = False  # whether nobody is left who would be told what making it meets
        self._begun = False
        self._caller: Task[Any] | None = None  # while it waits
        self._cancellation: kernel.Cancellation | None = None
        self._arrival = kernel.new_future()
        self.name = name
        self._error: BaseException | None = None
        self.task: Task[Any] | None = None

    def begin(self, making: Coroutine[Any, Any, object]) -> None:
        """Start making it; the ledger has the entry from this step on.

        It runs in the caller's own context, so that what is set there while it is made reaches the caller.
        """
        self._scope._own(self)
        context = kernel.context_of_task(kernel.current_task())
        loop = kernel.running_loop()
        if kernel.is_plain(loop):
            self._spawn(making, context)
        else:  # a task factory may make the first step at once, and no context can be entered twice
            loop.call_soon(self._spawn, making, context)

    def _spawn(self, making: Coroutine[Any, Any, object], context: Context | None) -> None:
        try:
            self.task = kernel.spawn_in(context, making, f"{self.label} of {self._scope}")
        except BaseException as error:  # of a task factory that refuses
            making.close()
            self._scope._books.forget(self)
            self._announce(error)
            self._making_ended(None)
        else:
            self.task.add_done_callback(self._making_ended)

    async def arrival(self, timeout: float) -> None:
        """Wait until it is made; raise what making it raised.

        Cancellation: withdraws the claim, see `leave`.

        Raises:
            TimeoutExpired: it was not made within *timeout* seconds; the claim is withdrawn.
            OwnerClosed: the scope closed meanwhile.
            TaskCancelled: it was released meanwhile.
        """
        self._caller = kernel.current_task()
        try:
            arrived = await kernel.wait(self._arrival, timeout)
        except CancelledError as cancellation:
            kernel.conclude(None, kernel.foremost(cancellation, await self._leave_alone()), cancellation)
            raise
        except BaseException:
            await self._leave_alone()
            raise
        else:
            held = None if arrived else await self.leave()
        finally:
            self._caller = None
        if not arrived:
            self._give_up(timeout, held)
        error = self._take_error()
        try:
            if self._left and (error is None or isinstance(error, CancelledError)):
                if self._scope._state is OPEN:
                    raise TaskCancelled(f"{self.label} was released while {self._scope} was waiting for it")
                refuse(self._scope, self.label, "it was closed meanwhile")
            if error is not None:
                raise error
        finally:
            del error  # which its traceback would refer to: a cycle

    def _give_up(self, timeout: float, held: CancelledError | None) -> NoReturn:
        """Raise that it was not made in time; the claim is withdrawn."""
        error = None if held is not None else self._take_error()
        self._desert()
        try:
            raise held or TimeoutExpired(self.label, timeout) from error
        finally:
            del held, error  # as above

    async def _leave_alone(self) -> CancelledError | None:
        """Withdraw the claim of a caller that goes; return a cancellation that was held back meanwhile."""
        held = await self.leave()
        self._desert()
        return held

    async def leave(self) -> CancelledError | None:
        """Withdraw the caller's claim: cancel the making, and undo what arrives nevertheless.

        Waits for the making to end, so that its clean-up is over when the caller goes on; at most the scope's
        ``close_timeout``, and not at all for one that sits in a shielded section, such as a call in a worker thread.
        """
        self._left = True
        if self._arrival.done():
            if self._error is not None:
                return None
            self._arrival = kernel.new_future()  # done once more when it has been undone
            if not self._undo_arrived():
                return None
        elif not self._cancel_making():
            return None
        return await kernel.wait_through(self._arrival, self._scope.close_timeout)

    @property
    def runner(self) -> Task[Any] | None:
        return self.task

    def _hosts(self, task: Task[Any]) -> Iterator[Waiter]:
        if self._caller is not None and not self._arrival.done():
            yield self._caller, True
        yield from self._scope._hosts(task)

    def spare(self) -> None:
        """Withdraw the claim without a wait: what is made is undone by its own task, which closes the scope."""
        self._left = True

    def _cancel_making(self) -> bool:
        """Cancel the making; return False where that has to wait for the end of a shielded section."""
        if not self._begun:
            return True  # it finds at its first step that it is not wanted
        assert self.task is not None
        if self._cancellation is None:
            self._cancellation = kernel.cancel(self.task, f"{self.label} is not wanted any more")
        return self._cancellation.delivered

    def _stop_cancelling(self) -> None:
        """Keep a cancellation that waits for the end of a shielded section from hitting what comes after the making."""
        if self._cancellation is not None:
            self._cancellation.withdraw()

    def suspended_at(self, closer: Task[Any]) -> tuple[str, ...]:
        return kernel.suspended_at(self.task) if self.task is not None else ()

    def _begin_making(self) -> bool:
        """Return whether it is still wanted, at the first step of its task."""
        self._begun = True
        self.task = kernel.current_task()  # which an eager one is before `_spawn` has it
        if self._left:
            self._scope._books.forget(self)
            self._announce(CancelledError(f"{self.label} was not wanted any more"))
        return not self._left

    def _undo_arrived(self) -> bool:
        """Undo what arrived in the very step in which its caller left; return False where the scope does, or has."""
        raise NotImplementedError

    def _announce(self, error: BaseException | None = None) -> None:
        self._error = error
        if self._deserted:
            self._report_error()
        if not self._arrival.done():
            self._arrival.set_result(None)

    def _take_error(self) -> BaseException | None:
        """Return what making it met, and keep it no longer: its traceback leads back here."""
        error, self._error = self._error, None
        return error

    def _desert(self) -> None:
        """Have the scope told what making it has met, or meets from now on: the caller has gone."""
        self._deserted = True
        self._report_error()

    def _report_error(self) -> None:
        error = self._take_error()
        if error is not None:
            _, failure = split_cancellation(error)  # it was asked to end by one
            if failure is not None:
                self._scope._record_error(failure)

    def _making_ended(self, _: Task[Any] | None) -> None:
        """Wake the caller where the task could not: a foreign cancellation ended it before its first step."""
        if not self._arrival.done():
            self._scope._books.forget(self)
            self._announce(CancelledError(f"making {self.label} was cancelled from outside"))


class Acquisition(HalfMade, Generic[T]):
    """A value that an asynchronous factory is making; when it is there, a `Resource` takes its place."""

    __slots__ = ("_arrived", "_coro", "_release", "resource")

    rung = 1

    def __init__(self, scope: EndingScope, name: str, coro: Awaitable[T], release: Release | None) -> None:
        super().__init__(scope, name)
        self._coro = coro
        self._release = release
        self._arrived = False
        self.resource: Resource[T] | None = None

    @property
    def label(self) -> str:
        return f"acquisition of {self.name!r}"

    @work_of("self")
    async def make(self) -> None:
        """Await the factory, and put its value into the ledger in the step in which it arrives."""
        if not self._begin_making():
            return
        try:
            value = await self._coro
            resource = Resource(self.name, value, self._release)
        except BaseException as error:
            self._scope._books.forget(self)
            self._announce(without_our_frame(error))
            return
        self._arrived = True
        self._stop_cancelling()
        if self._left:
            await self._undo(resource)
        else:
            self.resource = resource
            resource._scope = self._scope  # which is told to it, and no longer to this, should it be handed over
            self._scope._books.replace(self, resource)
            self._announce()

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        self._left = True
        self._cancel_making()
        return kernel.wait(self._arrival)

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        """Cancel the making once more: it may have swallowed the first. What undoes its value has a time of its own."""
        if not self._arrived:
            self._stop_cancelling()
            self._cancellation = None
            self._cancel_making()
        return None

    @work_of("self")
    async def _undo(self, resource: Resource[T]) -> None:
        self.task = kernel.current_task()  # another one, for what arrived in the very step in which its caller left
        try:
            async with kernel.time_limit(self._scope.close_timeout):
                pending = resource.release(None)
                if pending is not None:
                    await pending
        except BaseException as error:
            self._scope._record_error(failure_of(resource.label, without_our_frame(error)))
        self._scope._books.forget(self)
        self._announce()

    def take(self) -> T:
        """Return the value to the caller, who can leave no more."""
        assert self.resource is not None
        del self.resource._scope  # which refers to it: a cycle
        return self.resource.value

    def _undo_arrived(self) -> bool:
        if self.resource is None:
            return False
        self._scope = self.resource._scope
        if not self._scope._books.forget(self.resource):
            return False
        self._scope._own(self)
        run_surely(partial(self._undo, self.resource), f"late release of {self.name!r}")
        return True

    def _making_ended(self, task: Task[Any] | None) -> None:
        if self.resource is None and inspect.iscoroutine(self._coro):
            self._coro.close()
        if not self._begun:
            super()._making_ended(task)


class Holder(HalfMade, Generic[T]):
    """An asynchronous context manager that a task of its own enters, holds and leaves."""

    __slots__ = ("_cm", "_error_in_flight", "_failure", "_releasing", "_suppresses", "_told", "held", "value")

    exits = True
    kind = "context manager"

    def __init__(self, scope: EndingScope, name: str, cm: Any) -> None:
        super().__init__(scope, name)
        self._cm = cm
        self._told: Future[None] = kernel.new_future()
        self._error_in_flight: BaseException | None = None
        self._failure: BaseException | None = None  # of leaving it
        self._suppresses = False  # its verdict on the error in flight
        self._releasing = False
        self.held = False
        self.value: Any = None

    @property
    def label(self) -> str:
        return f"context manager {self.name!r}"

    @property
    def owned(self) -> object:
        """What a snapshot may look into."""
        return self._cm

    @property
    def state(self) -> str:
        """Where it is in its life, for a snapshot."""
        if not self.held:
            return "entering"
        return "leaving" if self._told.done() else "held"

    @work_of("self")
    async def make(self) -> None:
        """Enter, hold until told otherwise, leave."""
        if not self._begin_making():
            return
        try:
            self.value = await self._cm.__aenter__()
        except BaseException as error:
            self._scope._books.forget(self)
            self._announce(without_our_frame(error))
            return
        self._stop_cancelling()
        self.held = True
        if not self._left:
            self._scope._books.replace(self, self)  # the newest entry from the step on in which it was entered
            self._announce()
            await self._hold()
        await self._leave_context()

    async def _hold(self) -> None:
        """Wait to be told to leave, and what error to leave with."""
        try:
            await self._told
        except CancelledError as error:  # by a scope that the context manager itself holds, or from outside
            if not self._releasing:
                self._error_in_flight = without_our_frame(error)

    async def _leave_context(self) -> None:
        error, self._error_in_flight = self._error_in_flight, None
        details = (None, None, None) if error is None else (type(error), error, traceback_of(error))
        try:
            self._suppresses = bool(await self._cm.__aexit__(*details))
        except BaseException as raised:
            self._failure = without_our_frame(raised)
        finally:
            del error, details  # frames of the context manager, in the traceback of its error, lead back to this one
        if not self._releasing:
            self._ended_unasked(self._take_failure())

    def _take_failure(self) -> BaseException | None:
        failure, self._failure = self._failure, None
        return failure

    def _ended_unasked(self, error: BaseException | None) -> None:
        """Report an end that no closer waits for: the claim was withdrawn, or the context manager ended by itself."""
        self._scope._books.forget(self)
        if self._left:
            self._announce()
            if error is not None:
                self._scope._record_error(failure_of(self.label, error))
        elif error is None or isinstance(error, CancelledError):
            ended = LifecycleError(f"{self.label} ended while {self._scope} still held it")
            self._scope._fail(ended, str(ended))
        else:
            self._scope._fail(error, f"{self.label} failed while it was held")

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        self._releasing = True
        # A cancellation of the host is known to its requester, an anyio scope perhaps, and takes effect in the host.
        # Here it is said again, so that nothing the context manager does with it can reach either of them.
        cancelled = isinstance(error, CancelledError)
        self._error_in_flight = CancelledError(f"{self._scope} is closing") if cancelled else error
        if not self.held:
            self._left = True
            self._cancel_making()
        if not self._told.done():
            self._told.set_result(None)
        return self._verdict(cancelled)

    async def _verdict(self, cancelled: bool) -> bool:
        """Return whether the error in flight was suppressed; not that of a host that is being *cancelled*."""
        if self.task is None:  # it will find at its first step that it is not wanted
            await kernel.wait(self._arrival)
            return False
        await kernel.wait(self.task)
        failure = self._take_failure()
        if failure is not None and cancelled:
            _, failure = split_cancellation(failure)
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # which its traceback would refer to: a cycle
        return not cancelled and self._suppresses

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        assert self.task is not None
        return kernel.cancel(self.task, f"leaving {self.label} took too long")

    @property
    def stops_runner(self) -> bool:
        return not self.held

    def spare(self) -> None:
        """Have it left, without a wait: what it holds runs the task that closes the scope."""
        super().spare()
        self._undo_arrived()

    def _undo_arrived(self) -> bool:
        assert self.task is not None
        if self._releasing or self.task.done():
            return False
        if not self._told.done():
            self._told.set_result(None)
        return True
