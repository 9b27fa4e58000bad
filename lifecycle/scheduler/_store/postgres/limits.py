"""Limits as the database says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lifecycle import Rate

from ..limit_record import LimitRecord, records_of
from ..limits import Limit, LimitKey

COUNTED: Final = 10_000
"""Ready jobs that are counted one by one, to be shown."""


def limit_of(row: Sequence[Any]) -> Limit:
    """Return a limit, from its columns."""
    kind, name, paused, at_once, number, per, burst, weight, whole_at = row
    rate = None if number is None else Rate(number, per=float(per), burst=burst)
    return Limit(LimitKey(kind, name), paused, at_once, rate, float(weight), float(whole_at))


def limit_records(facts: Mapping[str, Any]) -> list[LimitRecord]:
    """Return all limits, and the queues that have jobs, for people; of ``limit_facts``."""
    known = {limit.key: limit for limit in map(limit_of, facts["limits"])}
    ready = {LimitKey(kind, name): count for kind, name, count in facts["ready"]}
    limits = [known.get(key) or Limit(key) for key in sorted(ready)]
    return records_of(
        limits, [(queue, handler, count) for queue, handler, count in facts["running"]], ready.__getitem__
    )
