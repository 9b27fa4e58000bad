"""Workshop: where the values of a pool are made, checked, reset and destroyed, in chores that belong to no borrower.

When a chore ends, its value is supplied to the borrower that is first in line *then*: so one that leaves takes nothing
along.
"""

from __future__ import annotations

import random
from asyncio import Task
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Generic, Protocol, TypeVar

from .._chores import Chore, Chores, Overdue, as_failure
from .._ground import kernel, trace
from .._ground.checks import checked_callable, checked_part, checked_timeout
from .._ground.errors import ReleaseTimeout
from .._ground.foreign import is_fatal
from .._lender import Closing
from .slot import CHECKING, CREATING, DESTROYING, GONE, RESETTING, Slot
from .stock import FOREVER, Stock

T = TypeVar("T")


class Customer(Protocol[T]):
    """What a workshop needs of its pool: to be told what has become of a value."""

    def _lend_or_keep(self, slot: Slot[T]) -> None:
        """Take a value that is ready."""

    def _creation_succeeded(self, slot: Slot[T]) -> None:
        """Take a value that is new."""

    def _creation_failed(self, slot: Slot[T], error: BaseException) -> None:
        """Take the error of a creation; the slot is gone."""

    def _serve_line(self) -> None:
        """Start what the line needs: a value that it may have counted on will not come."""

    def _use_room(self) -> None:
        """Start what is needed now that there is room for another value."""


class Workshop(Generic[T]):
    """The work on the values of one pool.

    Attributes:
        timeout: seconds that a creation may take.
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
        "_numbers",
        "_pool",
        "_reset",
        "_stock",
        "check_failures",
        "chores",
        "create_failures",
        "destroy_errors",
        "discarded",
        "random",
        "timeout",
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
        jitter: float,
    ) -> None:
        for name, function in (("create", create), ("destroy", destroy), ("check", check), ("reset", reset)):
            if function is not None or name in ("create", "destroy"):
                checked_callable(function, name)
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
        self._numbers = 0
        self.timeout: float = checked_timeout(timeout, "create_timeout")
        self.random = random.random
        self.chores = Chores(closing)
        self.create_failures = self.check_failures = self.destroy_errors = self.discarded = 0

    # Making

    def make(self) -> None:
        """Begin to create a value."""
        slot = self._new_slot()
        name = f"creation of {self._stock._label(slot)}"
        try:
            made = self._create()
        except BaseException as error:
            if is_fatal(error):
                kernel.end_process(error)
            self._creation_failed(slot, as_failure(error, name))
            return
        if isawaitable(made):
            slot.creation = self.chores.begin(
                made,
                name,
                timeout=self.timeout,
                settle=lambda chore: self._creation_ended(slot, chore),
                late=self._destroy_late_value,
            )
        else:
            self._arrive(slot, made)

    def stop_creations(self, exempt: frozenset[Task[Any]]) -> None:
        """Cancel every creation but those in *exempt* tasks."""
        for creation in [slot.creation for slot in self._stock._slots if slot.state is CREATING]:
            if creation is not None and creation.task not in exempt:
                creation.stop(f"{self._closing} is closing", self._closing.timeout)

    def _new_slot(self) -> Slot[T]:
        self._numbers += 1
        slot: Slot[T] = Slot(self._numbers)
        self._stock._add(slot)
        return slot

    def _creation_ended(self, slot: Slot[T], chore: Chore[T]) -> None:
        slot.creation = None
        if chore.error is None:
            self._arrive(slot, chore.result)
        else:
            self._creation_failed(slot, chore.error)
            self._pool._serve_line()
            self._closing.progress()

    def _creation_failed(self, slot: Slot[T], error: BaseException) -> None:
        self.create_failures += 1
        self._forget(slot)
        self._pool._creation_failed(slot, error)

    def _arrive(self, slot: Slot[T], value: T) -> None:
        stock = self._stock
        stock._created += 1
        slot.value = value
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
        self._begin(self._check, slot, f"check of {self._stock._label(slot)}", self._check_ended)

    def _check_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        if error is not None or verdict is False:
            self.check_failures += 1
            extra = {"owner": self._closing.owner_name, "slot": slot.number}
            self._closing.logger.info("check failed", exc_info=error, extra=extra)
            self.end(slot)
        else:
            self._pool._lend_or_keep(slot)

    def reset(self, slot: Slot[T]) -> None:
        """Make a value that came back ready for the next borrower, and supply it."""
        assert self._reset is not None
        self._stock._move(slot, RESETTING)
        self._begin(self._reset, slot, f"reset of {self._stock._label(slot)}", self._reset_ended)

    def _reset_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        if error is not None:
            self._closing.report_error("reset failed", error, slot=slot.number)
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
        label = self._stock._label(slot)
        self._begin(
            self._destroy,
            slot,
            f"end of {label}",
            self._destroy_ended,
            lambda timeout, abandoned, stack: ReleaseTimeout(label, timeout, abandoned=abandoned, stack=stack),
        )
        self._pool._serve_line()

    def _destroy_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        self._stock._destroyed += 1
        if error is not None:
            self.destroy_errors += 1
            self._closing.report_error("end failed", error, slot=slot.number)
        self._forget(slot)
        self._pool._use_room()

    def _destroy_late_value(self, value: T) -> None:
        """Take in and destroy what a creation made after it had been abandoned."""
        slot = self._new_slot()
        slot.outdated = True
        slot.value = value
        self._stock._created += 1
        self.end(slot)

    # Steps

    def _begin(
        self,
        work: Callable[[T], object],
        slot: Slot[T],
        name: str,
        then: Callable[[Slot[T], BaseException | None, object], None],
        overdue: Overdue | None = None,
    ) -> None:
        """Call ``work(value)``, and *then* with what came of it: at once, or when the chore it takes has ended.

        Nothing that ``work`` raises reaches the step that this is part of, which may be a stranger's.
        """
        try:
            pending = work(slot.value)
        except BaseException as error:
            if is_fatal(error):
                kernel.end_process(error)
            then(slot, as_failure(error, name), None)
            return
        if isawaitable(pending):
            self.chores.begin(
                pending,
                name,
                timeout=self._closing.timeout,
                settle=lambda chore: then(slot, chore.error, chore.result if chore.error is None else None),
                overdue=overdue,
            )
        else:
            then(slot, None, pending)

    def _forget(self, slot: Slot[T]) -> None:
        self._stock._move(slot, GONE)
        del self._stock._slots[slot]
        if self._closing.account is not None:
            self._closing.account.leave(slot)
