"""What a registry has done and what it holds, as a frozen record."""

from collections.abc import Mapping
from dataclasses import dataclass

from .registrations import RemovalCause


@dataclass(frozen=True, slots=True)
class RegistryStatistics:
    """What a registry has done, and what it holds at one moment.

    The account closes at every await: ``opened == live + retired + closed``.

    Attributes:
        name: the registry's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        hits: look-ups that found a live value.
        misses: look-ups that found none.
        loads: values that factories made.
        load_failures: factories that raised, or took too long.
        loading: creations in progress.
        removals: how many values have left, by cause; those that a mass removal is still working off come later.
        live: values that are found under their keys; some may be due and not yet swept.
        retired: values that have left and are not finalized yet, because they are leased or in line.
        leases: leases that are out.
        pending_close: retired values that no lease holds: in line for their finalizer, or in it.
        close_errors: finalizers that raised or took too long.
        weight: total weight of the live values; their number where there is no weigher.
        opened: values ever taken in.
        closed: values finalized or handed out.
        handed_out: values that ``pop`` has handed out, which were not finalized.
        stale_hits: look-ups that were given an old value at once, while a new one was made; neither hits nor misses.
        stale_on_error: callers that were given an old value in place of an error, after a miss.
        refused: how often there was no place for one more value, where ``when_full`` is ``"refuse"``.
    """

    name: str
    state: str
    hits: int
    misses: int
    loads: int
    load_failures: int
    loading: int
    removals: Mapping[RemovalCause, int]
    live: int
    retired: int
    leases: int
    pending_close: int
    close_errors: int
    weight: int
    opened: int
    closed: int
    handed_out: int
    refused: int
    stale_hits: int
    stale_on_error: int
