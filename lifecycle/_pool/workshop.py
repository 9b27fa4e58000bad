"""Workshop: where the values of a pool are made, checked, reset and destroyed, in chores that belong to no borrower.

When a chore ends, its value is supplied to the borrower that is first in line *then*: so one that leaves takes nothing
along.

What a step of the pool begins is called when that step has written all its books: a `destroy` that resizes the pool, or
raises, finds nothing half done, and nothing that it does can keep the step from its end. All of it runs in the pool's
own context.
"""

from __future__ import annotations

import random
from asyncio import Task
from collections import deque
from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from typing import Any, Generic, Protocol, TypeVar

from .._chores import Chore, Chores, Overdue, Rest, as_failure, rest_of
from .._ground import kernel, trace
from .._ground.calls import call
from .._ground.checks import checked_callable, checked_part, checked_timeout
from .._ground.errors import CreationTimeout, ReleaseTimeout
from .._ground.foreign import combine, is_fatal
from .._lender import Closing
from .slot import CHECKING, CREATING, DESTROYING, GONE, RESETTING, Slot
from .stock import FOREVER, Stock

T = TypeVar("T")

#: Seconds after which nobody counts on a check or a reset any more: another value is made, where there is room.
PATIENCE = 1.0

#: The same for a creation: before the first has shown how long one takes, and how many times as long as the longest of
#: the last ones it may take afterwards; never less than the seconds above.
FIRST_PATIENCE = 5.0
TIMES = 4.0

#: By how much the memory of the longest creation fades with each further one.
FADING = 0.9

#: Says what has become of the work on a slot: the error, and what the work returned otherwise.
Then = Callable[[Slot[T], BaseException | None, object], None]


class Customer(Protocol[T]):
    """What a workshop needs of its pool: to be told what has become of a value."""

    def _lend_or_keep(self, slot: Slot[T]) -> None:
        """Take a value that is ready."""

    def _creation_succeeded(self, slot: Slot[T]) -> None:
        """Take a value that is new."""

    def _check_passed(self, slot: Slot[T]) -> None:
        """Take a value that has passed its check."""

    def _check_failed(self, slot: Slot[T], now: float) -> None:
        """Take the news that an idle value is dead."""

    def _work_is_late(self, slot: Slot[T]) -> None:
        """Take the news that the work on a value takes long."""

    def _creation_failed(self, slot: Slot[T], error: BaseException, *, late: bool) -> None:
        """Take the error of a creation; the slot is gone, and nobody counted on it any more where it was *late*."""

    def _replace(self) -> None:
        """Start what is needed where there is room: a value that may have been counted on will not come."""

    def _use_room(self) -> None:
        """Start what is needed now that there is room for another value."""


class Together:
    """A block, inside which others may be, that calls what is due only when what is inside it has been done."""

    __slots__ = ("_depth", "_due")

    def __init__(self) -> None:
        self._depth = 0
        self._due: deque[Callable[[], None]] = deque()

    def __enter__(self) -> deque[Callable[[], None]]:
        self._depth += 1
        return self._due

    def __exit__(self, *_: object) -> None:
        if self._depth > 1:
            self._depth -= 1
            return
        try:
            while self._due:
                self._due.popleft()()
        finally:
            self._depth = 0


class Workshop(Generic[T]):
    """The work on the values of one pool.

    Attributes:
        timeout: seconds that a creation may take.
        check_timeout: seconds that a check may take, and the end of a value that has not answered one.
        reset_timeout: seconds that a reset may take.
        together: a block whose steps are made before any user's function is called.
        creation_seconds: how long the longest of the last creations took; 0 before the first.
        chores: what is being done.
        create_failures: creations that raised or took too long.
        check_failures: values that failed their check.
        destroy_errors: ends that raised or took too long.
        discarded: values that were not lent again.
        random: a number from 0 to 1, by which lifetimes differ.
    """

    __slots__ = (
        "_check",
        "_closing",
        "_create",
        "_destroy",
        "_jitter",
        "_pool",
        "_reset",
        "_stock",
        "begun",
        "check_failures",
        "check_timeout",
        "chores",
        "create_failures",
        "creation_seconds",
        "destroy_errors",
        "discarded",
        "random",
        "reset_timeout",
        "timeout",
        "together",
    )

    def __init__(
        self,
        pool: Customer[T],
        stock: Stock[T],
        closing: Closing,
        create: Callable[[], Any],
        destroy: Callable[[T], object],
        check: Callable[[T], object] | None,
        reset: Callable[[T], object] | None,
        timeout: float | None,
        check_timeout: float | None,
        reset_timeout: float | None,
        jitter: float,
    ) -> None:
        checked_callable(create, "create", takes=0)
        for name, function in (("destroy", destroy), ("check", check), ("reset", reset)):
            if function is not None or name == "destroy":
                checked_callable(function, name, takes=1)
        if checked_part(jitter, "lifetime_jitter") == 1.0:
            raise ValueError("lifetime_jitter must be less than 1: a value could die before it is lent")
        self._pool = pool
        self._stock = stock
        self._closing = closing
        self._create = create
        self._destroy = destroy
        self._check = check
        self._reset = reset
        self._jitter = jitter
        self.together = Together()
        self.begun = 0  # creations
        self.creation_seconds = 0.0
        self.timeout: float = checked_timeout(timeout, "create_timeout")
        self.check_timeout: float = checked_timeout(check_timeout, "check_timeout")
        self.reset_timeout: float = checked_timeout(reset_timeout, "reset_timeout")
        self.random = random.random
        self.chores = Chores(closing)
        self.create_failures = self.check_failures = self.destroy_errors = self.discarded = 0

    # Making

    def make(self, behalf: tuple[Any, ...] | None = None) -> None:
        """Begin to create a value.

        Args:
            behalf: who is told if that fails; None for the borrower that is first in line then.
        """
        slot = self._new_slot()
        slot.behalf = behalf
        slot.since = self._stock._clock()
        self._do(partial(self._create_in, slot))

    def _create_in(self, slot: Slot[T]) -> None:
        name = f"creation of {self._stock._label(slot)}"
        context = self._closing.home.context.copy()
        try:
            made = context.run(self._create)
            if isawaitable(made):
                slot.creation = self.chores.begin(
                    made,
                    name,
                    timeout=self.timeout,
                    settle=lambda chore: self._creation_ended(slot, chore, made),
                    late=lambda value: self._destroy_late_value(value, made),
                    context=context,
                    patience=max(PATIENCE, TIMES * self.creation_seconds) if self.creation_seconds else FIRST_PATIENCE,
                    impatient=lambda: self._pool._work_is_late(slot),
                )
                return
        except BaseException as error:
            self._note_if_fatal(error)
            self._creation_failed(slot, as_failure(error, name))
        else:
            self._arrive(slot, made, None)

    def stop_creations(self, exempt: frozenset[Task[Any]]) -> None:
        """Cancel every creation but those in *exempt* tasks."""
        for creation in [slot.creation for slot in self._stock._slots if slot.state is CREATING]:
            if creation is not None and creation.task not in exempt:
                creation.stop(f"{self._closing} is closing", self._closing.timeout)

    def _new_slot(self) -> Slot[T]:
        self.begun += 1
        slot: Slot[T] = Slot(self.begun)
        self._stock._add(slot)
        return slot

    def _creation_ended(self, slot: Slot[T], chore: Chore[T], made: object) -> None:
        slot.creation = None
        if chore.error is None:
            seconds = self._stock._clock() - slot.since
            self.creation_seconds = max(seconds, FADING * self.creation_seconds)
            self._arrive(slot, chore.result, rest_of(made))
        else:
            self._creation_failed(slot, chore.error)

    def _creation_failed(self, slot: Slot[T], error: BaseException) -> None:
        self.create_failures += 1
        with self.together:
            late = slot.overdue
            self._forget(slot)
            self._pool._creation_failed(slot, error, late=late)
            self._pool._use_room()

    def _arrive(self, slot: Slot[T], value: T, rest: Rest | None) -> None:
        stock = self._stock
        stock._created += 1
        stock._count_on_again(slot)
        slot.value = value
        slot.rest = rest
        slot.behalf = None
        # A future that is done: awaiting it costs next to nothing and never suspends.
        slot.ready = ready = kernel.running_loop().create_future()
        ready.set_result(value)
        if stock._lifetime != FOREVER:
            slot.dies_at = stock._clock() + stock._lifetime * (1.0 - self._jitter * self.random())
        if trace.sink is not None:
            self._closing.begin_account().enter(slot, "value", stock._label(slot))
        self._pool._creation_succeeded(slot)

    # Checking and resetting

    def check(self, slot: Slot[T]) -> None:
        """Check a value, and supply it if it is good."""
        assert self._check is not None
        self._stock._move(slot, CHECKING)
        self._begin(self._check, slot, "check", self._check_ended, self.check_timeout)

    def _check_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        if error is not None or verdict is False:
            self.check_failures += 1
            extra = {"owner": self._closing.owner_name, "slot": slot.number}
            self._closing.logger.info("check failed", exc_info=error, extra=extra)
            slot.hopeless = isinstance(error, CreationTimeout)
            with self.together:
                self._pool._check_failed(slot, self._stock._clock())
                self.end(slot)
        else:
            self._pool._check_passed(slot)

    def reset(self, slot: Slot[T]) -> None:
        """Make a value that came back ready for the next borrower, and supply it."""
        assert self._reset is not None
        self._stock._move(slot, RESETTING)
        self._begin(self._reset, slot, "reset", self._reset_ended, self.reset_timeout)

    def _reset_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        if error is not None:
            self._closing.report_error("reset failed", error, slot=slot.number)
            slot.hopeless = isinstance(error, CreationTimeout)
            self.discard(slot)
        else:
            self._pool._lend_or_keep(slot)

    # Ending

    def discard(self, slot: Slot[T]) -> None:
        """Destroy a value that is not fit to be lent again."""
        self.discarded += 1
        self.end(slot)

    def end(self, slot: Slot[T]) -> None:
        """Destroy a value; its slot keeps its place until that is over."""
        self._stock._move(slot, DESTROYING)
        destroy: Callable[[T], object] = self._destroy
        if slot.rest is not None:
            rest, slot.rest = slot.rest, None
            destroy = partial(_end_with_rest, destroy, rest)
        # One that has not answered within the time of a check will hardly answer a good-bye.
        # Nor is its place kept, as long as there are no more of the kind than there may be values.
        timeout = self.check_timeout if slot.hopeless else FOREVER
        if slot.hopeless and self._stock._overdue[DESTROYING] < self._stock.max_size:
            self._stock._count_on_no_more(slot)
        with self.together:
            self._begin(destroy, slot, "end", self._destroy_ended, timeout)
            self._pool._replace()

    def _destroy_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        self._stock._destroyed += 1
        if error is not None:
            self.destroy_errors += 1
            self._closing.report_error("end failed", error, slot=slot.number)
        self._forget(slot)
        self._pool._use_room()

    def _destroy_late_value(self, value: T, made: object) -> None:
        """Take in and destroy what a creation made after it had been abandoned."""
        slot = self._new_slot()
        slot.outdated = True
        slot.value = value
        slot.rest = rest_of(made)
        self._stock._created += 1
        self.end(slot)

    # Steps

    def _do(self, step: Callable[[], None]) -> None:
        with self.together as due:
            due.append(step)

    def drop_everything(self) -> None:
        """Forget all work: its loop is gone."""
        self.chores.disown_all()
        self.together = Together()

    def _begin(self, work: Callable[[T], object], slot: Slot[T], what: str, then: Then[T], timeout: float) -> None:
        """Have ``work(value)`` called soon, and *then* with what came of it: at once, or when its chore has ended."""
        slot.since = self._stock._clock()
        self._do(partial(self._work_on, work, slot, what, then, min(timeout, self._closing.timeout)))

    def _work_on(self, work: Callable[[T], object], slot: Slot[T], what: str, then: Then[T], timeout: float) -> None:
        label = self._stock._label(slot)
        name = f"{what} of {label}"
        context = self._closing.home.context.copy()
        overdue: Overdue | None = None
        if slot.state is DESTROYING:
            overdue = partial(_release_timeout, label)
        try:
            pending = context.run(work, slot.value)
            if isawaitable(pending):
                self.chores.begin(
                    pending,
                    name,
                    timeout=timeout,
                    settle=lambda chore: then(slot, chore.error, chore.result if chore.error is None else None),
                    overdue=overdue,
                    context=context,
                    patience=PATIENCE,
                    impatient=None if overdue else lambda: self._pool._work_is_late(slot),
                )
                return
        except BaseException as error:
            self._note_if_fatal(error)
            then(slot, as_failure(error, name), None)
        else:
            then(slot, None, pending)

    @staticmethod
    def _note_if_fatal(error: BaseException) -> None:
        if is_fatal(error):
            kernel.end_process(error)

    def _forget(self, slot: Slot[T]) -> None:
        self._stock._move(slot, GONE)
        del self._stock._slots[slot]
        if self._closing.account is not None:
            self._closing.account.leave(slot)


def _release_timeout(label: str, timeout: float, abandoned: bool, stack: tuple[str, ...]) -> ReleaseTimeout:
    return ReleaseTimeout(label, timeout, abandoned=abandoned, stack=stack)


async def _end_with_rest(destroy: Callable[[T], object], rest: Rest, value: T) -> None:
    """End a value, and then what lies below it, whatever came of the first."""
    errors: list[BaseException] = []
    for end in (partial(call, destroy, value), rest.aclose):
        try:
            await end()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise combine("errors while ending a connection", errors)
