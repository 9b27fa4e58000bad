"""What a registry and a pool share as lenders: the block, and a bounded close that any task may ask for."""

from __future__ import annotations

from asyncio import CancelledError, Future, Task
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from ._ground import kernel, trace
from ._ground.awaiters import Waiter
from ._ground.checks import checked_name, checked_timeout
from ._ground.closing import OwnerState, refuse, tell_closed, wait_closed
from ._ground.errors import StillLent
from ._ground.foreign import combine
from ._ground.home import Home
from ._ground.logs import OwnerLog
from ._task.waiting import Waiting, closing_tasks, let_be_seen, until_seen, waits_for

T = TypeVar("T")

OPEN, CLOSING, CLOSED = OwnerState

#: Those who wait until something has come true: a future and the question for each.
Watchers = dict[Future[None], Callable[[], bool]]


def borrower_in_words(task: Task[Any] | None) -> str:
    """Return who has borrowed something, and where that task is now."""
    if task is None:
        return "no task"
    if task.done():
        return f"task {task.get_name()!r} (which has ended)"
    stack = kernel.suspended_at(task)
    return f"task {task.get_name()!r}" + (f", suspended at {stack[-1]}" if stack else "")


class Held(Generic[T]):
    """What a block holds: it may be held again after its block, but not inside it."""

    __slots__ = ("_held",)

    _held: T | None

    def _thing(self) -> T:
        if self._held is None:
            raise RuntimeError(f"{self!r} is not held; use it inside its with block")
        return self._held

    def _check_free(self) -> None:
        if self._held is not None:
            raise RuntimeError(f"{self!r} is held already; ask its owner for another one")


@dataclass(frozen=True, slots=True)
class ReturnReport:
    """What was still out when a drain of a registry or pool ended: nothing, where it came true in time.

    Attributes:
        lent: what was still lent, and to whom, one line each.
        pending: what was still in progress or in line, one name each.
    """

    lent: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything had come back and ended."""
        return not (self.lent or self.pending)


class ComeBack:
    """A question: have others than the tasks that ask nothing on loan any more?

    It is asked after every return, and a look at all loans each time would take the square of their number. So it looks
    again when no more is on loan than those who ask had at the last look, or when as much may have come back as the
    others had then.

    Args:
        count: how much is on loan.
        look: how much of it others have; looks at everything.
    """

    __slots__ = ("_asked", "_count", "_look", "_others", "_own")

    def __init__(self, count: Callable[[], int], look: Callable[[], int]) -> None:
        self._count = count
        self._look = look
        self._own = self._others = self._asked = 0

    def __call__(self) -> bool:
        if not self._count():
            return True
        self._asked += 1
        if self._asked < self._others and self._count() > self._own:
            return False
        self._others = self._look()
        self._own = self._count() - self._others
        self._asked = 0
        return not self._others


class Closable(Protocol):
    """What a close needs of the owner that it closes."""

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        """Begin to end everything but *exempt* tasks, which wait for it; called once."""

    def _has_come_back(self, exempt: frozenset[Task[Any]], *, closing: bool) -> Callable[[], bool]:
        """Return the question whether others than *exempt* tasks have nothing on loan, that counts for a close."""

    def _is_quiet(self, exempt: frozenset[Task[Any]]) -> bool:
        """Whether everything has ended, except for what *exempt* tasks do, and for loans."""

    def _borrowed(self) -> list[str]:
        """Name what is still lent."""

    def _borrowers(self) -> set[Task[Any]]:
        """Return the tasks that have something that is lent, as far as they are known."""

    def _still_out(self, exempt: frozenset[Task[Any]]) -> ReturnReport:
        """Name what a drain waits for; not what *exempt* tasks have."""

    def _has_belongings(self) -> bool:
        """See `Home`."""

    def _leave_loop(self) -> list[str]:
        """See `Home`."""


class Closing:
    """How a lender ends, once, however many ask: what it waits for, and what went wrong meanwhile.

    Its owner calls `progress` whenever it may have become quiet.

    Attributes:
        name: what a person calls the owner, its kind included.
        owner_name: the same without its kind.
        logger: of all owners of its kind.
        timeout: seconds that a close waits for what is lent.
        state: where the owner is in its life.
        watchers: who waits until something has come true; asked for before every `progress` that is not needed.
        account: what a trace sink was told, once it was told something.
        home: the loop and the context of the owner.
    """

    __slots__ = (
        "_closing_in",
        "_entered",
        "_errors",
        "_future",
        "_host",
        "_kind",
        "_over",
        "_owner",
        "account",
        "home",
        "logger",
        "name",
        "owner_name",
        "state",
        "timeout",
        "watchers",
    )

    def __init__(self, owner: Closable, kind: str, name: str | None, timeout: float | None) -> None:
        self._owner = owner
        self._kind = kind
        self._entered = False
        self.owner_name = checked_name(name, kind)
        self.name = f"{kind} {self.owner_name!r}"
        self.logger = OwnerLog(f"lifecycle.{kind}")
        self.timeout: float = checked_timeout(timeout, "close_timeout")
        self.state = OPEN
        self.watchers: Watchers = {}
        self.account: trace.Account | None = None
        self.home = Home()
        self._errors: list[BaseException] = []
        self._closing_in: Task[Any] | None = None
        self._host: Task[Any] | None = None  # whose block it is
        self._future: Future[None] | None = None  # of the close, once it has begun
        self._over: Future[None] | None = None  # see `wait_closed`

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state is CLOSED

    @property
    def begun(self) -> bool:
        """Whether the close has begun; an owner may refuse new work before that."""
        return self._future is not None

    def enter(self) -> None:
        """Begin the owner's block, which it has once.

        Raises:
            OwnerClosed: it is closing or closed, or has been entered before.
        """
        self.come_home()
        self.check_open("an async with block")
        if self._entered:
            refuse(self, "another async with block", f"it is {self.state.value} and has been entered before")
        self._entered = True
        self._host = kernel.current_task()
        if trace.sink is not None:
            self.begin_account()

    def come_home(self) -> None:
        """See that the owner lives in the running loop; what it had in one that is closed is gone.

        Raises:
            RuntimeError: it has something in another loop, which is not closed.
        """
        home = self.home
        if home.loop is not kernel.running_loop() and home.move_in(self._owner, self.name, self.logger):
            self.watchers.clear()
            self._host = self._over = None
            if self.state is not CLOSED:  # a close that was under way ended with the loop
                self._future = self._closing_in = None

    def begin_account(self) -> trace.Account:
        """Tell the trace sink of the owner, before its first thing; return the account for the things."""
        if self.account is None:
            self.account = trace.Account(self._kind, self.owner_name)
        return self.account

    def check_open(self, offer: str) -> None:
        """Refuse *offer* where the owner is not open.

        Raises:
            OwnerClosed: it is closing or closed.
        """
        if self.state is not OPEN:
            refuse(self, offer, f"it is {self.state.value}")

    def report_error(self, event: str, error: BaseException, **about: object) -> None:
        """Keep the error of an ending for the close, or log it where no close is under way."""
        if self._future is not None and self.state is CLOSING:
            self._errors.append(error)
        else:
            self.logger.error(event, exc_info=error, extra={"owner": self.owner_name, **about})

    # Waiting for something to come true

    def progress(self) -> None:
        """Wake those who wait for something that has come true."""
        for future, ready in self.watchers.items():
            if not future.done() and ready():
                future.set_result(None)
        if self.account is not None and self.state is CLOSED and self._has_nothing_left():
            account, self.account = self.account, None
            account.end()

    def _has_nothing_left(self) -> bool:
        nobody: frozenset[Task[Any]] = frozenset()
        return self._owner._is_quiet(nobody) and self._owner._has_come_back(nobody, closing=True)()

    async def wait_until(self, ready: Callable[[], bool], timeout: float = kernel.FOREVER) -> bool:
        """Wait until *ready*, or the time is up; return whether it came true."""
        if ready():
            return True
        with self._watching(ready) as future:
            return await kernel.wait(future, timeout)

    async def drain(self, timeout: float) -> ReturnReport:
        """Wait until nothing is out but what the calling task has, or the time is up; return what is out then."""
        self.come_home()
        await let_be_seen()
        exempt, owner = closing_tasks(), self._owner
        has_come_back = owner._has_come_back(exempt, closing=False)
        await self.wait_until(lambda: has_come_back() and owner._still_out(exempt).clean, timeout)
        return owner._still_out(exempt)

    async def _wait_through(self, ready: Callable[[], bool], timeout: float) -> CancelledError | None:
        """Wait until *ready*, whatever happens to the calling task; return the cancellation held back."""
        if ready():
            return None
        with self._watching(ready) as future:
            return await kernel.wait_through(future, timeout)

    @contextmanager
    def _watching(self, ready: Callable[[], bool]) -> Iterator[Future[None]]:
        future = kernel.new_future()
        self.watchers[future] = ready
        try:
            yield future
        finally:
            self.watchers.pop(future, None)  # they are forgotten with their loop

    def _hosts(self, _: Task[Any]) -> Iterator[Waiter]:
        if self._host is not None:
            yield self._host, False

    # The close

    async def close(self) -> tuple[BaseException | None, CancelledError | None]:
        """End everything, once; return what went wrong, and the cancellation that was held back meanwhile."""
        if self.state is CLOSED:
            return None, None
        self.come_home()
        held = await until_seen()
        if self.closed:
            return None, held
        if self._future is not None:
            if held is not None:
                return None, held
            # Not through a cancellation: the first closer may be waiting for this very task.
            assert self._closing_in is not None
            if not waits_for(self._closing_in, kernel.current_task()):
                with Waiting(self._closing_in, bound=False, until=self._future):
                    await kernel.wait_shielded(self._future)
            return None, None
        self._future = kernel.new_future()
        self._closing_in = kernel.current_task()
        held = kernel.foremost(held, await self._end_everything())
        self.state = CLOSED
        self._closing_in = self._host = None
        self._future.set_result(None)
        tell_closed(self)
        self.progress()
        errors, self._errors = self._errors, []
        return (combine(f"errors while closing {self}", errors) if errors else None), held

    async def _end_everything(self) -> CancelledError | None:
        exempt = closing_tasks()
        self.state = CLOSING
        owner = self._owner
        # All tasks of the owner are employed by this; nobody borrows from now on.
        with Waiting(self, *(owner._borrowers() - exempt)):
            owner._begin_closing(exempt)
            has_come_back = owner._has_come_back(exempt, closing=True)
            held = await self._wait_through(lambda: has_come_back() and owner._is_quiet(exempt), self.timeout)
            lent = owner._borrowed()
            if lent:
                self._errors.append(StillLent(str(self), self.timeout, lent))
            # Every chore and finalizer has a deadline of its own.
            again = await self._wait_through(lambda: owner._is_quiet(exempt), kernel.FOREVER)
        return kernel.foremost(held, again)

    def __repr__(self) -> str:
        return self.name


class Lender:
    """The block of a registry or pool, and how it ends."""

    __slots__ = ()  # so that it stands beside another base

    _closing: Closing

    @property
    def name(self) -> str:
        """What it is called in logs, errors and statistics."""
        return self._closing.owner_name

    @property
    def close_timeout(self) -> float:
        """Seconds that closing waits for what is lent; infinity for no bound."""
        return self._closing.timeout

    def _has_belongings(self) -> bool:
        return False

    def _leave_loop(self) -> list[str]:
        return []

    def __bool__(self) -> bool:
        return True  # also an owner of nothing is one: `if pool:` asks whether there is a pool

    @property
    def closed(self) -> bool:
        """Whether it has closed, for good."""
        return self._closing.closed

    def close(self) -> None:
        """Refuse new work from now on; what is lent stays lent, and who waits is served. Idempotent."""
        if self._closing.state is OPEN:
            self._closing.state = CLOSING

    async def drain(self, timeout: float | None = None) -> ReturnReport:
        """Wait until everything that is lent has come back and what is in progress has ended; nothing else changes.

        Newcomers are served meanwhile; call `close` first to keep them out. A task that drains what it has borrowed
        from does not wait for itself.

        Cancellation: ends the waiting; nothing is touched.

        Args:
            timeout: seconds to wait at most, None for as long as it takes. What is out then is named in the report.
        """
        return await self._closing.drain(checked_timeout(timeout, "timeout"))

    async def wait(self) -> None:
        """Wait until it is closed, which somewhere else does.

        Cancellation: ends the waiting, and changes nothing.
        """
        await wait_closed(self._closing)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it, as `aclose` does; errors of the block and of the close are raised together.

        Cancellation: held back until it is closed, then raised, once.
        """
        failure, held = await self._closing.close()
        if isinstance(error, CancelledError):
            held = kernel.foremost(error, held)
        elif error is not None:
            failure = error if failure is None else combine(f"errors in and while closing {self}", [error, failure])
        try:
            kernel.conclude(failure, held, error)
        finally:
            del failure, held, error  # whose tracebacks refer to this frame: a cycle

    async def aclose(self) -> None:
        """End everything that is owned; from any task, and final. Idempotent.

        What is lent is waited for, at most ``close_timeout`` seconds, and never ended under its borrower's hands: what
        is still out then is named in the error and ended when it comes back. A second caller waits for the first.

        Cancellation: held back until all is over, then raised, once. A second caller just stops waiting.

        Raises:
            BaseException: the single error met while closing, as it is.
            BaseExceptionGroup: several of them, all.
            StillLent: values were still lent after ``close_timeout``.
        """
        kernel.conclude(*await self._closing.close())

    def __repr__(self) -> str:
        return self._closing.name
