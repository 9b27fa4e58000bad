"""The table of mutants of our own primitives; see ``benchmarks.mutants.own``."""

from __future__ import annotations

import sys
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
        until: the first version of Python on which the change is none, because asyncio does the same by itself.
        since: the first version on which it is one, because before there is nothing that it could break.
    """

    what: str
    where: str
    old: str
    new: str
    scenarios: tuple[str, ...]
    until: tuple[int, int] | None = None
    since: tuple[int, int] = (3, 11)


SCOPE, MANAGER, GROUP, REGISTRY = ("scope",), ("manager",), ("group", "gather", "race"), ("registry",)
POOL, TIMER, COMPLETED, CONNECT = ("pool",), ("timer",), ("as_completed",), ("connect",)
CROSSING, RELEASED, REQUESTED = ("crossing",), ("released",), ("requested",)

OWN = [
    # Shields, and cancellations that are held back.
    OwnMutant("wait without a shield", "wait_through", "with shield_from_scopes():", "if True:", ("manager_cancels",)),
    OwnMutant("a shield that does not shield", "shield", "shield=True", "shield=False", SCOPE),
    OwnMutant(
        "the held cancellation is forgotten",
        "wait_through",
        "held = foremost(held, with_traceback(error, None))",
        "pass",
        ("manager_cancels",),
    ),
    OwnMutant("a wait keeps its timer", "wait", "timer.cancel()", "pass", (*MANAGER, *SCOPE)),
    OwnMutant("no redelivery beside an error", "deliver_later", "task.cancel(*owed)", "pass", ("scope_with",)),
    OwnMutant(
        "the closing host forgets its cancellation",
        "Failures.hold",
        "self.cancellation = kernel.foremost(self.cancellation, cancellation)",
        "pass",
        SCOPE,
    ),
    # What goes from one task to another.
    OwnMutant(
        "only who waits for the closer itself is seen",
        "_waiting_for",
        "unseen.append(waiter)",
        "pass",
        CROSSING,
    ),
    OwnMutant(
        "who waits is asked in a first step",
        "asks_before_starter_waits",
        "return True",
        "return False",
        CROSSING,
        since=(3, 12),  # which has eager tasks
    ),
    OwnMutant(
        "who was woken by another of several things is not told of",
        "_add_woken",
        "awaiters.append(BETWEEN)",
        "pass",
        ("crossing_a_close_by_one_of_several",),
        until=(3, 13),
    ),
    OwnMutant(
        "who was woken by the first of several things is not told of",
        "_add_woken",
        "if getter is None:",
        "if getter is None:\n                        continue\n                    elif False:",
        ("crossing_a_close_by_one_of_several",),
        since=(3, 13),
    ),
    OwnMutant(
        "who is between two waits is not waited for",
        "_asks_too_early",
        "or BETWEEN in _waiting_for(kernel.current_task(), but_for=but_for, telling=True)",
        "",
        ("crossing_a_close_by_one_of_several",),
    ),
    OwnMutant(
        "a close that goes on asks no more who is between two waits",
        "Unwinding._is_awaited_by",
        "if waiting.tells_more_later(self._books.released):",
        "if False:",
        ("crossing_a_close_by_one_of_several",),
    ),
    OwnMutant(
        "no owner is asked who waits for its tasks",
        "_waiters_of",
        "waiters += employer._hosts(task)",
        "pass",
        CROSSING,
    ),
    OwnMutant(
        "who closes a scope is not seen behind its closer",
        "Unwinding._hosts",
        "if closer is self._runner:",
        "if False:",
        CROSSING,
    ),
    OwnMutant(
        "a close releases what is being released before its turn",
        "ScopeBooks.newest",
        "found = early or entry",
        "found = entry",
        CROSSING,
    ),
    OwnMutant(
        "what was released while it was entered tells of a close",
        "HalfMade.arrival",
        "if self._scope._state is OPEN:",
        "if False:",
        RELEASED,
    ),
    OwnMutant(
        "a task behind a shield is not followed",
        "Cancellation._follow",
        "waits_for.add_done_callback(self._try_to_deliver)",
        "pass",
        CROSSING,
    ),
    OwnMutant(
        "a shield around a block counts",
        "Body.interrupt",
        "kernel.interrupt(self.host, reason, self._around)",
        "kernel.interrupt(self.host, reason)",
        CROSSING,
    ),
    OwnMutant(
        "an interruption is met behind the block",
        "Body.take_back",
        "await kernel.absorb_cancellation(self.host, self._asked_before)",
        "None",
        CROSSING,
        until=(3, 13),  # whose `uncancel` takes a request back that is under way
    ),
    OwnMutant("an interruption stays", "Body.take_back", "self.host.uncancel()", "pass", CROSSING),
    OwnMutant("a held exit swallows the host's cancellation", "Holder._verdict", "not cancelled and ", "", CROSSING),
    OwnMutant("what is owed to a task is none of its requests", "requests_met", "under_way += 1", "pass", CROSSING),
    OwnMutant(
        "what is owed is unknown to the next exit",
        "EndingScope._close",
        "await kernel.take_owed(kernel.current_task())",
        "None",
        CROSSING,
    ),
    OwnMutant(
        "a held exit doubles the host's cancellation",
        "Holder._verdict",
        "_, failure = split_cancellation(failure)",
        "pass",
        CROSSING,
    ),
    OwnMutant(
        "an exit in the host doubles its cancellation",
        "Unwinding._exit_inline",
        "cancellation is not None and self.host.cancelling() > 0",
        "False",
        ("crossing_a_held_exit_raises",),
    ),
    OwnMutant(
        "a release's own cancellation is the host's",
        "Failures._add_failure",
        "failure_of(entry.label, error)",
        "error",
        CROSSING,
    ),
    OwnMutant(
        "the host meets the message of its owner",
        "as_requested",
        "if not any(error.args and error.args[0] is words for words in taken_back):",
        "if True:",
        CROSSING,
    ),
    OwnMutant(
        "a request under way loses its message",
        "Cancellation._try_to_deliver",
        "task._cancel_message if task._must_cancel else self.reason",
        "self.reason",
        CROSSING,
    ),
    OwnMutant(
        "a foreign request is taken back with ours",
        "Body.take_back",
        "kernel.as_requested(error, self.host, interruption.reason) if self._cancelled_since_entry else None",
        "None",
        ("crossing_blocks",),
    ),
    OwnMutant("who takes it back goes first", "_claim", "OURS if type(", "TOLD if type(", REQUESTED),
    OwnMutant("silence goes before words", "_claim", "return SILENT", "return TOLD + 1", REQUESTED),
    OwnMutant(
        "what is owed is said by the owner",
        "last_words",
        "_claim(held) == OURS and native_requests(task) > 1",
        "False",
        REQUESTED,
    ),
    OwnMutant("a redelivery outdoes one under way", "deliver_later", "if task._must_cancel:", "if False:", REQUESTED),
    OwnMutant("a scope does not know its own", "as_requested", "if repeated is None:", "if True:", REQUESTED),
    OwnMutant(
        "who leaves a making drops what it met",
        "HalfMade.arrival",
        "kernel.foremost(cancellation, await self._leave_alone())",
        "[cancellation, await self._leave_alone()][0]",
        REQUESTED,
    ),
    OwnMutant(
        "who leaves a creation drops what it met",
        "Flight._landing",
        "kernel.foremost(error, await self._leave(place))",
        "[error, await self._leave(place)][0]",
        REQUESTED,
    ),
    OwnMutant(
        "a yield between two shields is missed",
        "Cancellation._follow",
        "self._look = loop.call_soon(self._try_to_deliver)",
        "self._look = loop.call_later(SHIELD_LOOK, self._try_to_deliver)",
        CROSSING,
    ),
    OwnMutant(
        "a shield that another task takes away",
        "Cancellation._follow",
        "self._look = loop.call_later(SHIELD_LOOK, self._try_to_deliver)",
        "pass",
        CROSSING,
    ),
    OwnMutant(
        "the closer releases in a context of its own",
        "Unwinding._call_releases_in_closer",
        "context.run(self._call_releases)",
        "self._call_releases()",
        RELEASED,
    ),
    OwnMutant(
        "a child is released in the context of its closer",
        "EndingScope._close_for_parent",
        "self._context = above.context()",
        "pass",
        RELEASED,
    ),
    OwnMutant(
        "a late release passes for a cancellation",
        "Acquisition._undo",
        "failure_of(resource.label, without_our_frame(error))",
        "error",
        RELEASED,
    ),
    OwnMutant(
        "a late exit passes for a cancellation",
        "Holder._ended_unasked",
        "failure_of(self.label, error)",
        "error",
        RELEASED,
    ),
    OwnMutant(
        "a server that closes resets its line",
        "Server.close",
        "self._intake.end(",
        "self._intake.close(), self._intake.end(",
        ("server_that_closes",),
    ),
    OwnMutant(
        "who was in line never gets a turn",
        "Server._connection_ended",
        "turn.set_result(None)",
        "pass",
        ("server_that_closes",),
    ),
    OwnMutant(
        "who was in line need not wait for a turn",
        "Connection.run",
        "await self.turn",
        "pass",
        ("server_that_closes",),
    ),
    OwnMutant(
        "handlers are not told of the drain",
        "Server._end",
        "connection.drain()",
        "pass",
        ("server_that_closes",),
    ),
    OwnMutant(
        "a loop that may end ends the rest",
        "Linked._take_end",
        'end.how == "returned" and',
        "False and",
        ("linked_loops_of",),
    ),
    OwnMutant(
        "what a close does not end is not cut",
        "Closer._interrupt",
        "abort()",
        "abort",
        ("linked_loops_of",),
    ),
    OwnMutant(
        "the close of a pair passes for a cancellation",
        "Closer._take",
        'failure_of(f"closing {self._label}", error)',
        "error",
        RELEASED,
    ),
    # Order, joins, releases.
    OwnMutant(
        "oldest first", "ScopeBooks.newest", "self.popitem()", "(next(iter(self)), self.pop(next(iter(self))))", SCOPE
    ),
    OwnMutant("a long close is cut short", "Unwinding._breathe", "self.hold(error)", "raise", ("scope_of_a_thousand",)),
    OwnMutant(
        "a long close forgets the rest", "Unwinding.run", "await self._breathe()", "break", ("scope_of_a_thousand",)
    ),
    OwnMutant("a bare yield is not resumed", "OwnedResource._sees_errors", "frame is None or", "True or", RELEASED),
    OwnMutant("an awaitable is dropped", "is_awaited", "inspect.isawaitable(", "inspect.iscoroutine(", RELEASED),
    OwnMutant("a hook stalls the line", "Hooks.call", "except BaseException", "except Exception", RELEASED),
    OwnMutant(
        "a stopped task is not joined",
        "Unwinding._stop_task",
        "while task._status in UNFINISHED",
        "while False",
        SCOPE,
    ),
    OwnMutant("a release is skipped", "Unwinding._begin", "self._pending = entry.release(self._given)", "pass", SCOPE),
    OwnMutant(
        "the closer is not awaited", "Unwinding._delegate", "while not closer.done()", "if not closer.done()", SCOPE
    ),
    OwnMutant(
        "tasks of a manager are not cancelled",
        "TaskManager._shut_down",
        "kernel.foremost(held, await self._cancel_running())",
        "held",
        MANAGER,
    ),
    OwnMutant(
        "what waits in line is not dropped",
        "TaskBooks._discard_pending",
        "self._drop_unstarted(handle)",
        "pass",
        ("manager_drops",),
    ),
    OwnMutant(
        "the second closer does not wait",
        "TaskManager.aclose",
        "await kernel.wait_shielded(self._closing)",
        "return self._report",
        ("manager_two",),
    ),
    OwnMutant("members are not cancelled", "Members.cancel_all", "member.cancel(reason)", "pass", GROUP),
    OwnMutant("a group is not joined", "TaskGroup.__aexit__", "await self._join()", "pass", GROUP),
    OwnMutant("a group keeps its timer", "TaskGroup._close", "self._timer.cancel()", "pass", GROUP),
    OwnMutant("a group keeps its ladder", "TaskGroup._end_ladder", "self._ladder.end()", "pass", GROUP),
    # Acquisitions: values that come late.
    OwnMutant(
        "a late value is not undone",
        "HalfMade.leave",
        "self._undo_arrived()",
        "self._announce()",
        ("scope_late",),
    ),
    OwnMutant(
        "a value that came too late is kept",
        "Acquisition.make",
        "await self._undo(resource)",
        "self._scope._books.forget(self); self._announce()",
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
        "TaskHandle._wake_waiters",
        "wake(waiter)",
        "pass",
        (*SCOPE, *MANAGER),
    ),
    OwnMutant(
        "a task swallows its cancellation",
        "TaskHandle._run",
        "        raise\n    except BaseException as error:",
        "        return\n    except BaseException as error:",
        MANAGER,
    ),
    OwnMutant(
        "a granted slot is lost with its waiter",
        "Slots.wait_for_slot",
        "self.give_back()",
        "pass",
        ("manager_slots",),
    ),
    OwnMutant("a slot given back serves no waiter", "Slots.give_back", "self.serve()", "pass", ("manager_slots",)),
    OwnMutant("one task too many", "Slots.has_room", "< self._limit", "<= self._limit", MANAGER),
    OwnMutant(
        "whoever frees a slot hands its context on",
        "Slots.serve",
        "submitted.run(owner._launch_queued, entry, context)",
        "owner._launch_queued(entry, context)",
        ("manager_in_line",),
    ),
    OwnMutant("a line that stands still", "TaskBooks._after_end", "slots.serve()", "pass", MANAGER),
    # Leases and single flight.
    OwnMutant("a late value is a good one", "Chore._verdict_on", "error is None or ", "", ("registry_factory_is",)),
    OwnMutant("a lease that holds nothing", "Leases.claim", "registration._leases += 1", "pass", REGISTRY),
    OwnMutant(
        "a lease is not given back",
        "Lease._give_back",
        "leases.release(registration)",
        "pass",
        REGISTRY,
    ),
    OwnMutant(
        "an unwanted flight lands",
        "Flight._leave",
        'self.abandon("all callers have gone")',
        "pass",
        ("registry_factory",),
    ),
    OwnMutant(
        "a lease that came too late",
        "Flight._return_outcome",
        "self._nursery.release(outcome)",
        "pass",
        REGISTRY,
    ),
    OwnMutant("followers are not told", "Flight.land", "place.set_result(registration)", "pass", REGISTRY),
    # Loans.
    OwnMutant("a broken value is lent again", "Loan.__aexit__", "spoiled=spoiled", "spoiled=False", ("pool_discards",)),
    OwnMutant("a loan is not given back", "Loan.__aexit__", "pool._idle.append(slot)", "pass", POOL),
    OwnMutant("a value handed over is lost", "Line._leave", "self._pool._lend_or_keep(", "id(", POOL),
    OwnMutant("idle values are not destroyed", "Counter._begin_closing", "self._end_idle()", "pass", POOL),
    OwnMutant("a borrower that gives up stays in line", "_pool.line:Line.stand", "timer.cancel()", "pass", POOL),
    OwnMutant("borrowers in line are not told", "Line.refuse_all", "place.set_result(", "id(", ("pool_closed",)),
    OwnMutant("the next in line is passed over", "Counter._take_back", "place.set_result(slot)", "pass", POOL),
    # Groups, and what is built on them.
    OwnMutant("a member in line is not closed", "Members._forget", "self._waiting.pop(task).close()", "pass", GROUP),
    OwnMutant("a member in line is not dropped", "Members._drop_unstarted", "handle._discard()", "pass", GROUP),
    OwnMutant("a member keeps its slot", "Members._count_end", "self._slots.serve()", "pass", GROUP),
    OwnMutant("members go on", "TaskGroup._end", "self._ladder.climb()", "pass", GROUP),
    OwnMutant(
        "a group forgets why it was left",
        "TaskGroup._leave_body",
        "self._body.hold(error)",
        "pass",
        GROUP,
    ),
    OwnMutant("a join swallows", "TaskGroup._join", "self._body.hold(without_our_frame(error))", "pass", GROUP),
    OwnMutant("errors hide a cancellation", "TaskGroup._conclude", "kernel.deliver_later(", "id(", ("group_coll",)),
    OwnMutant("a source is not closed", "start_each", "await source.aclose()", "pass", ("amap",)),
    OwnMutant("what was not taken is not closed", "collect", "source.discard_rest()", "pass", ("gather",)),
    OwnMutant("a loser fails the race", "Cancellation.note_end", "self.delivered = False", "pass", ("race_of_those",)),
    OwnMutant("an error ends a loop", "Harvest.next", "isinstance(error, StopAsyncIteration)", "False", COMPLETED),
    OwnMutant("a place among the completed is lost", "Harvest._member_ended", "self._working -= 1", "pass", COMPLETED),
    OwnMutant("the consumer is not told", "Harvest._member_ended", "self._consumer.ring()", "pass", COMPLETED),
    OwnMutant("the feeder keeps its source", "Harvest._feed", "await self._source.aclose()", "pass", COMPLETED),
    OwnMutant("the rest is not cancelled", "Harvest.leave", 'self._end(f"{self} was left")', "pass", COMPLETED),
    # Timers.
    OwnMutant("a late run is a good one", "Run._call_within", "if self._expired:", "if False:", ("timer_whose",)),
    OwnMutant("a run keeps its deadline", "Run._call_within", "ladder.end()", "pass", TIMER),
    OwnMutant("one run too many", "TimerLife._wait", ">= self._settings.max_instances", "> 99", ("timer_that",)),
    OwnMutant("a timer without end", "TimerLife._wait", "if self.stopping:", "if False:", ("timers_that",)),
    OwnMutant("a timer is not told to stop", "TimerLife.stop", "self._ring()", "pass", ("timers_that",)),
    OwnMutant("the end of a run is not noticed", "TimerLife._run_ended", "self._bell.ring()", "pass", ("timers_that",)),
    OwnMutant("a timer swallows", "TimerLife.keep_time", "cancellation = error", "pass", TIMER),
    # Closing.
    OwnMutant("a close keeps its watchdog", "Unwinding.run", "self._timer.cancel()", "pass", SCOPE),
    OwnMutant("the baton is dropped", "Unwinding._delegate", "closer.add_done_callback(", "id(", SCOPE),
    OwnMutant("an heir without tasks", "ScopeBooks.hand_over", "owned._owner = owner", "pass", ("scope_handed",)),
    OwnMutant(
        "an heir without tasks that have begun",
        "ScopeBooks.hand_over",
        "if isinstance(owned, OwnTask):",
        "if isinstance(owned, OwnTask) and owned.started_at is None:",
        ("scope_handed",),
    ),
    OwnMutant(
        "an heir keeps what nobody got", "Acquisition._undo_arrived", "self.resource._scope", "self._scope", SCOPE
    ),
    OwnMutant(
        "values stay when a registry closes",
        "Registry._begin_closing",
        "self._sweeper.remove_all(SHUT)",
        "pass",
        REGISTRY,
    ),
    OwnMutant("an old creation stays its key's", "Creations.detach", "self._detach(flight)", "pass", REGISTRY),
    OwnMutant(
        "a value that is put again is finalized", "Intake.put", "if present.value is value:", "if False:", REGISTRY
    ),
    OwnMutant(
        "a changed key is looked for where it was",
        "Shelf._take_off",
        "if self._keys_are_stable:",
        "if True:",
        REGISTRY,
    ),
    OwnMutant("a sweep keeps its timer", "Sweeper._wake_at", "self._timer.cancel()", "pass", REGISTRY),
    OwnMutant("a leased value is finalized", "Departures.dispose", "if registration._leases:", "if False:", REGISTRY),
    OwnMutant("finalizers are not hired", "Crew.submit", "self._hire_worker()", "pass", REGISTRY),
    # Connects.
    OwnMutant(
        "a rollback is skipped",
        "Trial._roll_back",
        "await self._scope._close(None, through=True)",
        "(0, None)",
        CONNECT,
    ),
    OwnMutant("a success without its ledger", "Trial._connect", "scope.pop_all()", "Scope()", CONNECT),
    OwnMutant("a success too late counts", "Trial._connect", "self._unwanted is None and ", "", CONNECT),
    OwnMutant("a failed task of a connection is none", "Trial._connect", " and not scope._errors", "", CONNECT),
    OwnMutant("a deadline keeps its timer", "Trial._end_connecting", "self._drop_timer()", "pass", CONNECT),
    OwnMutant("a stop reaches no connector", "Trial.stop", "ladder.climb()", "pass", ("connect_that_is",)),
    OwnMutant(
        "a caller that leaves does not wait",
        "ConnectAttempt._leave",
        "return await self._wait_through()",
        "return None",
        CONNECT,
    ),
    OwnMutant("a caller that leaves ends nothing", "ConnectAttempt._leave", "self._end(", "id(", CONNECT),
    OwnMutant(
        "a close does not wait",
        "ConnectAttempt.aclose",
        "await self._wait_through()",
        "None",
        CONNECT,
    ),
    OwnMutant("a failure of which nobody knows is silent", "Connecting.unreported", "(self.error,)", "()", CONNECT),
    OwnMutant("a close forgets its cancellation", "ConnectAttempt.aclose", "else None, held)", "else None)", CONNECT),
    OwnMutant("a rollback's error hides it", "ConnectAttempt._arrival", "kernel.deliver_later(", "id(", CONNECT),
    OwnMutant("a block that is not a body", "ConnectAttempt.__aenter__", "await scope.__aenter__()", "pass", CONNECT),
    OwnMutant("the hook of a connect is not told", "tell", "call(hook,", "call(id,", ("connect_whose",)),
    OwnMutant("the hook of a call is not told", "Attempts._tell", "call(hook,", "call(id,", ("call_that",)),
    OwnMutant("a failure is the end", "RetryAttempt.__aexit__", "return True", "return False", ("call_that",)),
    OwnMutant("a success that was not taken stays", "Connecting.stop", "self._undo_success()", "pass", CONNECT),
    OwnMutant("a pause keeps its timer", "Connecting.stop", "self._pause.cancel()", "pass", CONNECT),
    OwnMutant("waiters are not told of the end", "Connecting._finish", "self.ended.set_result(None)", "pass", CONNECT),
]

if sys.version_info >= (3, 12):  # eager tasks came with it
    OWN += [
        OwnMutant(
            "an eager task that has ended its group goes on",
            "Members.add_task",
            "self._cancel_native(task, self._dropping)",
            "pass",
            ("group_ends_at_once",),
        ),
        OwnMutant(
            "the end of an eager task is seen before its creator has it",
            "Members._task_ended",
            "if self._starting:",
            "if False:",
            ("group_ends_at_once",),
        ),
    ]
