"""The table of mutants, continued: connections that are kept."""

from __future__ import annotations

from .own_table import OwnMutant

CYCLE, USERS, END, SHORT, REPLAY = (
    ("kept_through_a_cycle",),
    ("kept_without_a_block", "kept_and_dropped"),
    ("kept_until_it_is_given_up",),
    ("kept_with_short_lives",),
    ("kept_and_lost_in_its_replay",),
)

CONNECTED = [
    OwnMutant(
        "a lost connection is not released",
        "Keeper._stay",
        "errors, held = await scope._close(None, cancellation, through=True)",
        "errors, held = [], cancellation",
        CYCLE,
    ),
    OwnMutant(
        "a reader that returns is no loss", "Connection._task_ended", "if not self.lost and", "if False and", REPLAY
    ),
    OwnMutant("on_down is not called", "Keeper._come_up", "if plan.on_down is not None:", "if False:", CYCLE),
    OwnMutant("a close tells nobody who waits", "KeptLife.close", "self.line.wake(None)", "pass", USERS),
    OwnMutant("nobody who waits is told that it was given up", "KeptLife._settle", "self.line.wake(None)", "pass", END),
    OwnMutant("a short life begins the pauses anew", "Outage.is_long", "uptime >= self._minimum_uptime", "True", SHORT),
    OwnMutant(
        "a loss in the replay interrupts nothing", "Connection.lose", "self._attempting is not None", "False", REPLAY
    ),
]
