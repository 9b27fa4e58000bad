"""What a scope's ledger can hold besides child scopes, and how each kind of entry is released.

Every entry answers the same few questions, asked by ``_unwind``:

* ``inline``: must it be left in the closing task itself, because it may hold scopes of that task?
* ``leaves``: does it leave the ledger by itself when it ends (tasks), or is it taken out to be released?
* ``bounded``: does the scope's ``close_timeout`` apply, or does it end in its own time?
* ``exits``: is it a context manager, which sees the error in flight and may suppress or replace it?
* ``runner``: the task that its release waits for, where it is one: it is spared where that waits for the close itself.
* ``stops_runner``: does it get on without this close, if only by a cancellation? Then only one that is bound is spared.
* ``spare()``: the close goes on without it, and it has to leave by itself.
* ``rung``: how often its ``release`` itself has interrupted it, as that of a task does, which is a cancellation.
* ``makes_coroutine``: does its ``release`` no more than make a coroutine, so that it may be called in any context?
* ``release(error)``: begin the release, in one synchronous step; return what is left to be awaited, or None.
* ``interrupt(closer)``: the release has taken too long.
* ``suspended_at(closer)``: where it hangs.
"""

from __future__ import annotations

import inspect
from asyncio import CancelledError, Task
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, Generic, TypeGuard, TypeVar

from anyio import CancelScope

from .._ground import kernel
from .._ground.calls import is_coroutine_function, name_of
from .._ground.logs import OwnerLog
from .._ground.roots import Thing, as_owner
from .._ground.trace import Account, mark_in
from .._task.handle import TaskHandle

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Release = Callable[[Any], object]

logger = OwnerLog("lifecycle.scope")

#: Types of plain values, which nobody need ask for long whether they can be awaited.
PLAIN = frozenset({type(None), bool, int, str, list, dict})


class Entry:
    """The answers that most kinds of entry give."""

    __slots__ = ("__weakref__",)

    inline: ClassVar[bool] = False
    leaves: ClassVar[bool] = False
    bounded: ClassVar[bool] = True
    exits: ClassVar[bool] = False
    rung: ClassVar[int] = 0
    kind: ClassVar[str] = "resource"

    @property
    def runner(self) -> Task[Any] | None:
        """The task that its release waits for."""
        return None

    @property
    def stops_runner(self) -> bool:
        """Whether that task gets on without the close, if only because the release cancels it."""
        return True

    def spare(self) -> None:
        """Take note that the scope closes without it."""

    @property
    def makes_coroutine(self) -> bool:
        """Whether its release only makes a coroutine."""
        return False

    @property
    def label(self) -> str:
        """What a person calls it."""
        raise NotImplementedError

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        """Begin the release."""
        raise NotImplementedError

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        """End a release that takes too long; most run in the closer itself."""
        return kernel.interrupt(closer, f"releasing {self.label} took too long")

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
    def makes_coroutine(self) -> bool:
        return is_coroutine_function(self.calls[-1][0])

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
        return result if is_awaited(result) else None


class Resource(Entry, Generic[T]):
    """A value and the way to release it.

    It has the scope that it is in only while whoever acquires it may still leave: see `Acquisition.take`.
    """

    __slots__ = ("_release", "_scope", "name", "value")

    _scope: Any

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

    @property
    def makes_coroutine(self) -> bool:
        return is_coroutine_function(self._release)

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        result = self._release(self.value)
        return result if is_awaited(result) else None


class InlineExit(Entry):
    """A context manager, or an exit function, that was entered in the body's task and is left in the closing one.

    Args:
        around: the anyio scope that it was entered in; a shield out there protects nothing of it.
    """

    __slots__ = ("_around", "exit", "is_async", "name", "owned")

    inline = True
    exits = True
    kind = "context manager"

    def __init__(
        self,
        name: str,
        exit: Callable[..., Any],  # noqa: A002
        *,
        is_async: bool,
        around: CancelScope | None = None,
    ) -> None:
        self.name = name
        self._around = around
        self.exit = exit
        self.is_async = is_async
        self.owned: object = getattr(exit, "__self__", exit)

    @property
    def label(self) -> str:
        return f"context manager {self.name!r}"

    def interrupt(self, closer: Task[Any]) -> kernel.Cancellation | None:
        return kernel.interrupt(closer, f"releasing {self.label} took too long", self._around)


class OwnTask(TaskHandle[T_co]):
    """A task in a scope's ledger."""

    __slots__ = ()

    makes_coroutine: ClassVar[bool] = False
    inline: ClassVar[bool] = False
    leaves: ClassVar[bool] = True
    bounded: ClassVar[bool] = True
    exits: ClassVar[bool] = False
    rung: ClassVar[int] = 1
    kind: ClassVar[str] = "task"

    runner = TaskHandle._task  # type: ignore[misc]  # the slot itself: every close asks
    stops_runner: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return f"task {self.name!r}"

    def spare(self) -> None:
        """Go on: it closes the scope, or waits for who does."""

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


def describe(entry: Any, account: Account | None) -> Thing:
    """Return how an entry looks in a snapshot."""
    mark = mark_in(account, entry)
    if isinstance(entry, OwnTask):
        state = "cancelling" if entry.cancelling() else entry.status.value
        return Thing("task", entry.name, state, entry.started_at, mark=mark, task=entry._task)
    if isinstance(entry, CallbackRun):
        return Thing("callback", "callbacks", count=len(entry.calls))
    owner = as_owner(getattr(entry, "owned", None))
    name = getattr(entry, "name", None) or entry.label
    state, task = getattr(entry, "state", ""), getattr(entry, "task", None)
    return Thing(entry.kind, name, state, owner=owner, mark=mark, task=task)


def count_calls(ledger: Iterable[Any]) -> int:
    """Return how many callbacks are in the runs in *ledger*."""
    return sum(len(entry.calls) for entry in ledger if type(entry) is CallbackRun)


def count_kinds(ledger: Iterable[Any]) -> Counter[str]:
    """Return how many things of each kind are in *ledger*."""
    kinds: Counter[str] = Counter()
    for entry in ledger:
        kinds[entry.kind] += len(entry.calls) if type(entry) is CallbackRun else 1
    return kinds


def is_awaited(result: Any) -> TypeGuard[Awaitable[Any]]:
    """Return whether what a release has returned has to be awaited; quick where callbacks return plain values."""
    return type(result) not in PLAIN and inspect.isawaitable(result)


def closer_of(value: object) -> Release:
    """Return the function that releases *value* by its own ``aclose`` or ``close``.

    Raises:
        TypeError: it has neither.
    """
    for method in ("aclose", "close"):
        if callable(getattr(value, method, None)):
            return lambda owned: getattr(owned, method)()
    raise TypeError(f"{value!r} has neither aclose() nor close(); say how to release it with release=")


def report_late(owner: str, entry: Any, error: BaseException | None) -> None:
    """Log how a release ended that had been abandoned."""
    if error is not None and not isinstance(error, CancelledError):
        logger.error("abandoned release failed", exc_info=error, extra={"owner": owner, "entry": entry.label})
