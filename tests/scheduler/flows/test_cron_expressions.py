"""A hundred cron expressions as people write them, against two independent implementations, clock changes included."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import croniter
import cronsim
import pytest

from benchmarks._cron_oracle import occurrences as by_walking
from lifecycle.types import CronRule

EXPRESSIONS = (
    """
* * * * *|*/2 * * * *|*/5 * * * *|*/10 * * * *|*/15 * * * *|*/20 * * * *|*/30 * * * *
0 * * * *|17 * * * *|5,35 * * * *|0-10 * * * *|3-59/15 * * * *|1-59/2 * * * *|0,15,30,45 * * * *
0 */2 * * *|0 */3 * * *|0 */4 * * *|0 */6 * * *|0 */8 * * *|0 */12 * * *|30 */2 * * *|15 1-23/2 * * *
0 0 * * *|5 0 * * *|30 0 * * *|0 1 * * *|30 1 * * *|0 2 * * *|15 2 * * *|30 2 * * *|45 2 * * *|0 3 * * *|10 3 * * *
25 6 * * *|0 6 * * *|0 8 * * *|0 9 * * *|0 12 * * *|30 17 * * *|0 18 * * *|59 23 * * *|55 23 * * *
0 0,12 * * *|0 6,18 * * *|0 9,13,17 * * *|0 0-5 * * *|30 8-17 * * *|0 9-17 * * *|*/10 9-16 * * *|*/5 8-18 * * *
0 0 * * 0|0 0 * * 7|47 6 * * 7|0 0 * * 1|0 2 * * 6|0 3 * * 0|30 3 * * 1|0 4 * * SUN|0 22 * * 1-5|0 9 * * 1-5
0 8 * * MON-FRI|*/15 9-17 * * 1-5|30 9 * * 1,3,5|0 10 * * 2,4|0 0 * * 6,0|0 20 * * 5|5 4 * * sun|15 14 * * wed
0 0 1 * *|52 6 1 * *|0 3 1 * *|30 4 1,15 * *|0 0 15 * *|0 2 1-7 * *|0 0 28 * *|0 0 29 * *|0 0 30 * *|0 0 31 * *
0 12 */2 * *|0 0 */3 * *|0 6 10-20/5 * *|0 0 L * *
0 0 1 1 *|0 0 25 12 *|0 0 29 2 *|0 0 1 */3 *|0 0 1 1,4,7,10 *|0 0 1 JAN *|0 5 1 jan,jul *|30 2 * 3,10 0|0 7 * 6-8 *
0 0 1 * 1|0 0 13 * 5|30 4 1,15 * 5|0 0 1-7 * 1|0 22 * 11 1-5
23 0-20/2 * * *|5 4 * * 0|0 0 1,15 * 3|*/5 1-4 * * *|0,30 2 * * *|10 2 * * 0|20 1,2,3 * * *
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]

#: The days before the clocks change in one of the zones, in 2023.
EVES = [(3, 11), (3, 25), (4, 1), (9, 2), (9, 30), (10, 28), (11, 4)]

#: Here cronsim takes a step (``*/2``) for "as time passes", as Debian's cron does; we look at what it names: hours that
#: are not all hours are times of day, each of which happens once a day.
STEPS = {expression for expression in EXPRESSIONS if "*/" in " ".join(expression.split()[:2])} - {
    expression for expression in EXPRESSIONS if expression.split()[1] == "*"
}


def test_there_are_a_hundred() -> None:
    """And each once."""
    assert len(EXPRESSIONS) >= 100
    assert len(set(EXPRESSIONS)) == len(EXPRESSIONS)


def occurrences(rule: CronRule, begin: float, end: float) -> list[float]:
    """Return what a rule names in ``(begin, end]``."""
    found: list[float] = []
    while (later := rule.after(found[-1] if found else begin)) is not None and later <= end:
        found.append(later)
    return found


def by_cronsim_until(expression: str, begin: datetime, end: float) -> list[float]:
    """Return what cronsim names in ``(begin, end]``."""
    instants = (instant.timestamp() for instant in cronsim.CronSim(expression, begin))
    return list(itertools.takewhile(lambda instant: instant <= end, instants))


def eves(zone: str) -> list[datetime]:
    """Return the beginning of each day in 2023 after which the clocks of a zone change within two."""
    begins = [datetime(2023, month, day, tzinfo=ZoneInfo(zone)) for month, day in EVES]
    changing = [begin for begin in begins if begin.utcoffset() != (begin + timedelta(days=2)).utcoffset()]
    assert len(changing) == 2
    return changing


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_next_sixty_agree_with_croniter_and_cronsim(expression: str) -> None:
    """In UTC, where nothing is to be decided."""
    begin = datetime(2023, 1, 1, tzinfo=UTC)
    by_croniter = croniter.croniter(expression, begin)
    expected = [by_croniter.get_next(float) for _ in range(60)]
    by_cronsim = cronsim.CronSim(expression, begin)
    assert [next(by_cronsim).timestamp() for _ in range(60)] == expected
    assert occurrences(CronRule(expression, "UTC"), begin.timestamp(), expected[-1]) == expected


@pytest.mark.parametrize("zone", ZONES)
def test_clock_changes_agree_with_cronsim(zone: str) -> None:
    """Two days around each change, for every expression that has no step in its times of day."""
    for expression in sorted(set(EXPRESSIONS) - STEPS):
        rule = CronRule(expression, zone)
        for begin in eves(zone):
            end = begin.timestamp() + 2 * 86_400
            expected = by_cronsim_until(expression, begin, end)
            assert occurrences(rule, begin.timestamp(), end) == expected, (expression, begin)


@pytest.mark.parametrize("zone", ZONES)
def test_clock_changes_agree_with_walking_minute_by_minute(zone: str) -> None:
    """The expressions with a step in their times of day, against an implementation that walks through the days."""
    for expression in sorted(STEPS):
        rule = CronRule(expression, zone)
        for begin in eves(zone):
            expected = list(by_walking(expression, ZoneInfo(zone), begin.astimezone(UTC), 2 * 1_440))
            found = occurrences(rule, begin.timestamp(), begin.timestamp() + 2 * 86_400)
            assert found == expected, (expression, begin)


def test_the_difference_is_what_it_is_said_to_be() -> None:
    """Berlin in spring: what is due in the hour that does not exist runs after it, and cronsim leaves it out."""
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime(2023, 3, 26, 0, 30, tzinfo=zone)
    rule = CronRule("0 */2 * * *", "Europe/Berlin")
    found = occurrences(rule, begin.timestamp(), begin.timestamp() + 4 * 3_600)
    by_cronsim = cronsim.CronSim("0 */2 * * *", begin)
    assert [datetime.fromtimestamp(at, zone).hour for at in found] == [3, 4]
    assert next(by_cronsim).hour == 4
