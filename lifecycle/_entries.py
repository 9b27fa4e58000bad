"""What a scope's ledger can hold besides child scopes, and how each kind of entry is released.

Every entry answers the same few questions, asked by ``_unwind``:

* ``inline``: must it be left in the closing task itself, because it may hold scopes of that task?
* ``leaves``: does it leave the ledger by itself when it ends (tasks), or is it taken out to be released?
* ``bounded``: does the scope's ``close_timeout`` apply, or does it see to its own end?
* ``exits``: is it a context manager, which sees the error in flight and may suppress or replace it?
* ``release(error)``: begin the release, in one synchronous step; return what is left to be awaited, or None.
* ``interrupt(closer)``: the release has taken too long.
* ``suspended_at(closer)``: where it hangs.
"""

from __future__ import annotations

import inspect
import logging
from asyncio import CancelledError, Future, Task
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from . import _kernel as kernel
from ._closing import refuse
from ._errors import LifecycleError
from ._handle import TaskHandle, name_of
from ._roots import Thing, as_owner
from ._trace import Token

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Release = Callable[[Any], object]

logger = logging.getLogger("lifecycle.scope")


class Keeper(Protocol):
    """What an entry needs of the scope whose ledger it is in."""

    close_timeout: float

    def _own(self, entry: Any) -> None: ...
    def _forget(self, entry: Any) -> bool: ...
    def _replace(self, entry: Any, successor: Any) -> None: ...
    def _record_error(self, error: BaseException) -> None: ...
    def _fail(self, error: BaseException, reason: str) -> None: ...


class Entry:
    """The answers that most kinds of entry give."""

    __slots__ = ("__weakref__",)

    inline: ClassVar[bool] = False
    leaves: ClassVar[bool] = False
    bounded: ClassVar[bool] = True
    exits: ClassVar[bool] = False
    kind: ClassVar[str] = "resource"

    @property
    def label(self) -> str:
        """What a person calls it."""
        raise NotImplementedError

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        """Begin the release."""
        raise NotImplementedError

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        """End a release that takes too long; most run in the closer itself."""
        return kernel.cancel(closer, f"releasing {self.label} took too long")

    def suspended_at(self, closer: Task[Any]) -> tuple[str, ...]:
        """Return where the release hangs."""
        return kernel.suspended_at(closer)


class CallbackRun(Entry):
    """Callbacks that were registered one after the other: there may be thousands, and a tuple in a list is cheapest."""

    __slots__ = ("calls",)

    kind = "callback"

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []

    @property
    def label(self) -> str:
        return f"{len(self.calls)} callbacks"


class CallbackEntry(Entry):
    """One callback by itself: offered to a closing scope, or taken out of its run because it has to be awaited."""

    __slots__ = ("_args", "_fn", "_kwargs")

    kind = "callback"

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._fn = fn
        self._args = args
        self._kwargs = kwargs

    @property
    def label(self) -> str:
        return f"callback {name_of(self._fn)}"

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        result = self._fn(*self._args, **self._kwargs)
        return result if inspect.iscoroutine(result) else None


class Resource(Entry, Generic[T]):
    """A value and the way to release it."""

    __slots__ = ("_release", "name", "value")

    def __init__(self, name: str, value: T, release: Release | None) -> None:
        self.name = name
        self.value = value
        self._release = release if release is not None else closer_of(value)

    @property
    def label(self) -> str:
        return f"resource {self.name!r}"

    @property
    def owned(self) -> object:
        """What a snapshot may look into."""
        return self.value

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        result = self._release(self.value)
        return result if inspect.isawaitable(result) else None


class InlineExit(Entry):
    """A context manager, or an exit function, that was entered in the body's task and is left in the closing one."""

    __slots__ = ("_name", "exit", "is_async", "owned")

    inline = True
    exits = True
    kind = "context manager"

    def __init__(self, name: str, exit: Callable[..., Any], *, is_async: bool) -> None:  # noqa: A002
        self._name = name
        self.exit = exit
        self.is_async = is_async
        self.owned: object = getattr(exit, "__self__", None)

    @property
    def label(self) -> str:
        return f"context manager {self._name}"


class OwnTask(TaskHandle[T_co]):
    """A task in a scope's ledger."""

    __slots__ = ()

    inline: ClassVar[bool] = False
    leaves: ClassVar[bool] = True
    bounded: ClassVar[bool] = True
    exits: ClassVar[bool] = False
    kind: ClassVar[str] = "task"

    @property
    def label(self) -> str:
        return f"task {self.name!r}"

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        """Cancel the task; ``_unwind`` waits for its end."""
        self.cancel("its scope is closing")
        return None

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        """Cancel once more: it may have swallowed the first."""
        self.cancel("its scope is closing")
        return None

    def suspended_at(self, closer: Task[Any]) -> tuple[str, ...]:
        return kernel.suspended_at(self._task) if self._task is not None else ()


class Child(Entry):
    """A child scope's place in its parent's ledger; each of the child's own releases has its deadline."""

    __slots__ = ("_scope", "scope")

    leaves = True
    bounded = False
    kind = "scope"

    def __init__(self, parent: Keeper, scope: Any) -> None:
        self._scope = parent
        self.scope = scope

    @property
    def parent(self) -> Any:
        """The scope whose ledger this is in."""
        return self._scope

    @property
    def label(self) -> str:
        return repr(self.scope)

    @property
    def owned(self) -> object:
        """What a snapshot may look into."""
        return self.scope

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        closing: Awaitable[None] = self.scope._close_for_parent()
        return closing

    def leave(self) -> None:
        """Leave the ledger: the child has closed."""
        self._scope._forget(self)


class _Half(Entry):
    """Something half made by a task of its own, which its caller may leave at any moment.

    A caller that leaves withdraws its claim. What arrives afterwards is undone by the task that made it, exactly
    once, and the entry stays in the ledger until that has happened.
    """

    __slots__ = ("_arrival", "_begun", "_cancellation", "_left", "_scope", "error", "name", "task")

    def __init__(self, scope: Keeper, name: str) -> None:
        self._scope = scope
        self._left = False
        self._begun = False
        self._cancellation: kernel.Cancellation | None = None
        self._arrival = kernel.new_future()
        self.name = name
        self.error: BaseException | None = None
        self.task: Task[None] | None = None

    def begin(self, making: Coroutine[Any, Any, None]) -> None:
        """Start making it; the ledger has the entry from this step on."""
        self._scope._own(self)
        self.task = kernel.spawn(making, f"{self.label} of {self._scope}", kernel.context_of_caller())
        self.task.add_done_callback(self._making_ended)

    async def arrival(self, timeout: float) -> None:
        """Wait until it is made; raise what making it raised.

        Cancellation: withdraws the claim, see `leave`.

        Raises:
            TimeoutError: it was not made within *timeout* seconds; the claim is withdrawn.
            OwnerClosed: the scope closed meanwhile.
        """
        try:
            arrived = await kernel.wait(self._arrival, timeout)
        except BaseException:
            await self.leave()
            raise
        if not arrived:
            held = await self.leave()
            if held is not None:
                raise held
            raise TimeoutError(f"{self.label} was not there within {timeout:g} s") from self.error
        if self._left and (self.error is None or isinstance(self.error, CancelledError)):
            refuse(self._scope, self.label, "it was closed meanwhile")
        if self.error is not None:
            raise self.error

    async def leave(self) -> CancelledError | None:
        """Withdraw the caller's claim: cancel the making, and undo what arrives nevertheless.

        Waits for the making to end, so that its clean-up is over when the caller goes on; at most the scope's
        ``close_timeout``, and not at all for one that sits in a shielded section, such as a call in a worker thread.
        """
        self._left = True
        if self._arrival.done():
            if self.error is not None:
                return None
            self._arrival = kernel.new_future()  # done once more when it has been undone
            self._undo_arrived()
        elif not self._cancel_making():
            return None
        return await kernel.wait_through(self._arrival, self._scope.close_timeout)

    def _cancel_making(self) -> bool:
        """Cancel the making; return False where that has to wait for the end of a shielded section."""
        assert self.task is not None
        if not self._begun:
            return True  # it finds at its first step that it is not wanted
        if self._cancellation is None:
            self._cancellation = kernel.cancel(self.task, f"{self.label} is not wanted any more")
        return self._cancellation.delivered

    def _stop_cancelling(self) -> None:
        """Keep a cancellation that waits for the end of a shielded section from hitting what comes after the making."""
        if self._cancellation is not None:
            self._cancellation.withdraw()

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        """Nothing is left to try: the making has been cancelled."""
        return None

    def suspended_at(self, closer: Task[Any]) -> tuple[str, ...]:
        return kernel.suspended_at(self.task) if self.task is not None else ()

    def _begin_making(self) -> bool:
        """Return whether it is still wanted, at the first step of its task."""
        self._begun = True
        if self._left:
            self._scope._forget(self)
            self._announce(CancelledError(f"{self.label} was not wanted any more"))
        return not self._left

    def _undo_arrived(self) -> None:
        """Undo what arrived in the very step in which its caller left."""
        raise NotImplementedError

    def _announce(self, error: BaseException | None = None) -> None:
        self.error = error
        if not self._arrival.done():
            self._arrival.set_result(None)

    def _making_ended(self, _: Task[None]) -> None:
        """See to the caller of a task that could not: somebody else cancelled it, or the scope closed."""
        if not self._arrival.done():
            self._scope._forget(self)
            self._announce(CancelledError(f"making {self.label} was cancelled from outside"))


class Acquisition(_Half, Generic[T]):
    """A value that an asynchronous factory is making; when it is there, a `Resource` takes its place."""

    __slots__ = ("_coro", "_release", "resource")

    def __init__(self, scope: Keeper, name: str, coro: Awaitable[T], release: Release | None) -> None:
        super().__init__(scope, name)
        self._coro = coro
        self._release = release
        self.resource: Resource[T] | None = None

    @property
    def label(self) -> str:
        return f"acquisition of {self.name!r}"

    async def make(self) -> None:
        """Await the factory, and put its value into the ledger in the step in which it arrives."""
        if not self._begin_making():
            return
        try:
            value = await self._coro
            resource = Resource(self.name, value, self._release)
        except BaseException as error:
            self._scope._forget(self)
            self._announce(error)
            return
        self._stop_cancelling()
        if self._left:
            await self._undo(resource)
        else:
            self.resource = resource
            self._scope._replace(self, resource)
            self._announce()

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        self._left = True
        self._cancel_making()
        return kernel.wait(self._arrival)

    async def _undo(self, resource: Resource[T]) -> None:
        try:
            async with kernel.time_limit(self._scope.close_timeout):
                pending = resource.release(None)
                if pending is not None:
                    await pending
        except BaseException as error:
            self._scope._record_error(error)
        self._scope._forget(self)
        self._announce()

    def _undo_arrived(self) -> None:
        assert self.resource is not None
        if self._scope._forget(self.resource):
            self._scope._own(self)
            kernel.spawn_kept(self._undo(self.resource), f"late release of {self.name!r}")

    def _making_ended(self, task: Task[None]) -> None:
        if self.resource is None and inspect.iscoroutine(self._coro):
            self._coro.close()
        if not self._begun:
            super()._making_ended(task)


class Holder(_Half, Generic[T]):
    """An asynchronous context manager that a task of its own enters, holds and leaves."""

    __slots__ = ("_cm", "_error_in_flight", "_releasing", "_told", "held", "value")

    exits = True
    kind = "context manager"

    def __init__(self, scope: Keeper, name: str, cm: Any) -> None:
        super().__init__(scope, name)
        self._cm = cm
        self._told: Future[None] = kernel.new_future()
        self._error_in_flight: BaseException | None = None
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

    async def make(self) -> bool:
        """Enter, hold until told otherwise, leave; returns the context manager's verdict on the error in flight."""
        if not self._begin_making():
            return False
        try:
            self.value = await self._cm.__aenter__()
        except BaseException as error:
            self._scope._forget(self)
            self._announce(error)
            return False
        self._stop_cancelling()
        self.held = True
        error_in_flight = None
        if not self._left:
            self._scope._replace(self, self)  # the newest entry from the step on in which it was entered
            self._announce()
            error_in_flight = await self._hold()
        return await self._leave_context(error_in_flight)

    async def _hold(self) -> BaseException | None:
        """Wait to be told to leave; returns the error to leave with."""
        try:
            await self._told
        except CancelledError as error:  # by a scope that the context manager itself holds, or from outside
            if not self._releasing:
                return error
        return self._error_in_flight

    async def _leave_context(self, error: BaseException | None) -> bool:
        try:
            verdict = await self._cm.__aexit__(type(error) if error else None, error, error and error.__traceback__)
        except BaseException as raised:
            if self._releasing:
                raise
            self._ended_unasked(raised)
            return False
        finally:
            self._error_in_flight = None
        if not self._releasing:
            self._ended_unasked(None)
        return bool(verdict)

    def _ended_unasked(self, error: BaseException | None) -> None:
        """Report an end that no closer waits for: the claim was withdrawn, or the context manager ended by itself."""
        self._scope._forget(self)
        if self._left:
            self._announce()
            if error is not None:
                self._scope._record_error(error)
        elif error is None or isinstance(error, CancelledError):
            ended = LifecycleError(f"{self.label} ended while {self._scope} still held it")
            self._scope._fail(ended, str(ended))
        else:
            self._scope._fail(error, f"{self.label} failed while it was held")

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        self._releasing = True
        self._error_in_flight = error
        if not self.held:
            self._left = True
            self._cancel_making()
        if not self._told.done():
            self._told.set_result(None)
        return self._verdict()

    async def _verdict(self) -> bool:
        assert self.task is not None
        await kernel.wait(self.task)
        if self.task.cancelled():
            raise CancelledError(f"{self.label} was cancelled from outside while it was being left")
        error = self.task.exception()
        if error is not None:
            raise error
        return bool(self.task.result())

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        assert self.task is not None
        return kernel.cancel(self.task, f"leaving {self.label} took too long")

    def _undo_arrived(self) -> None:
        if not self._told.done():
            self._told.set_result(None)


def describe(entry: Any, tokens: Mapping[Any, Token | None] | None) -> Thing:
    """Return how an entry looks in a snapshot."""
    token = tokens.get(entry) if tokens else None
    if isinstance(entry, OwnTask):
        state = "cancelling" if entry.cancelling else entry.status.value
        return Thing("task", entry.name, state, entry.started_at, token=token, task=entry._task)
    if isinstance(entry, CallbackRun):
        return Thing("callback", "callbacks", count=len(entry.calls))
    owner = as_owner(getattr(entry, "owned", None))
    if isinstance(entry, Holder):
        return Thing(entry.kind, entry.name, entry.state, owner=owner, token=token, task=entry.task)
    return Thing(entry.kind, getattr(entry, "name", None) or entry.label, owner=owner, token=token)


def count_calls(ledger: Iterable[Any]) -> int:
    """Return how many callbacks are in the runs in *ledger*."""
    return sum(len(entry.calls) for entry in ledger if type(entry) is CallbackRun)


def count_kinds(ledger: Iterable[Any]) -> Counter[str]:
    """Return how many things of each kind are in *ledger*."""
    kinds: Counter[str] = Counter()
    for entry in ledger:
        kinds[entry.kind] += len(entry.calls) if type(entry) is CallbackRun else 1
    return kinds


def closer_of(value: object) -> Release:
    """Return the function that releases *value* by its own ``aclose`` or ``close``.

    Raises:
        TypeError: it has neither.
    """
    for method in ("aclose", "close"):
        if callable(getattr(value, method, None)):
            return lambda owned: getattr(owned, method)()
    raise TypeError(f"{value!r} has neither aclose() nor close(); say how to release it with release=")
