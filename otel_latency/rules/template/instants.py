"""Go's time.Time and time.Duration as far as templates meet them: what they print and the methods they offer.

`Instant` is what `toTime` gives: a UTC time of whole milliseconds. `Duration` is what `toDuration` gives: whole
nanoseconds. Both come without the rest of Go's methods; an unknown one is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = 1 << 63

_LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|-07:00|-0700|-07|Z07:00|Z0700|002|01|02|03|04|05|06|15|PM|pm|_2006|_2|1|2|3|4|5"
    r"|[.,](?:0+|9+)(?!\d)"
)
_ENGLISH_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ENGLISH_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


class Month(int):
    """1 for January; prints as its name."""

    def __str__(self) -> str:
        return _ENGLISH_MONTHS[self - 1]


class Weekday(int):
    """0 for Sunday; prints as its name."""

    def __str__(self) -> str:
        return _ENGLISH_DAYS[self]


@dataclass(frozen=True, slots=True)
class Instant:
    """Milliseconds since the Unix epoch."""

    milliseconds: int

    @classmethod
    def at(cls, seconds: float) -> Instant:
        """Raises OverflowError where the nanoseconds do not fit Go's int64."""
        nanoseconds = seconds * 1e9
        if abs(nanoseconds) > _INT64:
            raise OverflowError
        # Beyond the last exact float Go's conversion wraps to the smallest int64.
        exact = int(nanoseconds) if nanoseconds < _INT64 else -_INT64
        return cls(exact // 1_000_000 if exact >= 0 else -(-exact // 1_000_000))

    @property
    def date(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.milliseconds)

    def __str__(self) -> str:
        return self.format("2006-01-02 15:04:05.999999999 -0700 MST")

    def format(self, layout: str) -> str:
        """Go's layouts: the reference time Mon Jan 2 15:04:05 MST 2006 written the way the answer should look."""
        date = self.date
        return _LAYOUT.sub(lambda match: _chunk(date, match[0]), layout)


def _chunk(date: datetime, layout: str) -> str:
    if layout[0] in ".,":
        digits = f"{date.microsecond:06d}000"[: len(layout) - 1]
        kept = digits if layout[1] == "0" else digits.rstrip("0")
        return layout[0] + kept if kept else ""
    return _CHUNKS[layout](date)


_CHUNKS: dict[str, Callable[[datetime], str]] = {
    "January": lambda date: _ENGLISH_MONTHS[date.month - 1],
    "Jan": lambda date: _ENGLISH_MONTHS[date.month - 1][:3],
    "Monday": lambda date: _ENGLISH_DAYS[date.isoweekday() % 7],
    "Mon": lambda date: _ENGLISH_DAYS[date.isoweekday() % 7][:3],
    "MST": lambda _: "UTC",
    "2006": lambda date: f"{date.year:04d}",
    "_2006": lambda date: f"_{date.year:04d}",
    "06": lambda date: f"{date.year % 100:02d}",
    "01": lambda date: f"{date.month:02d}",
    "1": lambda date: str(date.month),
    "02": lambda date: f"{date.day:02d}",
    "_2": lambda date: f"{date.day:2d}",
    "2": lambda date: str(date.day),
    "002": lambda date: f"{date.timetuple().tm_yday:03d}",
    "15": lambda date: f"{date.hour:02d}",
    "03": lambda date: f"{date.hour % 12 or 12:02d}",
    "3": lambda date: str(date.hour % 12 or 12),
    "04": lambda date: f"{date.minute:02d}",
    "4": lambda date: str(date.minute),
    "05": lambda date: f"{date.second:02d}",
    "5": lambda date: str(date.second),
    "PM": lambda date: "PM" if date.hour >= 12 else "AM",
    "pm": lambda date: "pm" if date.hour >= 12 else "am",
    "-07:00": lambda _: "+00:00",
    "-0700": lambda _: "+0000",
    "-07": lambda _: "+00",
    "Z07:00": lambda _: "Z",
    "Z0700": lambda _: "Z",
}


@dataclass(frozen=True, slots=True)
class Duration:
    """Whole nanoseconds."""

    nanoseconds: int

    @classmethod
    def of(cls, seconds: float) -> Duration:
        nanoseconds = seconds * 1e9
        fits = -_INT64 <= nanoseconds < _INT64
        return cls(int(nanoseconds) if fits else -_INT64)

    @property
    def seconds(self) -> float:
        whole, rest = divmod(abs(self.nanoseconds), 1_000_000_000)
        return (whole + rest / 1e9) * (-1 if self.nanoseconds < 0 else 1)

    def __str__(self) -> str:
        sign, size = ("-" if self.nanoseconds < 0 else ""), abs(self.nanoseconds)
        if size == 0:
            return "0s"
        if size < 1_000_000_000:
            unit, name = next((unit, name) for unit, name in _UNITS if size >= unit)
            return f"{sign}{_fraction(size, unit)}{name}"
        minutes, rest = divmod(size, 60_000_000_000)
        text = _fraction(rest, 1_000_000_000) + "s"
        if minutes:
            text = f"{minutes % 60}m{text}"
        return f"{sign}{minutes // 60}h{text}" if minutes >= 60 else sign + text


_UNITS = ((1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


def _fraction(size: int, unit: int) -> str:
    whole, rest = divmod(size, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


Method = tuple[tuple[str, ...], Callable[..., Any]]

# Go's names and parameter types.
INSTANT_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "Format": (("string",), Instant.format),
        "String": ((), Instant.__str__),
        "UTC": ((), lambda instant: instant),
        "Year": ((), lambda instant: instant.date.year),
        "Month": ((), lambda instant: Month(instant.date.month)),
        "Day": ((), lambda instant: instant.date.day),
        "Weekday": ((), lambda instant: Weekday(instant.date.isoweekday() % 7)),
        "YearDay": ((), lambda instant: instant.date.timetuple().tm_yday),
        "Hour": ((), lambda instant: instant.date.hour),
        "Minute": ((), lambda instant: instant.date.minute),
        "Second": ((), lambda instant: instant.date.second),
        "Unix": ((), lambda instant: instant.milliseconds // 1000),
        "UnixMilli": ((), lambda instant: instant.milliseconds),
        "UnixNano": ((), lambda instant: instant.milliseconds * 1_000_000),
    }
)
DURATION_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "String": ((), Duration.__str__),
        "Hours": ((), lambda duration: duration.seconds / 3600),
        "Minutes": ((), lambda duration: duration.seconds / 60),
        "Seconds": ((), lambda duration: duration.seconds),
        "Milliseconds": ((), lambda duration: _towards_zero(duration.nanoseconds, 1_000_000)),
        "Microseconds": ((), lambda duration: _towards_zero(duration.nanoseconds, 1_000)),
        "Nanoseconds": ((), lambda duration: duration.nanoseconds),
    }
)


def _towards_zero(number: int, unit: int) -> int:
    return number // unit if number >= 0 else -(-number // unit)
