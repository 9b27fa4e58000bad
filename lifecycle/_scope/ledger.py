"""The ledger of a scope: what it owns, in order, and the account of all that came and went."""

from __future__ import annotations

import warnings
from asyncio import AbstractEventLoop
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from .._ground import kernel, trace
from .._ground.calls import name_of
from .._ground.checks import checked_timeout
from .._ground.closing import OwnerState, refuse
from .._ground.kernel import NativeTask
from .._ground.roots import Portrait, enroll
from .._task.first_steps import next_sweep, sweep
from .._task.handle import FAILED, TaskHandle
from .entries import CallbackRun, Child, OwnTask, count_calls, count_kinds, describe
from .statistics import ScopeStatistics

T = TypeVar("T")

OPEN, CLOSING, CLOSED = OwnerState

_ABSENT = object()


class Ledger:
    """Keeps what a scope owns, newest last, and its books: opened equals released plus live, at every await.

    A dict, because it keeps the order and gives up any entry at once: what ends by itself leaves.
    """

    # What a scope has until it needs something else. On the class, because many scopes live and die without.
    _run: list[Any] | None = None  # the callbacks on top of the ledger
    _releasing: Any = None
    _opened = 0  # without the callbacks that are in the ledger now
    _released = 0
    _state = OPEN
    _place: Child | None = None  # in the parent's ledger
    _since: float | None = None  # when the first thing came in
    _plain_loop: AbstractEventLoop | None = None
    _sweep_at = next_sweep(0)
    _token: trace.Token | None = None  # while somebody looks
    _tokens: dict[Any, trace.Token | None] | None = None

    def __init__(self, name: str | None = None, *, close_timeout: float | None = 30.0) -> None:
        self.name: str = name or "scope"
        self.close_timeout: float = checked_timeout(close_timeout, "close_timeout")
        self._ledger: dict[Any, None] = {}
        self._errors: list[BaseException] = []
        enroll(self)

    @property
    def closed(self) -> bool:
        """Whether everything has been released, for good."""
        return self._state is CLOSED

    def statistics(self) -> ScopeStatistics:
        """Return what the scope owns at this moment; costs a look at every entry."""
        self._sweep()
        kinds = count_kinds(self._ledger)
        tasks, children = kinds["task"], kinds["scope"]
        return ScopeStatistics(
            name=self.name,
            state=self._state.value,
            tasks=tasks,
            resources=kinds.total() - tasks - children + (self._releasing is not None),
            children=children,
            opened=self._opened + count_calls(self._ledger),
            released=self._released,
        )

    def _portrait(self) -> Portrait:
        self._sweep()
        things = [describe(entry, self._tokens) for entry in self._ledger]
        return Portrait("scope", self.name, self._state.value, self._since, things, token=self._token)

    def __repr__(self) -> str:
        return f"scope {self.name!r}"

    def __del__(self) -> None:
        if getattr(self, "_ledger", None) and self._state is OPEN:
            warnings.warn(
                f"{self} was dropped with {len(self._ledger)} things in it; close it with `await scope.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _own(self, entry: Any) -> None:
        self._ledger[entry] = None
        self._opened += 1
        self._run = None
        if self._since is None:
            self._since = self._clock()
        if trace.sink is not None:
            self._report_opened(entry)

    def _report_opened(self, entry: Any) -> None:
        """Tell whoever looks of a new entry, and of this scope with its first."""
        if self._token is None:
            owner = self._place.parent._token if self._place is not None else None
            self._token = trace.opened("scope", self.name, owner)
        if self._tokens is None:
            self._tokens = {}
        if entry.kind != "scope":
            self._tokens[entry] = trace.opened(entry.kind, getattr(entry, "name", None) or entry.label, self._token)

    def _report_closed(self, entry: Any) -> None:
        assert self._tokens is not None
        trace.closed(self._tokens.pop(entry, None))

    def _begin_run(self) -> list[Any]:
        """Put a run of callbacks on top of the ledger, until something else comes to lie there."""
        run = CallbackRun()
        self._ledger[run] = None
        self._run = run.calls
        return run.calls

    def _forget(self, entry: Any) -> bool:
        """Take an entry that has ended by itself out of the ledger; return whether it was still in it."""
        if self._ledger.pop(entry, _ABSENT) is _ABSENT:
            return False
        self._released += 1
        if self._tokens:
            self._report_closed(entry)
        return True

    def _replace(self, entry: Any, successor: Any) -> None:
        """Put *successor* on top of the ledger in place of *entry*, which it continues."""
        del self._ledger[entry]
        self._ledger[successor] = None
        self._run = None
        if self._tokens:
            self._tokens[successor] = self._tokens.pop(entry, None)

    def _check_open(self, offer: str) -> None:
        if self._state is not OPEN:
            refuse(self, offer, f"it is {self._state.value}")

    def _clock(self) -> float:
        """Return the loop's time; binds the scope to the loop's clock the first time."""
        self._clock = kernel.clock()  # type: ignore[method-assign]
        return self._clock()

    def _launch(self, coro: Coroutine[Any, Any, T], name: str | None, context: Context | None) -> TaskHandle[T]:
        handle = OwnTask(self, coro, name or name_of(coro))
        self._ledger[handle] = None
        self._opened += 1
        self._run = None
        if self._since is None:
            self._since = self._clock()
        if trace.sink is not None:
            self._report_opened(handle)
        if len(self._ledger) > self._sweep_at:
            self._sweep()
            self._sweep_at = next_sweep(len(self._ledger))
        if self._plain_loop is not None:
            handle._task = NativeTask(handle._run(), loop=self._plain_loop, name=handle.name, context=context)
        else:
            self._start_with_care(handle, context)
        return handle

    def _start_with_care(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start the first task, and every task where a task factory may refuse it."""
        loop = kernel.running_loop()
        if kernel.is_plain(loop):
            self._plain_loop = loop
        try:
            handle._start(context)
        except BaseException:
            self._forget(handle)
            handle._coro.close()
            raise

    def _sweep(self) -> None:
        sweep(entry for entry in self._ledger if isinstance(entry, OwnTask))

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        self._forget(handle)

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        self._forget(handle)
        if handle._status is FAILED:
            error = handle._outcome
            assert isinstance(error, BaseException)
            self._fail(error, f"task {handle.name!r} failed")

    def _fail(self, error: BaseException, reason: str) -> None:
        """Take the error of something that is owned; see ``_ending``."""
        raise NotImplementedError

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        raise AssertionError(f"{handle} of {self} has no native task")  # a scope starts every task at once
