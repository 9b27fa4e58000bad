"""The table of mutants, continued: what has to be told, such as errors, ends and delays."""

from __future__ import annotations

from .own_table import RELEASED, OwnMutant

ERRORS, FOLLOWED, LATE = ("errors",), ("followed",), ("late",)

TOLD = [
    # Errors.
    OwnMutant(
        "an error is asked for its traceback",
        "with_traceback",
        "BaseException.with_traceback(error, traceback)",
        "error.with_traceback(traceback)",
        ERRORS,
    ),
    OwnMutant(
        "an error is asked to take its context",
        "set_context",
        "_context.__set__(error, context)",
        "error.__context__ = context",
        ERRORS,
    ),
    OwnMutant(
        "errors are told apart by their own word",
        "foreign:distinct",
        "{id(error): error for",
        "{error: error for",
        ERRORS,
    ),
    OwnMutant(
        "a GeneratorExit is the end of a closed coroutine",
        "was_closed",
        "return task is None or not kernel.has_loop() or kernel.current_task() is not task",
        "return True",
        ERRORS,
    ),
    OwnMutant("one error is raised twice", "combine", "distinct(errors)", "list(errors)", ERRORS),
    OwnMutant("an exit comes in a group", "combine", "if is_fatal(error):", "if False:", ERRORS),
    OwnMutant("contexts run in a circle", "add_context", "forget_context(other, error)", "pass", ERRORS),
    OwnMutant(
        "an exit hides the errors beside it",
        "combine",
        "add_context(error, combine(message, [other for other in several if other is not error]))",
        "pass",
        ERRORS,
    ),
    OwnMutant(
        "what is met when the caller has gone is lost", "HalfMade._desert", "self._report_error()", "pass", ERRORS
    ),
    OwnMutant(
        "a stopped creation loses its error",
        "Counter._creation_failed",
        "elif not isinstance(error, (TaskCancelled, CreationTimeout)):",
        "elif False:",
        ERRORS,
    ),
    OwnMutant(
        "a stopped connector loses its error",
        "ConnectAttempt.aclose",
        "errors = self._connecting.unreported()",
        "errors = []",
        ERRORS,
    ),
    OwnMutant(
        "an error ends a map",
        "start_each",
        "    finally:",
        "    except StopAsyncIteration:\n        return\n    finally:",
        ERRORS,
    ),
    # Hooks and handlers that raise.
    OwnMutant(
        "on_error stalls the line", "TaskBooks._report_error", "except BaseException", "except Exception", RELEASED
    ),
    OwnMutant(
        "a hook cancels a run",
        "Run._report_end",
        "except BaseException as error",
        "except Exception as error",
        RELEASED,
    ),
    OwnMutant("a hook cancels a timer", "TimerLife._tell_missed", "except BaseException", "except Exception", RELEASED),
    # What swallows the end of its time.
    OwnMutant("a late step is a good one", "_within", "if bound.expired():  #", "if False:  #", LATE),
    OwnMutant(
        "a late close of a pair is a good one",
        "Closer._await",
        "if self._cancellation is not None and not self._was_abandoned:",
        "if False:",
        LATE,
    ),
    # Those who follow a task or an owner.
    OwnMutant(
        "callbacks are not told", "TaskHandle.add_done_callback", "self._add_waiter(ended, fn)", "pass", FOLLOWED
    ),
    OwnMutant("a callback stays", "TaskHandle.remove_done_callback", "del waiters[waiter]", "pass", FOLLOWED),
    OwnMutant(
        "a thread is not told of the end", "Handover._follow", "handle.add_done_callback(tell)", "pass", FOLLOWED
    ),
    OwnMutant(
        "a thread is not told of the refusal",
        "Handover.__call__",
        "self._future = None\n        future.set_exception(error)",
        "pass",
        FOLLOWED,
    ),
    OwnMutant("a thread cannot take its task back", "Handover.__call__", " or not future._decide()", "", FOLLOWED),
    OwnMutant("a thread cannot cancel", "ThreadFuture._cancel_task", "handle.cancel(", "id(", FOLLOWED),
    OwnMutant("a crowd of drains is not woken", "Crowd.wake", "wake(idle)", "pass", FOLLOWED),
    OwnMutant("a drain that was left still counts", "Crowd.leave", "self.tasks.remove(tasks)", "pass", FOLLOWED),
    OwnMutant(
        "tasks that drain wait for each other", "Idleness._is_idle", "handle._task in crowd.tasks or ", "", FOLLOWED
    ),
    OwnMutant(
        "a task that drains keeps its slot",
        "Idleness.wait",
        "self._slots.lent(own, tasks)",
        "self._slots.lent(0)",
        FOLLOWED,
    ),
    OwnMutant("those who wait for an owner are not told", "tell_closed", "wake(over)", "pass", FOLLOWED),
    OwnMutant(
        "a removal is not told of",
        "ToldDepartures.dispose",
        "self._note(registration)",
        "self._tell_soon()",
        ("registry_tells",),
    ),
    OwnMutant(
        "what is put in leased is not leased",
        "Intake._put_leased",
        "self._leases.claim(registration)",
        "self._leases.count += 1",
        ("registry_tells",),
    ),
    OwnMutant(
        "what is being made takes no place",
        "Creations.under_way",
        "len(self.flights)",
        "0",
        ("registry_refuses",),
    ),
    OwnMutant(
        "old values leave when they are due",
        "Shelf._is_kept",
        "if not isinstance(registration, Lasting):",
        "if isinstance(registration, Lasting):",
        ("registry_serves_old",),
    ),
    OwnMutant(
        "a creation that nobody waits for is made for nobody",
        "Creations._make_anew",
        "flight.kept = True",
        "flight.dying = True",
        ("registry_serves_old",),
    ),
    OwnMutant(
        "an error reaches those who wait, although there is an old value",
        "OldValues.in_place_of",
        "return old",
        "return None",
        ("registry_serves_old",),
    ),
    OwnMutant(
        "an old value is handed out without a lease",
        "OldValues.lend",
        "self._leases.claim(old)",
        "self._leases.count += 1",
        ("registry_serves_old",),
    ),
]
