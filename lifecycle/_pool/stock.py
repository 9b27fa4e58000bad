"""Stock: what a pool holds, and what there is to know about it.

A slot holds its place from the first step of its creation to the last of its destruction: the pool never has more than
``max_size`` values, seen from the other end of the connection as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from .._ground import kernel
from .._ground.checks import checked_count, checked_seconds, checked_timeout
from .._ground.roots import Thing
from .._ground.trace import Account, mark_in
from .._lender import borrower_in_words
from .slot import CHECKING, CREATING, DESTROYING, GONE, IDLE, LENT, RESETTING, Slot, SlotState

T = TypeVar("T")

FOREVER = kernel.FOREVER

#: What is being worked on is counted, because the next step depends on it; there are as many slots as there may be.
COUNTED = (CREATING, CHECKING, RESETTING, DESTROYING)

#: What may take too long, so that others have to come in its place; and the end of what has not answered.
AWAITED = (CREATING, CHECKING, RESETTING, DESTROYING)


class Stock(Generic[T]):
    """The slots of one pool.

    Attributes:
        max_size: how many values there may be.
        min_size: how many to keep ready.
        _slots: all of them, in order of their creation.
        _idle: those whose value is free; the last to come back is the first to go out.
        _timed: whether the time matters to any value.
        _clock: seconds that never go back.
        _created: values ever made.
        _destroyed: values ended.
        _working: how many are in each of the states of which there is work to do, and in time.
        _overdue: how many are in each of these states and late. A creation that is late keeps no place, nor does the
            end of a value that has not answered: another value may be made instead of it.
        _placeless: how many of these keep no place.
        _ageing: how many have nearly had their lifetime.
    """

    __slots__ = (
        "_ageing",
        "_bypass",
        "_check_every",
        "_clock",
        "_created",
        "_destroyed",
        "_idle",
        "_leak_threshold",
        "_lifetime",
        "_max_idle",
        "_needs_checks",
        "_overdue",
        "_placeless",
        "_slots",
        "_timed",
        "_working",
        "max_size",
        "min_size",
    )

    def __init__(
        self,
        *,
        max_size: int,
        min_size: int,
        max_idle: float | None,
        max_lifetime: float | None,
        check_bypass: float,
        check_every: float | None,
        needs_checks: bool,
        leak_threshold: float | None,
    ) -> None:
        checked_count(max_size, "max_size", least=1)
        checked_count(min_size, "min_size")
        if min_size > max_size:
            raise ValueError(f"min_size must be at most max_size, got {min_size} and {max_size}")
        self.max_size: int = max_size
        self.min_size: int = min_size
        self._needs_checks = needs_checks
        self._bypass = checked_seconds(check_bypass, "check_bypass")
        self._check_every = checked_timeout(check_every, "check_every")
        if not self._check_every:
            raise ValueError("check_every must be more than 0 seconds, or None for no checks of what is free")
        if check_every is not None and not needs_checks:
            raise ValueError("check_every says how often, but not how: give a check as well")
        self._max_idle = checked_timeout(max_idle, "max_idle")
        self._lifetime = checked_timeout(max_lifetime, "max_lifetime")
        if not self._lifetime:
            raise ValueError("max_lifetime must be more than 0 seconds, or None for no bound: nothing could be lent")
        self._leak_threshold = checked_timeout(leak_threshold, "leak_threshold")
        times = (self._max_idle, self._lifetime, self._leak_threshold)
        self._timed = needs_checks or any(seconds != FOREVER for seconds in times)
        self._clock: Callable[[], float] = self._bind_clock
        self._slots: dict[Slot[T], None] = {}
        self._idle: list[Slot[T]] = []
        self._working = dict.fromkeys(COUNTED, 0)
        self._overdue = dict.fromkeys(AWAITED, 0)
        self._ageing = self._placeless = 0
        self._created = self._destroyed = 0

    def _bind_clock(self) -> float:
        self._clock = kernel.clock()
        return self._clock()

    def _take_idle(self) -> list[Slot[T]]:
        """Return all that are free, which are so no longer."""
        idle = self._idle[:]
        self._idle.clear()
        return idle

    def _add(self, slot: Slot[T]) -> None:
        """Take in a slot, whose value is about to be created."""
        self._slots[slot] = None
        self._working[slot.state] += 1

    def _move(self, slot: Slot[T], state: SlotState) -> None:
        """Note what is happening to a slot; from lent to idle and back, and no further, a loan does it by itself."""
        working = self._working
        if slot.overdue:
            self._count_overdue(slot.state, -1)
            slot.overdue = False
        elif slot.state in working:
            working[slot.state] -= 1
        if state in working:
            working[state] += 1
            if state is DESTROYING and slot.ageing:
                slot.ageing = False
                self._ageing -= 1
        slot.state = state

    def _count_on_no_more(self, slot: Slot[T]) -> None:
        """Note that the work on a slot is late."""
        if slot.state in self._overdue and not slot.overdue:
            slot.overdue = True
            self._working[slot.state] -= 1
            self._count_overdue(slot.state, 1)

    def _count_on_again(self, slot: Slot[T]) -> None:
        """Note that a creation that was late has come to a value; what was begun in its place is what is late now."""
        if slot.overdue:
            slot.overdue = False
            self._count_overdue(CREATING, -1)
            self._working[CREATING] += 1
            for other in reversed(self._slots):
                if other.state is CREATING and not other.overdue and other is not slot:
                    self._count_on_no_more(other)
                    return

    def _count_overdue(self, state: SlotState, more: int) -> None:
        self._overdue[state] += more
        if state is CREATING or state is DESTROYING:
            self._placeless += more

    def _begin_to_age(self, slot: Slot[T]) -> None:
        slot.ageing = True
        slot.renew_at = slot.dies_at
        self._ageing += 1

    def _drop_everything(self) -> list[str]:
        """Forget all slots, whose loop is gone; name the values in them."""
        lost = []
        for slot in self._slots:
            if slot.state is not CREATING:
                lost.append(self._label(slot))
            slot.state, slot.outdated = GONE, True
        self._destroyed += len(lost)
        self._slots.clear()
        self._idle.clear()
        self._working.update(dict.fromkeys(COUNTED, 0))
        self._overdue.update(dict.fromkeys(AWAITED, 0))
        self._ageing = self._placeless = 0
        self._clock = self._bind_clock
        return lost

    # Questions

    def _now(self) -> float:
        """Return the time, where it matters."""
        return self._clock() if self._timed else 0.0

    def _count_in(self, *states: SlotState) -> int:
        """How many values in one of these states are on their way to the line, or back to being idle."""
        return sum(self._working[state] for state in states)

    def _has_expired(self, slot: Slot[T], now: float) -> bool:
        """Whether an idle value has had its time."""
        if slot.outdated or slot.dies_at <= now:
            return True
        return now >= slot.idle_since + self._max_idle and self._number_alive() > self.min_size

    def _needs_check(self, slot: Slot[T], now: float) -> bool:
        return self._needs_checks and now - slot.since >= self._bypass

    def _places_taken(self) -> int:
        """How many of the places are taken; what is being ended has one to the last."""
        return len(self._slots) - self._placeless

    def _number_alive(self) -> int:
        """How many values there are, or will be soon: not those that are being ended."""
        return len(self._slots) - self._placeless - self._working[DESTROYING]

    def _is_too_big(self) -> bool:
        return len(self._slots) - self._placeless - self._working[DESTROYING] > self.max_size

    # Words

    def _label(self, slot: Slot[T]) -> str:
        return f"value {slot.number} of {self}"

    def _borrower_of(self, slot: Slot[T]) -> str:
        task = slot.borrower
        if task is None:
            return f"{self._label(slot)}, on its way to a borrower"
        return f"{self._label(slot)}, lent to {borrower_in_words(task)}"

    def _things(self, account: Account | None) -> list[Thing]:
        """Return what a snapshot shows of the values."""
        things = []
        for slot in self._slots:
            who = f" to {slot.borrower.get_name()!r}" if slot.borrower is not None else ""
            things.append(Thing("value", f"value {slot.number}", slot.state.value + who, mark=mark_in(account, slot)))
        return things

    def _check_invariants(self) -> None:
        with_value = sum(slot.state is not CREATING for slot in self._slots)
        assert self._created == with_value + self._destroyed, (self._created, with_value, self._destroyed)
        assert {slot for slot in self._slots if slot.state is IDLE} == set(self._idle)
        assert len(set(self._idle)) == len(self._idle)

        for state, count in self._working.items():
            assert count == sum(slot.state is state and not slot.overdue for slot in self._slots), state
        for state, count in self._overdue.items():
            assert count == sum(slot.state is state and slot.overdue for slot in self._slots), state
        assert sum(self._overdue.values()) == sum(slot.overdue for slot in self._slots)
        assert self._placeless == self._overdue[CREATING] + self._overdue[DESTROYING]
        assert self._ageing == sum(slot.ageing for slot in self._slots)
        assert self._number_lent() == len(self._lent())

    def _number_lent(self) -> int:
        at_work = sum(self._working.values()) + sum(self._overdue.values())
        return len(self._slots) - len(self._idle) - at_work

    def _lent(self) -> list[Slot[T]]:
        return [slot for slot in self._slots if slot.state is LENT]
