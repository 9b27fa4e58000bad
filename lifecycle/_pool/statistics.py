"""What a pool has done and what it holds, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What a pool has done, and what it holds at one moment.

    The account closes at every await: ``created == idle + checking + lent + resetting + destroying + destroyed``.

    Attributes:
        name: the pool's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        max_size: how many values it may have.
        size: how many it has, those included that are being made or ended.
        creating: values in the making.
        idle: values that are free.
        checking: values that are looked at before they are lent.
        lent: values in borrowers' hands.
        resetting: values that came back and are made ready.
        destroying: values that are being ended.
        waiting: borrowers in line.
        created: values ever made.
        destroyed: values ended, or abandoned because ending them took too long.
        create_failures: creations that raised or took too long.
        check_failures: values that failed their check.
        destroy_errors: ends that raised or took too long.
        discarded: values that were not lent again: after an error, by ``discard()``, or because their reset failed.
        timeouts: borrowers that waited too long.
        refused: borrowers that were refused because too many waited.
    """

    name: str
    state: str
    max_size: int
    size: int
    creating: int
    idle: int
    checking: int
    lent: int
    resetting: int
    destroying: int
    waiting: int
    created: int
    destroyed: int
    create_failures: int
    check_failures: int
    destroy_errors: int
    discarded: int
    timeouts: int
    refused: int
