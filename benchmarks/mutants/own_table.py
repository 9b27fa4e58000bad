"""The table of mutants of our own primitives; see ``benchmarks.mutants.own``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OwnMutant:
    """One changed line.

    Attributes:
        what: the mistake, in words.
        where: ``module.function`` or ``module.Class.method`` below ``lifecycle``.
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
    OwnMutant(
        "wait without a shield", "_kernel.wait_through", "with shield_from_scopes():", "if True:", ("manager_cancels",)
    ),
    OwnMutant("a shield that does not shield", "_kernel.shield", "shield=True", "shield=False", SCOPE),
    OwnMutant(
        "the held cancellation is forgotten", "_kernel.wait_through", "held = error", "pass", ("manager_cancels",)
    ),
    OwnMutant("a wait keeps its timer", "_kernel.wait", "timer.cancel()", "pass", (*MANAGER, *SCOPE)),
    OwnMutant(
        "no redelivery beside an error", "_kernel.deliver_later", "task.cancel(*held.args)", "pass", ("scope_with",)
    ),
    OwnMutant(
        "the closing host forgets its cancellation",
        "_unwind.Unwinding.hold",
        "self.cancellation = cancellation",
        "pass",
        SCOPE,
    ),
    # Order, joins, releases.
    OwnMutant(
        "oldest first", "_unwind.Unwinding._newest", "reversed(self._scope._ledger)", "list(self._scope._ledger)", SCOPE
    ),
    OwnMutant(
        "a stopped task is not joined",
        "_unwind.Unwinding._stop_task",
        "while task._status in UNFINISHED",
        "while False",
        SCOPE,
    ),
    OwnMutant(
        "a release is skipped", "_unwind.Unwinding._begin", "self._pending = entry.release(self._given)", "pass", SCOPE
    ),
    OwnMutant(
        "the closer is not awaited", "_unwind.Unwinding._delegate", "while not closer.done()", "while False", SCOPE
    ),
    OwnMutant(
        "tasks of a manager are not cancelled",
        "_tasks.TaskManager._shut_down",
        "await self._cancel_running() or held",
        "held",
        MANAGER,
    ),
    OwnMutant(
        "what waits in line is not dropped",
        "_tasks.TaskManager._discard_pending",
        "self._drop_unstarted(handle)",
        "pass",
        ("manager_drops",),
    ),
    OwnMutant(
        "the second closer does not wait",
        "_tasks.TaskManager.aclose",
        "await kernel.wait_shielded(self._closed)",
        "pass",
        ("manager_two",),
    ),
    OwnMutant("members are not cancelled", "_members.Members.cancel_all", "member.cancel(reason)", "pass", GROUP),
    OwnMutant("a group is not joined", "_groups.TaskGroup.__aexit__", "await self._join()", "pass", GROUP),
    OwnMutant("a group keeps its timer", "_groups.TaskGroup._close", "self._timer.cancel()", "pass", GROUP),
    # Acquisitions: values that come late.
    OwnMutant(
        "a late value is not undone",
        "_entries._Half.leave",
        "self._undo_arrived()",
        "self._announce()",
        ("scope_late",),
    ),
    OwnMutant(
        "a value for nobody is kept",
        "_entries.Acquisition.make",
        "await self._undo(resource)",
        "self._scope._forget(self); self._announce()",
        ("scope_factory",),
    ),
    OwnMutant(
        "making is not cancelled", "_entries._Half._cancel_making", "if self._cancellation is None:", "if False:", SCOPE
    ),
    OwnMutant("the undoing is not awaited", "_entries.Acquisition._undo", "await pending", "pending.close()", SCOPE),
    # Handles and slots.
    OwnMutant(
        "a coroutine that never ran is not closed", "_handle.TaskHandle._end", "self._coro.close()", "pass", MANAGER
    ),
    OwnMutant(
        "waiters are not woken",
        "_handle.TaskHandle._settle",
        "waiter.set_result(None)",
        "pass",
        (*SCOPE, *MANAGER),
    ),
    OwnMutant(
        "a task swallows its cancellation",
        "_handle.TaskHandle._run",
        "        raise\n    except BaseException",
        "        return\n    except BaseException",
        MANAGER,
    ),
    OwnMutant(
        "a granted slot is lost with its waiter",
        "_slots.Slots.wait_for_slot",
        "self.give_back()",
        "pass",
        ("manager_slots",),
    ),
    OwnMutant("a slot given back serves nobody", "_slots.Slots.give_back", "self.serve()", "pass", ("manager_slots",)),
    OwnMutant("one task too many", "_slots.Slots.has_room", "< self._limit", "<= self._limit", MANAGER),
    OwnMutant("a line that stands still", "_tasks.TaskManager._after_end", "self._slots.serve()", "pass", MANAGER),
    # Leases and single flight.
    OwnMutant(
        "a lease that holds nothing", "_registry_books.Books._claim", "registration._leases += 1", "pass", REGISTRY
    ),
    OwnMutant(
        "a lease is not given back",
        "_leases.Claim._give_back",
        "self._registry._release(registration)",
        "pass",
        REGISTRY,
    ),
    OwnMutant(
        "a flight nobody wants lands",
        "_flights.Flight._leave",
        'self.abandon("nobody waits for it any more")',
        "pass",
        ("registry_factory",),
    ),
    OwnMutant(
        "a lease that came too late",
        "_flights.Flight._leave",
        "self._registry._release(self.registration)",
        "pass",
        REGISTRY,
    ),
    OwnMutant("followers are not told", "_flights.Flight.land", "place.set_result(None)", "pass", REGISTRY),
    # Loans.
    OwnMutant(
        "a broken value is lent again", "_loans.Loan.__aexit__", "spoiled=True", "spoiled=False", ("pool_discards",)
    ),
    OwnMutant("a loan is not given back", "_loans.Loan.__aexit__", "pool._take_back(slot)\n", "pass\n", POOL),
    OwnMutant("a value handed over is lost", "_pool_books.PoolBooks._leave_line", "self._supply(", "id(", POOL),
    OwnMutant("idle values are not destroyed", "_pool_lending.Lending._begin_closing", "self._end(slot)", "pass", POOL),
]
