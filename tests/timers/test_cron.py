"""Cron rules: every occurrence against an independent calculation, clock changes, and what is refused."""

import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks._cron_oracle import occurrences as occurrences_by_walking
from lifecycle.types import CronRule

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"]


def epoch(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def occurrences(expression: str, zone: str, begin: str, end: str) -> list[str]:
    """What a rule names in ``(begin, end]``, as local times with their offsets."""
    rule, instant, last = CronRule(expression, zone), epoch(begin, zone), epoch(end, zone)
    found = []
    while (later := rule.after(instant)) is not None and later <= last:
        found.append(f"{datetime.fromtimestamp(later, ZoneInfo(zone)):%m-%dT%H:%M%z}")
        instant = later
    return found


EXPRESSIONS = [
    "* * * * *",
    "*/7 * * * *",
    "30 * * * *",
    "30 2 * * *",
    "0 0 * * *",
    "0,30 0-3 * * *",
    "*/10 2 * * *",
    "0 */2 * * *",
    "15 1,2,3 * 3,10 0",
    "5 1 1,15 * 1",
    "0 4 8-14 * *",
]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_year_of_occurrences_agrees_with_brute_force(expression: str, zone: str) -> None:
    """Every occurrence around each clock change of a year, and in a plain week, compared with the other calculation."""
    rule, there = CronRule(expression, zone), ZoneInfo(zone)
    for day in weeks_that_matter(there, 2023):
        expected = list(occurrences_by_walking(expression, there, day, 4 * 1440))
        instant, found = day.timestamp(), []
        while (later := rule.after(instant)) is not None and later <= day.timestamp() + 4 * DAY:
            found.append(later)
            instant = later
        assert found == expected


DAY = 86400


def weeks_that_matter(zone: ZoneInfo, year: int) -> list[datetime]:
    """Two days before each change of the zone's offset in *year*, and one plain Monday."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(365)]
    changes = [
        day - timedelta(days=1)
        for day in days
        if day.astimezone(zone).utcoffset() != (day + timedelta(days=1)).astimezone(zone).utcoffset()
    ]
    return [datetime(year, 6, 26, tzinfo=UTC), *changes]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2037, 1, 1), timezones=st.just(UTC)),
)
def test_the_next_occurrence_from_any_instant_is_the_nearest(expression: str, zone: str, instant: datetime) -> None:
    """From an arbitrary instant, seconds and microseconds included, nothing nearer exists and the answer is real."""
    found = CronRule(expression, zone).after(instant.timestamp())
    assert found is not None
    minute = instant.replace(second=0, microsecond=0)
    span = min(int((found - minute.timestamp()) // 60), 3 * 1440)
    expected = list(occurrences_by_walking(expression, ZoneInfo(zone), minute, span))
    assert expected == ([found] if found <= minute.timestamp() + span * 60 else [])


def test_a_time_in_the_gap_runs_once_at_the_first_valid_instant() -> None:
    """Berlin, 26 March 2023: 02:30 does not exist, so that day it is 03:00; several such times are one run."""
    assert occurrences("30 2 * * *", "Europe/Berlin", "2023-03-25T12:00", "2023-03-27T12:00") == [
        "03-26T03:00+0200",
        "03-27T02:30+0200",
    ]
    assert occurrences("*/20 2,3 * * *", "Europe/Berlin", "2023-03-26T00:00", "2023-03-26T12:00") == [
        "03-26T03:00+0200",
        "03-26T03:20+0200",
        "03-26T03:40+0200",
    ]


def test_a_gap_at_midnight_does_not_lose_the_day() -> None:
    """Cairo, 28 April 2023: midnight does not exist."""
    assert occurrences("0 0 * * *", "Africa/Cairo", "2023-04-27T12:00", "2023-04-28T12:00") == ["04-28T01:00+0300"]


def test_a_time_in_the_fold_runs_once() -> None:
    """Berlin, 29 October 2023: the clock shows 02:30 twice, and the first time counts."""
    assert occurrences("30 2 * * *", "Europe/Berlin", "2023-10-28T12:00", "2023-10-30T12:00") == [
        "10-29T02:30+0200",
        "10-30T02:30+0100",
    ]


def test_every_hour_means_every_hour_that_passes() -> None:
    """An expression that takes every hour goes on through both hours of the fold, and over the gap."""
    assert occurrences("30 * * * *", "Europe/Berlin", "2023-10-29T01:00", "2023-10-29T03:00") == [
        "10-29T01:30+0200",
        "10-29T02:30+0200",
        "10-29T02:30+0100",
    ]
    assert occurrences("30 * * * *", "Europe/Berlin", "2023-03-26T01:00", "2023-03-26T04:00") == [
        "03-26T01:30+0100",
        "03-26T03:30+0200",
    ]


def test_a_gap_of_a_whole_day_is_no_loss() -> None:
    """Samoa had no 30 December 2011: what was due that day runs at the next midnight."""
    assert occurrences("0 9 30 12 *", "Pacific/Apia", "2011-12-28T00:00", "2011-12-31T12:00") == ["12-31T00:00+1400"]


class ReadsWallTimesAsOfLongAgo(tzinfo):
    """A zone as other libraries make them: right for instants, and with the local mean time for a wall time."""

    def __init__(self, name: str) -> None:
        self._zone = ZoneInfo(name)

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(minutes=53)

    def fromutc(self, dt: datetime) -> datetime:
        there = dt.replace(tzinfo=UTC).astimezone(self._zone)
        offset = there.utcoffset()
        assert offset is not None
        return there.replace(tzinfo=timezone(offset))


@pytest.mark.parametrize("name", ZONES)
def test_a_zone_is_only_asked_about_instants(name: str) -> None:
    """Whatever it makes of wall times: 9:00 in Berlin was 9:00 of the year 1892 there, and ran at 10:07."""
    for expression in EXPRESSIONS:
        one, other = CronRule(expression, name), CronRule(expression, ReadsWallTimesAsOfLongAgo(name))
        instant: float | None = epoch("2023-03-24", name)
        for _ in range(20):
            assert instant is not None
            assert other.after(instant) == one.after(instant)
            instant = one.after(instant)


def test_seconds_come_first_in_six_fields() -> None:
    """Every ten seconds, and a gap with a field for seconds."""
    rule = CronRule("*/10 * * * * *", "UTC")
    assert [rule.after(instant) for instant in (0, 9.99, 10, 55)] == [10, 10, 20, 60]
    rule = CronRule("5,30 59 23 * * *", "UTC")
    assert rule.after(0) == 86345
    assert rule.after(86345) == 86370
    assert rule.after(86370) == 86345 + DAY
    gap = CronRule("15 30 2 * * *", "Europe/Berlin")
    assert gap.after(epoch("2023-03-26T00:00", "Europe/Berlin")) == epoch("2023-03-26T03:00", "Europe/Berlin")


def test_rare_dates_are_found() -> None:
    """29 February skips 2100; a fifth Monday in February comes every 28 years."""
    leap = CronRule("0 0 29 2 *", "UTC")
    assert leap.after(epoch("2096-03-01")) == epoch("2104-02-29")
    fifth = CronRule("0 0 * 2 MON#5", "UTC")
    assert fifth.after(epoch("2020-01-01")) == epoch("2044-02-29")


def test_day_of_month_or_day_of_week() -> None:
    """Both restricted: either matches. One a star: the other decides. One a star with a step: both have to match."""
    assert occurrences("0 0 13 * 5", "UTC", "2023-10-10T00:00", "2023-10-21T00:00") == [
        "10-13T00:00+0000",
        "10-20T00:00+0000",
    ]
    assert occurrences("0 0 13 * *", "UTC", "2023-10-10T00:00", "2023-12-01T00:00") == [
        "10-13T00:00+0000",
        "11-13T00:00+0000",
    ]
    assert occurrences("0 0 */2 * 5", "UTC", "2023-10-01T00:00", "2023-11-01T00:00") == [
        "10-13T00:00+0000",
        "10-27T00:00+0000",
    ]


@pytest.mark.parametrize("never", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 4 *"])
def test_dates_that_do_not_exist_are_refused(never: str) -> None:
    """An expression that names no date is an error when it is read, and never an endless search."""
    with pytest.raises(ValueError, match="cron expression"):
        CronRule(never, "UTC")


@pytest.mark.parametrize(
    "wrong", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *"]
)
def test_what_cannot_be_read_is_refused(wrong: str) -> None:
    """Too few fields, numbers out of range, ranges backwards, a step of nothing."""
    with pytest.raises(ValueError, match="cannot be read"):
        CronRule(wrong, "UTC")


def test_wrong_types_and_unknown_zones_are_refused() -> None:
    """The error says what would do."""
    with pytest.raises(TypeError, match="is text such as"):
        CronRule(5, "UTC")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name such as"):
        CronRule("* * * * *", 5)  # type: ignore[arg-type]
    for unknown in ("Europe/Atlantis", "../etc/passwd", ""):
        with pytest.raises(ValueError, match=r"is not known; .* tzdata"):
            CronRule("* * * * *", unknown)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cronsim one line says what to install."""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(ImportError, match=r"pip install asyncio-lifecycle\[scheduler\]"):
        CronRule("* * * * *", "UTC")


def test_an_old_instant_and_the_end_of_the_calendar() -> None:
    """Before 1970 all is well; after the year 9999 there is nothing."""
    rule = CronRule("0 12 * * *", "Europe/Berlin")
    assert rule.after(epoch("1960-06-01", "Europe/Berlin")) == epoch("1960-06-01T12:00", "Europe/Berlin")
    assert rule.after(epoch("9999-12-31T18:00", "Europe/Berlin")) is None


@given(st.sampled_from(EXPRESSIONS[:7]), st.sampled_from(ZONES[:3]), st.integers(0, 40_000), st.integers(0, 3000))
@settings(max_examples=60, deadline=None)
def test_a_cron_grid_counts_as_it_walks(expression: str, zone: str, minute: int, span: int) -> None:
    """count and newest are what stepping finds."""
    begin = epoch("2023-03-01") + minute * 60
    grid = CronRule(expression, zone)
    end = begin + span * 60
    found, instant = [], grid.after(begin)
    while instant is not None and instant <= end:
        found.append(instant)
        instant = grid.after(instant)
    assert grid.count(begin, end) == len(found)
    if found:
        assert grid.newest(end) == found[-1]


def test_counting_has_a_bound() -> None:
    """A year of missed minutes is not walked through one by one."""
    grid = CronRule("* * * * *", "UTC")
    assert grid.count(0.0, 365.0 * DAY) == 10_000
