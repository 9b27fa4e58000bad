"""The terms on which a job is submitted: from the arguments of ``submit`` to what a store keeps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from .._ground.checks import check_name, wall_time
from .._ground.times import seconds_of
from .._ground.values import to_plain
from .._store.records import JobStatus
from .._store.skipping import skip_reason
from .._store.terms import TWINS, Terms, Twin
from .job import Job

KEY_CHARACTERS: Final = 500
"""A longer key is refused."""

NEEDS: Final = 10_000
"""A job that needs more others than this is refused."""

METADATA_BYTES: Final = 4_096
"""More metadata, as JSON, is refused: it is kept with every job."""


def new_terms(
    *,
    delay: float | timedelta = 0.0,
    at: datetime | float | None = None,
    expires: float | timedelta | datetime | None = None,
    key: str | None = None,
    on_twin: Twin = "refuse",
    needs: Collection[Job | int] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Terms | None:
    """Return the terms that were asked for, None for none.

    Raises:
        TypeError, ValueError: one of them is not right.
    """
    if at is not None and delay:
        raise TypeError("give delay or at, not both")
    _check_key(key, on_twin)
    numbers, ended = _needed(needs)
    terms = Terms(
        at=wall_time(at, "at"),
        expires=wall_time(expires, "expires") if isinstance(expires, datetime) else None,
        lifetime=None if expires is None or isinstance(expires, datetime) else seconds_of(expires, "expires"),
        key=key,
        on_twin=on_twin,
        needs=numbers,
        ended=ended,
        metadata=plain_metadata(metadata),
    )
    return None if terms == Terms() else terms


def plain_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return metadata as it is kept; None for none.

    Raises:
        TypeError: it is not a table of plain data with names as keys.
        OutputTooLarge: it is larger than `METADATA_BYTES`.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        raise TypeError(f"metadata must be a mapping with strings as keys, got {metadata!r}")
    plain: Mapping[str, Any] = to_plain(dict(metadata), "the metadata", METADATA_BYTES)
    return plain or None


def _check_key(key: str | None, on_twin: Twin) -> None:
    check_name(key, "key")
    if key is not None and not 0 < len(key) <= KEY_CHARACTERS:
        raise ValueError(f"key must have 1 to {KEY_CHARACTERS} characters, got {len(key)}")
    if on_twin not in TWINS:
        kind = ValueError if isinstance(on_twin, str) else TypeError
        raise kind(f"on_twin must be one of {', '.join(TWINS)}, got {on_twin!r}")
    if key is None and on_twin != "refuse":
        raise TypeError("on_twin is for a job with a key")


def _needed(needs: Collection[Job | int]) -> tuple[tuple[int, ...], tuple[tuple[int, str | None], ...]]:
    """Return the numbers of the jobs that are needed, and of those that have ended, each with why it is too late.

    What a handle knows is not asked of the store, which may have forgotten the job.
    """
    if not isinstance(needs, Collection) or isinstance(needs, (str, bytes)):
        raise TypeError(f"needs must be a list of jobs or their numbers, got {needs!r}")
    if len(needs) > NEEDS:
        raise ValueError(f"needs must name at most {NEEDS:,} jobs, got {len(needs):,}")
    numbers: dict[int, None] = {}
    ended: dict[int, str | None] = {}
    for one in needs:
        if isinstance(one, Job):
            outcome = one.outcome
            if outcome is None or outcome.status is JobStatus.INTERRUPTED:
                numbers[one.id] = None
            else:
                ended[one.id] = skip_reason(one.name, outcome.status)
        elif isinstance(one, int) and not isinstance(one, bool):
            numbers[one] = None
        else:
            raise TypeError(f"needs must name jobs, or their numbers, got {one!r}")
    return tuple(numbers), tuple(ended.items())
