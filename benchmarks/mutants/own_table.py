"""The table of mutants of our own primitives; see ``benchmarks.mutants.own``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OwnMutant:
    """One changed line.

    Attributes:
        what: the mistake, in words.
        where: ``function`` or ``Class.method`` of the core, in whichever module.
        old: a text of the function.
        new: what stands there instead.
        scenarios: the beginning of the names of scenarios that should notice, tried in this order.
    """

    what: str
    where: str
    old: str
    new: str
    scenarios: tuple[str, ...]


SCOPE, MANAGER, GROUP, REGISTRY = ("scope",), ("manager",), ("group", "gather", "race"), ("registry",)
POOL = ("pool",)

OWN = [
    # Shields, and cancellations that are held back.
    OwnMutant("wait without a shield", "wait_through", "with shield_from_scopes():", "if True:", ("manager_cancels",)),
    OwnMutant("a shield that does not shield", "shield", "shield=True", "shield=False", SCOPE),
    OwnMutant("the held cancellation is forgotten", "wait_through", "held = error", "pass", ("manager_cancels",)),
    OwnMutant("a wait keeps its timer", "wait", "timer.cancel()", "pass", (*MANAGER, *SCOPE)),
    OwnMutant("no redelivery beside an error", "deliver_later", "task.cancel(*held.args)", "pass", ("scope_with",)),
    OwnMutant(
        "the closing host forgets its cancellation",
        "Unwinding.hold",
        "self.cancellation = cancellation",
        "pass",
        SCOPE,
    ),
    # Order, joins, releases.
    OwnMutant("oldest first", "Unwinding._newest", "reversed(self._scope._ledger)", "list(self._scope._ledger)", SCOPE),
    OwnMutant(
        "a stopped task is not joined",
        "Unwinding._stop_task",
        "while task._status in UNFINISHED",
        "while False",
        SCOPE,
    ),
    OwnMutant("a release is skipped", "Unwinding._begin", "self._pending = entry.release(self._given)", "pass", SCOPE),
    OwnMutant("the closer is not awaited", "Unwinding._delegate", "while not closer.done()", "while False", SCOPE),
    OwnMutant(
        "tasks of a manager are not cancelled",
        "TaskManager._shut_down",
        "await self._cancel_running() or held",
        "held",
        MANAGER,
    ),
    OwnMutant(
        "what waits in line is not dropped",
        "TaskManager._discard_pending",
        "self._drop_unstarted(handle)",
        "pass",
        ("manager_drops",),
    ),
    OwnMutant(
        "the second closer does not wait",
        "TaskManager.aclose",
        "await kernel.wait_shielded(self._closed)",
        "pass",
        ("manager_two",),
    ),
    OwnMutant("members are not cancelled", "Members.cancel_all", "member.cancel(reason)", "pass", GROUP),
    OwnMutant("a group is not joined", "TaskGroup.__aexit__", "await self._join()", "pass", GROUP),
    OwnMutant("a group keeps its timer", "TaskGroup._close", "self._timer.cancel()", "pass", GROUP),
    # Acquisitions: values that come late.
    OwnMutant(
        "a late value is not undone",
        "HalfMade.leave",
        "self._undo_arrived()",
        "self._announce()",
        ("scope_late",),
    ),
    OwnMutant(
        "a value for nobody is kept",
        "Acquisition.make",
        "await self._undo(resource)",
        "self._scope._forget(self); self._announce()",
        ("scope_factory",),
    ),
    OwnMutant(
        "making is not cancelled", "HalfMade._cancel_making", "if self._cancellation is None:", "if False:", SCOPE
    ),
    OwnMutant("the undoing is not awaited", "Acquisition._undo", "await pending", "pending.close()", SCOPE),
    # Handles and slots.
    OwnMutant("a coroutine that never ran is not closed", "TaskHandle._end", "self._coro.close()", "pass", MANAGER),
    OwnMutant(
        "waiters are not woken",
        "TaskHandle._settle",
        "waiter.set_result(None)",
        "pass",
        (*SCOPE, *MANAGER),
    ),
    OwnMutant(
        "a task swallows its cancellation",
        "TaskHandle._run",
        "        raise\n    except BaseException",
        "        return\n    except BaseException",
        MANAGER,
    ),
    OwnMutant(
        "a granted slot is lost with its waiter",
        "Slots.wait_for_slot",
        "self.give_back()",
        "pass",
        ("manager_slots",),
    ),
    OwnMutant("a slot given back serves nobody", "Slots.give_back", "self.serve()", "pass", ("manager_slots",)),
    OwnMutant("one task too many", "Slots.has_room", "< self._limit", "<= self._limit", MANAGER),
    OwnMutant("a line that stands still", "TaskManager._after_end", "self._slots.serve()", "pass", MANAGER),
    # Leases and single flight.
    OwnMutant("a lease that holds nothing", "Books._claim", "registration._leases += 1", "pass", REGISTRY),
    OwnMutant(
        "a lease is not given back",
        "Claim._give_back",
        "self._registry._release(registration)",
        "pass",
        REGISTRY,
    ),
    OwnMutant(
        "a flight nobody wants lands",
        "Flight._leave",
        'self.abandon("nobody waits for it any more")',
        "pass",
        ("registry_factory",),
    ),
    OwnMutant(
        "a lease that came too late",
        "Flight._leave",
        "self._registry._release(self.registration)",
        "pass",
        REGISTRY,
    ),
    OwnMutant("followers are not told", "Flight.land", "place.set_result(None)", "pass", REGISTRY),
    # Loans.
    OwnMutant("a broken value is lent again", "Loan.__aexit__", "spoiled=spoiled", "spoiled=False", ("pool_discards",)),
    OwnMutant("a loan is not given back", "Loan.__aexit__", "pool._idle.append(slot)", "pass", POOL),
    OwnMutant("a value handed over is lost", "PoolBooks._leave_line", "self._supply(", "id(", POOL),
    OwnMutant("idle values are not destroyed", "Lending._begin_closing", "self._end(slot)", "pass", POOL),
]
