"""Points in time in a flow file: with an offset of their own, or on the wall clock of the zone beside them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from .._ground.text import quote
from .._language.table import TableReader

EXPECTED: Final = "expected a date, or a date and a time, as in 2026-12-01T03:00:00+01:00"


def read_zone(reader: TableReader, key: str) -> tzinfo | None:
    """Return the time zone that a key names, by default UTC; None after a problem, which has been reported."""
    name = reader.text(key, "UTC")
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there, no name of a file, a directory
        hint = "on a machine without time zone data, install it with `pip install tzdata`"
        reader.problem(key, f"time zone {quote(name)} is not known; {hint}")
        return None


def read_moment(reader: TableReader, key: str, zone: tzinfo | None) -> datetime | None:
    """Return a point in time, None when there is none, or after a problem, which has been reported.

    Args:
        reader: over the table.
        key: the name of the value: what TOML has for dates and times, or the same as a string.
        zone: that of a time without an offset; None when it is not known, which has been reported.
    """
    value = reader.raw(key)
    if key not in reader:
        return None
    try:
        moment = _moment(value)
        return moment if moment.tzinfo is not None else _on_the_clock(moment, zone)
    except (ValueError, OverflowError) as error:
        reader.problem(key, str(error))
        return None


def is_local(value: object) -> bool:
    """Return whether a value is a point in time that needs a zone."""
    try:
        return _moment(value).tzinfo is None
    except ValueError:
        return False


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{EXPECTED}, got {quote(value)}") from None
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    raise ValueError(f"{EXPECTED}, got {quote(value)}")


def _on_the_clock(moment: datetime, zone: tzinfo | None) -> datetime | None:
    """Return when the clock of a zone shows a time.

    Raises:
        ValueError: it never does, or twice: the clock is set forward, or back.
    """
    if zone is None:
        return None
    first, second = moment.replace(tzinfo=zone), moment.replace(tzinfo=zone, fold=1)
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment:
        raise ValueError(f"{moment.isoformat()} is skipped by the clock in {zone}, which is set forward then")
    if first.utcoffset() != second.utcoffset():
        raise ValueError(f"{moment.isoformat()} comes twice in {zone}, where the clock is set back; give it an offset")
    return first
