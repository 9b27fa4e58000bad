"""A one-minute cron over the clock changes of two zones in virtual time, every occurrence checked; shorter than the
benchmark's ten years."""

from datetime import datetime

import pytest

from benchmarks._cron_oracle import utc
from benchmarks.timers_soak import EXPRESSIONS, MORE_EXPRESSIONS, soak

DAY = 1440
CHANGES = [
    ("Europe/Berlin", utc(2023, 3, 25)),
    ("Europe/Berlin", utc(2023, 10, 28)),
    ("America/New_York", utc(2024, 3, 9)),
    ("America/New_York", utc(2024, 11, 2)),
]


@pytest.mark.parametrize(("zone", "begin"), CHANGES)
def test_four_days_around_a_change_of_the_clock(zone: str, begin: datetime) -> None:
    """Real timers run exactly when the walk over the minutes of UTC says, and leave nothing."""
    found = soak(zone, begin, 4 * DAY, EXPRESSIONS + MORE_EXPRESSIONS)
    assert found.wrong == []
    assert found.fired["* * * * *"] == 4 * DAY
    assert found.fired["30 2 * * *"] == 4


def test_a_wrong_timer_would_be_noticed() -> None:
    """The comparison can fail: a timer in one zone against the oracle of another."""
    found = soak("Europe/Berlin", utc(2023, 3, 25), 4 * DAY, ["30 2 * * *"], oracle_zone="America/New_York")
    assert "expected" in found.wrong[0]


@pytest.mark.nightly
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_a_year_of_a_one_minute_cron(zone: str) -> None:
    """The same over a whole year."""
    found = soak(zone, utc(2023), 365 * DAY, EXPRESSIONS)
    assert found.wrong == []
    assert found.fired == {"* * * * *": 365 * DAY, "30 2 * * *": 365}
