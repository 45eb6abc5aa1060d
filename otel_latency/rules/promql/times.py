"""Parts of a date, UTC, of a number of seconds since the epoch, for any year: the proleptic Gregorian calendar."""

from __future__ import annotations

import math
from calendar import isleap
from collections.abc import Callable, Mapping
from typing import NamedTuple

_DAY = 86_400
_CYCLE_DAYS = 146_097  # of 400 years
_EPOCH_TO_MARCH_0 = 719_468  # days from 0000-03-01, where leap days end years, to the epoch
_DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)


class Date(NamedTuple):
    year: int
    month: int
    day: int


def date_of(days: int) -> Date:
    """The date that lies *days* after the epoch."""
    cycle, day_of_cycle = divmod(days + _EPOCH_TO_MARCH_0, _CYCLE_DAYS)
    year_of_cycle = (day_of_cycle - day_of_cycle // 1460 + day_of_cycle // 36_524 - day_of_cycle // 146_096) // 365
    day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle // 4 - year_of_cycle // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    month = (month_from_march + 2) % 12 + 1
    year = cycle * 400 + year_of_cycle + (month <= 2)
    return Date(year, month, day_of_year - (153 * month_from_march + 2) // 5 + 1)


def _day_of_year(date: Date) -> int:
    return _DAYS_BEFORE[date.month - 1] + (date.month > 2 and isleap(date.year)) + date.day


def _days_in_month(date: Date) -> int:
    return _DAYS_BEFORE[date.month] - _DAYS_BEFORE[date.month - 1] + (date.month == 2 and isleap(date.year))


def _of_seconds(part: Callable[[int], int]) -> Callable[[float], float]:
    return lambda at: float(part(int(at))) if math.isfinite(at) else math.nan


def _of_date(part: Callable[[Date], int]) -> Callable[[float], float]:
    return _of_seconds(lambda seconds: part(date_of(seconds // _DAY)))


DATE_FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "day_of_month": _of_date(lambda date: date.day),
    "day_of_week": _of_seconds(lambda seconds: (seconds // _DAY + 4) % 7),  # the epoch was a Thursday
    "day_of_year": _of_date(_day_of_year),
    "days_in_month": _of_date(_days_in_month),
    "hour": _of_seconds(lambda seconds: seconds % _DAY // 3600),
    "minute": _of_seconds(lambda seconds: seconds % 3600 // 60),
    "month": _of_date(lambda date: date.month),
    "year": _of_date(lambda date: date.year),
}
