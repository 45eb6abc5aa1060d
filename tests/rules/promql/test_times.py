"""Parts of dates, compared with the standard library's calendar."""

import calendar
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.rules.promql.times import DATE_FUNCTIONS, date_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)))
def test_parts(moment):
    """Each part is that of the calendar, before the epoch too."""
    moment = moment.replace(microsecond=0)
    expected = {
        "day_of_month": moment.day,
        "day_of_week": (moment.weekday() + 1) % 7,
        "day_of_year": moment.timetuple().tm_yday,
        "days_in_month": calendar.monthrange(moment.year, moment.month)[1],
        "hour": moment.hour,
        "minute": moment.minute,
        "month": moment.month,
        "year": moment.year,
    }
    seconds = (moment - EPOCH) // timedelta(seconds=1)
    assert expected == {name: part(seconds) for name, part in DATE_FUNCTIONS.items()}


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf])
def test_no_date(at):
    """What is no moment has no parts."""
    assert all(math.isnan(part(at)) for part in DATE_FUNCTIONS.values())


def test_years_beyond_the_library():
    """Every 400 years are alike."""
    assert (date_of(0).month, date_of(0).day) == (date_of(146_097 * 100).month, date_of(146_097 * 100).day)
    assert date_of(146_097 * 100).year == 41970
