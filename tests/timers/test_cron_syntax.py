"""The dialect of cron expressions: nicknames, days that move, names, and what is said of the rest."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.types import CronRule


def days(expression: str, year: int = 2026, month: int = 1, months: int = 24) -> list[date]:
    """Return the days that an expression names in some months."""
    rule, found = CronRule(f"0 0 {expression}", "UTC"), []
    instant = datetime(year, month, 1, tzinfo=UTC).timestamp() - 1
    end = datetime(year + (month + months - 1) // 12, (month + months - 1) % 12 + 1, 1, tzinfo=UTC).timestamp()
    while (later := rule.after(instant)) is not None and later < end:
        found.append(datetime.fromtimestamp(later, UTC).date())
        instant = later
    return found


@pytest.mark.parametrize(
    ("nickname", "expression"),
    [
        ("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@midnight", "0 0 * * *"), ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"), ("@yearly", "0 0 1 1 *"), (" @Annually ", "0 0 1 1 *"),
    ],
)  # fmt: skip
def test_a_nickname_stands_for_an_expression(nickname: str, expression: str) -> None:
    """In any spelling of its letters."""
    one, other = CronRule(nickname, "Europe/Berlin"), CronRule(expression, "Europe/Berlin")
    at = 1_790_000_000.0
    for _ in range(5):
        assert one.after(at) == other.after(at)
        at = one.after(at) or 0.0


@given(st.integers(1970, 2100), st.integers(1, 12), st.integers(1, 30))
def test_days_before_the_last(year: int, month: int, before: int) -> None:
    """Not in a month that is too short."""
    last = date(year, month, monthrange(year, month)[1])
    wanted = last - timedelta(before)
    assert days(f"L-{before} * *", year, month, 1) == [wanted] * (wanted.month == month)


@given(st.integers(1970, 2100), st.integers(1, 12), st.integers(1, 31))
def test_the_nearest_weekday(year: int, month: int, day: int) -> None:
    """Of the weekdays of the month the nearest; not in a month without that day."""
    length = monthrange(year, month)[1]
    weekdays = [number for number in range(1, length + 1) if date(year, month, number).weekday() < 5]
    nearest = min(weekdays, key=lambda number: abs(number - day))
    assert days(f"{day}W * *", year, month, 1) == [date(year, month, nearest)] * (day <= length)


def test_days_that_move_go_with_others_and_with_days_of_the_week() -> None:
    """Either may match, as ever."""
    assert days("L-3,15W,1 * *", months=2) == [
        date(2026, *day) for day in [(1, 1), (1, 15), (1, 28), (2, 1), (2, 16), (2, 25)]
    ]
    both = days("15w * MON", months=1)
    assert both == [date(2026, 1, day) for day in (5, 12, 15, 19, 26)]


@pytest.mark.parametrize(
    ("field", "same"),
    [
        ("* MON-FRI", "* 1-5"), ("* mon-sun", "* *"), ("* FRI-SUN", "* 5,6,0"), ("* SUN-TUE", "* 0-2"), ("* 7", "* 0"),
        ("JAN-MAR *", "1-3 *"), ("jan,DEC *", "1,12 *"), ("* SUN", "* 0"), ("* MON-SUN/2", "* 1,3,5,0"),
    ],
)  # fmt: skip
def test_names_and_numbers_say_the_same(field: str, same: str) -> None:
    """Sunday is 0 and 7, and a week may end with it."""
    assert days(f"* {field}", months=12) == days(f"* {same}", months=12)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("@reboot", "'@reboot' names no time; do it once when the program starts"),
        ("@every 5m", "'@every' names no time of the clock; use a fixed rate"),
        ("@dayly", "unknown nickname; there are @yearly"),
        (
            "* * * *",
            "expected 5 fields (minute, hour, day of month, month, day of week), or 6 with seconds in front, got 4",
        ),
        ("* * * * * * 2027", "got 7; there is none for years"),
        ("61 * * * *", "minute '61': expected 0 to 59"),
        ("0 24 * * *", "hour '24': expected 0 to 23"),
        ("99 0 0 * * *", "second '99': expected 0 to 59"),
        ("0 0 * FOO *", "month 'FOO': expected 1 to 12 or JAN to DEC"),
        ("0 0 * * MONDAY", "day of week 'MONDAY': expected 0 to 7 or SUN to SAT"),
        ("1,,2 * * * *", "minute '': a comma with nothing beside it"),
        ("1,2,x * * * *", "minute 'X': expected 0 to 59"),
        ("*/0 * * * *", "minute '*/0': expected a step of 1 or more after '/'"),
        ("0 22-3 * * *", "hour '22-3': a range that runs backwards; write 22-23,0-3"),
        ("0 0 * * FRI-MON", "day of week 'FRI-MON': a range that runs backwards; write FRI-SAT,SUN-MON"),
        ("0 0 * * 5-1", "write 5-6,0-1"),
        ("0 0 * * 7-MON", "day of week '7-MON': a range that runs backwards; write 0-MON"),
        ("0 22-3/2 * * *", "write 22,0,2"),
        ("0 0 * NOV-MAR/2 *", "write 11,1,3"),
        ("0 0 29-L * *", "day of month '29-L': a range ends with a number; write 29-31"),
        ("0 0 1-L/8 * *", "write 1-31/8"),
        ("-5 * * * *", "minute '-5': expected 0 to 59"),
        ("0 0 L-0 * *", "day of month 'L-0': expected L, LW, or L-1 to L-30"),
        ("0 0 1-5W * *", "day of month '1-5W': expected one day before 'W', as in 15W, or LW"),
        ("0 0 ? * MON", "day of month '?': is of another dialect; write '*'"),
        ("L * * * *", "minute 'L': 'L' is for days"),
        ("0 0 1#2 * *", "day of month '1#2': '#' is for days of the week"),
        ("0 0 * * MON#6", "day of week 'MON#6': expected a day and 1 to 5, as in MON#2"),
        ("0 0 * * FRIL", "day of week 'FRIL': expected a number before 'L', as in 5L"),
        ("0 0 30 2 *", "day of month '30': no month that it names is so long"),
    ],
)
def test_what_is_refused_says_which_part_and_why(expression: str, why: str) -> None:
    """With the whole expression, as it was given."""
    with pytest.raises(ValueError, match="cron expression") as caught:
        CronRule(expression, "UTC")
    assert f"cron expression {expression!r} cannot be read: " in str(caught.value)
    assert why in str(caught.value)


@given(st.sampled_from([59, 59, 23, 31, 12, 7]), st.integers(0, 59), st.integers(0, 59), st.sampled_from(["", "/2"]))
def test_what_a_refusal_says_to_write_can_be_read(most: int, first: int, last: int, step: str) -> None:
    """A range of whichever field; and it begins where the range was to begin."""
    place = {59: 1, 23: 2, 31: 3, 12: 4, 7: 5}[most]
    fields = ["0", "0", "0", "*", "*", "*"]
    fields[place] = f"{min(first, most)}-{min(last, most)}{step}"
    refusal = ""
    try:
        CronRule(" ".join(fields), "UTC")
    except ValueError as error:
        refusal = str(error)
    _, found, other = refusal.partition("; write ")
    if found:
        fields[place] = other
        assert CronRule(" ".join(fields), "UTC").after(0.0) is not None
        assert other.startswith((str(min(first, most)), "0"))


def test_a_day_that_no_month_has_is_refused() -> None:
    """What moves is looked for in the calendar."""
    with pytest.raises(ValueError, match="names a date that does not exist"):
        CronRule("0 0 31W 2 *", "UTC")


@given(st.text("0123456789*/,-LW#?@ JANMOSUFRI", max_size=20))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    """And never in another way."""
    refusal = ""
    try:
        assert CronRule(text, "UTC").after(0.0) is not None
    except ValueError as error:
        refusal = str(error)
    assert not refusal or repr(text) in refusal
