"""How a scope ends: what interrupts its body, and how it is closed once, however many ask."""

from __future__ import annotations

import warnings
from asyncio import CancelledError, Future, Task, sleep
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import Context
from typing import Any
from weakref import ref

from .._ground import kernel, trace
from .._ground.awaiters import Waiter
from .._ground.checks import checked_name, checked_timeout
from .._ground.closing import OwnerState, refuse, tell_closed, wait_closed
from .._ground.foreign import combine
from .._ground.roots import Portrait, enroll
from .._ground.surely import run_surely
from .._task.body import Body
from .._task.waiting import Waiting, let_be_seen, until_seen, waits_for
from .books import ScopeBooks
from .entries import Entry, logger
from .statistics import ScopeStatistics
from .unwind import Unwinding

OPEN, CLOSING, CLOSED = OwnerState


class EndingScope:
    """A scope as far as what it owns and its own parent know it: it takes things and errors in, and it ends.

    A base class and no part of the scope, because it works on all that a scope is: its name and timeout, its books,
    its place in its parent. As a part it would refer back, and every scope would be a reference cycle.
    """

    # What a scope has until it needs something else. On the class, because many scopes live and die without.
    _place: Child | None = None  # in the parent's ledger
    _body: Body | None = None  # of the async with block, once it is entered
    _closing_in: Task[Any] | None = None
    _closing_begun: Future[None] | None = None
    _unwinding: Unwinding | None = None  # while it is being closed
    _context: Context | None = None  # in which the parent has its synchronous releases run, once that closes this
    _over: Future[None] | None = None  # see `wait_closed`
    _on_failure: Callable[[EndingScope], None] | None = None  # in place of a close, where there is no body to interrupt
    _fatal: BaseException | None = None  # with which a task has ended the process: there is nothing more to tell of it

    def __init__(self, name: str | None = None, *, close_timeout: float | None = 30.0) -> None:
        self._state = OPEN
        self.name: str = "scope" if name is None else checked_name(name, "scope")
        self.close_timeout: float = checked_timeout(close_timeout, "close_timeout")
        self._books = ScopeBooks()
        self._errors: list[BaseException] = []
        enroll(self)

    @property
    def closed(self) -> bool:
        """Whether everything has been released, for good."""
        return self._state is CLOSED

    def statistics(self) -> ScopeStatistics:
        """Return what the scope owns at this moment; costs a look at every entry."""
        return self._books.statistics(self.name, self._state.value)

    async def wait(self) -> None:
        """Wait until the scope is closed, which somewhere else does.

        Cancellation: ends the waiting, and changes nothing.
        """
        await wait_closed(self)

    async def aclose(self) -> None:
        """Stop the tasks and release the resources, newest first; from any task, and final. Idempotent.

        A second caller waits for the first. A task of the scope that closes it is neither stopped nor waited for.

        Cancellation: held back until everything is released, then raised, once; ``Task.cancelling()`` stays exact.
        Should a release fail as well, its error is raised here and the cancellation at the caller's next suspension.
        A second caller just stops waiting.

        Raises:
            BaseException: the single error of a task or a release, as it is.
            BaseExceptionGroup: several of them, all.
            ReleaseTimeout: a release took longer than ``close_timeout``.
        """
        errors, cancellation = await self._close(None, through=False)
        try:
            kernel.conclude(self._failure(errors), cancellation)
        finally:
            del errors, cancellation  # whose tracebacks refer to this frame: a cycle

    def cancel(self, reason: str | None = None) -> None:
        """Ask the scope to end: interrupt its body, which ends the block without an error, or close it if it has none.

        Without a body the closing runs in the background; what it meets is raised by `aclose`.

        Raises:
            RuntimeError: there is neither a body nor an event loop.
        """
        if self._state is OPEN:
            self._interrupt(reason or f"{self} was cancelled")

    def _portrait(self) -> Portrait:
        books = self._books
        mark = trace.mark_in(books.account)
        return Portrait("scope", self.name, self._state.value, books.since, books.things(), mark=mark)

    def __del__(self) -> None:
        if self._state is OPEN and (books := getattr(self, "_books", None)):
            warnings.warn(
                f"{self} was dropped with {len(books)} things in it; close it with `await scope.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        return f"scope {self.name!r}"

    # Taking in

    def _check_open(self, offer: str) -> None:
        if self._state is not OPEN:
            refuse(self, offer, f"it is {self._state.value}")

    def _own(self, entry: Any) -> None:
        self._books.own(entry)
        if trace.sink is not None:
            self._report(entry)

    def _offer(self, entry: Any) -> None:
        """Own an entry that stands for something acquired already: a closed scope releases it at once and refuses."""
        if not kernel.has_loop():  # to release it in, if that is closed
            self._check_open(entry.label)
        self._own(entry)
        if self._state is not OPEN:
            if self._state is CLOSED:
                run_surely(self._close_alone, f"late release by {self}")
            self._check_open(entry.label)

    def _report(self, entry: Any) -> None:
        """Report a new entry, and this scope with its first."""
        account = self._books.account
        if account is None:
            above = self._place.parent._books.account if self._place is not None else None
            account = self._books.account = trace.Account("scope", self.name, above)
        if entry.kind != "scope":  # which reports itself
            account.enter(entry, entry.kind, getattr(entry, "name", None) or entry.label)

    # Failing and interrupting

    def _record_error(self, error: BaseException) -> None:
        if self._state is not CLOSED:
            self._errors.append(error)
        elif error is not self._fatal:
            logger.error("error after close", exc_info=error, extra={"owner": self.name})

    def _fail(self, error: BaseException, reason: str) -> None:
        """Record the error of something that we own, and end the body: what it stands on is gone."""
        self._record_error(error)
        if self._state is OPEN:
            self._interrupt(reason)

    def _interrupt(self, reason: str) -> None:
        body = self._running_body()
        if body is not None:
            body.interrupt(reason)
        elif self._on_failure is not None:
            self._on_failure(self)
        else:
            run_surely(self._close_alone, f"closer of {self}")

    def _hosts(self, task: Task[Any]) -> Iterator[Waiter]:
        """Yield who waits for *task* in a close, and the hosts of the blocks that this is in."""
        if self._unwinding is not None and self._unwinding.awaits(task):
            yield self._unwinding.host, True
        scope = self
        while scope._place is not None:
            if scope._body is not None:
                yield scope._body.host, False
            scope = scope._place.parent
        if scope._body is not None:
            yield scope._body.host, False

    def _running_body(self) -> Body | None:
        return self._body if self._body is not None and self._state is OPEN and not self._body.host.done() else None

    # Closing

    async def _close(
        self, error: BaseException | None, held: CancelledError | None = None, *, through: bool
    ) -> tuple[list[BaseException], CancelledError | None]:
        """Empty the ledger; return what went wrong, in order, and the cancellation to deliver.

        A close in progress is waited for: *through* every cancellation at the end of the block, whose owner this is;
        elsewhere a cancellation ends the waiting, because the first closer may itself be waiting for this task.
        """
        if self._closing_in is not None:
            late = await until_seen()
            if late is not None and not through:
                raise late
            held = kernel.foremost(held, late)
        if self._closing_in is not None:
            if waits_for(self._closing_in, kernel.current_task()):
                return ([] if error is None else [error]), held  # a release closes the scope that waits for it
            self._over = self._over or kernel.new_future()
            with Waiting(self._closing_in, bound=through, until=self._over):
                if through:
                    held = kernel.foremost(held, await kernel.wait_through(self._over))
                else:
                    await kernel.wait_shielded(self._over)
        if error is not None:
            held = kernel.foremost(held, await kernel.take_owed(kernel.current_task()))
        elif held is None and not self._books and not self._errors:
            if self._state is OPEN:
                self._begin_closing()
                self._end_closing()
            return [], None
        unwinding = Unwinding(self, error)
        if held is not None:
            unwinding.hold(held)
        if self._books or self._state is OPEN:
            await self._unwind(unwinding)
        if error is None and held is None and not self._errors and unwinding.cancellation is None:
            return [], None  # as nearly always
        self._errors = []
        try:
            return unwinding.conclusion()
        finally:
            del error, held  # frames in their tracebacks lead back to this one: a cycle

    def _failure(self, errors: Sequence[BaseException]) -> BaseException | None:
        """Return the one error that carries *errors*."""
        return combine(f"errors while closing {self}", errors) if errors else None

    async def _unwind(self, unwinding: Unwinding) -> None:
        self._begin_closing()
        self._closing_in = kernel.current_task()
        try:
            call = unwinding.call_callbacks
            if not (call() if self._context is None else self._context.run(call)):
                self._unwinding = unwinding
                await unwinding.run()
        finally:
            self._closing_in = None
            if self._unwinding is not None or self._context is not None:
                self._unwinding = self._context = None
            self._end_closing()

    def _begin_closing(self) -> None:
        self._state = CLOSING
        self._books.run = None
        if self._closing_begun is not None:
            self._closing_begun.set_result(None)

    def _end_closing(self) -> None:
        self._state = CLOSED
        if self._over is not None:
            tell_closed(self)
        if self._place is not None:
            self._place.leave()
            self._place = self._books.place = None
        account = self._books.account
        if account is not None:
            account.end()
            if account.is_empty:  # a task that has closed the scope ends after it
                self._books.account = None

    async def _close_alone(self) -> None:
        """Close where no caller waits; the errors go to the parent, or wait for the end of the block or `aclose`."""
        place = self._place
        errors, _ = await self._close(None, through=False)
        failure = self._failure(errors)
        if failure is None:
            return
        if place is not None and not place.parent.closed:
            place.parent._fatal = place.parent._fatal or self._fatal
            place.parent._fail(failure, f"{self} failed")
        else:
            self._errors.append(failure)
            if failure is not self._fatal:
                logger.error("scope failed", exc_info=failure, extra={"owner": self.name})
        del errors, failure  # frames in their tracebacks lead back to this one: a cycle

    async def _close_for_parent(self) -> None:
        """Close in the parent's turn; a body that runs in some other task is ended first."""
        if self._running_body() is not None:
            await let_be_seen()
        body = self._running_body()
        if body is not None and not waits_for(body.host, kernel.current_task()):
            self._closing_begun = kernel.new_future()
            self._interrupt(f"the parent of {self} is closing")
            with Waiting(body.host, until=self._closing_begun):
                await kernel.wait(self._closing_begun, self.close_timeout)
        place = self._place
        if place is not None and (above := place.parent._unwinding) is not None:
            if above.context() is None:
                await sleep(0)  # let its host wait
            self._context = above.context()
        await self.aclose()


class Child(Entry):
    """A child scope's place in its parent's ledger; each of the child's own releases has its deadline.

    It keeps the child only while that owns something. One that is left empty, because its set-up has failed perhaps,
    goes when its user lets go of it, and leaves the ledger then.
    """

    __slots__ = ("_account", "_held", "_reference", "_scope")

    leaves = True
    bounded = False
    kind = "scope"

    def __init__(self, parent: EndingScope, scope: EndingScope) -> None:
        self._scope = parent
        self._reference: Callable[[], EndingScope | None] = ref(scope, self._dropped)
        self._held: EndingScope | None = None
        self._account: trace.Account | None = None

    @property
    def parent(self) -> EndingScope:
        """The scope whose ledger this is in."""
        return self._scope

    @property
    def label(self) -> str:
        return repr(self._reference())

    @property
    def owned(self) -> object:
        """What a snapshot may look into."""
        return self._reference()

    def keep(self) -> None:
        """Keep the child: it owns something."""
        self._held = self._reference()

    def let_go(self, account: trace.Account | None) -> None:
        """Keep it no longer: it is empty."""
        self._held = None
        self._account = account

    def release(self, error: BaseException | None) -> Awaitable[Any] | None:
        scope = self._reference()
        return None if scope is None else scope._close_for_parent()

    def leave(self) -> None:
        """Leave the ledger: the child has closed."""
        self._held = None
        self._reference = nothing  # which has referred back to this: a cycle
        self._scope._books.forget(self)

    def _dropped(self, _: object) -> None:
        """Leave the ledger: nobody has the child any more, and nothing is in it."""
        self._scope._books.forget(self)
        if self._account is not None:
            self._account.end()


def nothing() -> None:
    """Stand in for the reference to a child that has closed."""
