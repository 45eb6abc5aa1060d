"""A model's price as `prices.table` told it, and what a call costs by it.

Promise: what genai-prices' `calc_price` gives for the same counts at the same time, rounded to a float once. None where
that refuses the counts: parts larger than their whole, or a part of which only the other parts are told.

Cost: 0.4 us for a call with input and output tokens, 0.4 us more where some are cached or reasoning; 3 KB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

INPUT: Final = "input_tokens"
OUTPUT: Final = "output_tokens"
DAY: Final = 86_400.0
_PARTS: Final = (
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_cache_read_tokens",
    "audio_output_tokens",
)
_SOME_PARTS: Final = frozenset(_PARTS)
_AUDIO: Final = frozenset(part for part in _PARTS if part.startswith("audio"))
_ALWAYS: Final = (float("-inf"), float("inf"))

Measures = Mapping[str, Any]


class Rate(NamedTuple):
    """Holds where more than `above` tokens were read; `parts` has each of `_PARTS` with its weight."""

    above: float
    fixed: float
    input: float
    output: float
    parts: tuple[tuple[str, float], ...]


class Period(NamedTuple):
    """Rates that hold from `since` on, and every day from `daily[0]` to `daily[1]` seconds after UTC's midnight."""

    since: float
    daily: tuple[float, float] | None
    rates: tuple[Rate, ...]
    leaves: tuple[tuple[tuple[str, float], ...], ...]
    unsaid: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]

    def holds(self, second_of_day: float, when: float) -> bool:
        if self.daily is None:
            return when >= self.since
        start, end = self.daily
        if end < start:
            return second_of_day >= start or second_of_day < end
        return start <= second_of_day < end


class Tariff:
    """The price of one model, whenever it is called."""

    __slots__ = ("_begin", "_divisor", "_end", "_now", "_periods", "_turns")

    def __init__(self, told: Mapping[str, Any]) -> None:
        """*told* is a tariff of `prices.table`. Raises LookupError, TypeError or ValueError for anything else."""
        self._divisor = float(told["divisor"])
        self._periods = tuple(_period(each) for each in told["periods"])
        self._turns = sorted({turn for each in self._periods for turn in each.daily or ()} | {0.0, DAY})
        self._now = self._periods[0]
        self._begin, self._end = _ALWAYS if len(self._periods) == 1 else (0.0, 0.0)

    def cost(self, measures: Measures, when: float) -> float | None:
        """US dollars for a call that began at *when* (Unix seconds) and has at least one of the two token counts."""
        if not self._begin <= when < self._end:
            self._turn_to(when)
        period = self._now
        get = measures.get
        read = get(INPUT, 0.0)
        rate = period.rates[0]
        if len(period.rates) > 1:
            for each in period.rates:
                if read > each.above:
                    rate = each
        total: float = rate.fixed + rate.input * read + rate.output * get(OUTPUT, 0.0)
        if not _SOME_PARTS.isdisjoint(measures):
            if not (_is_plain(measures) or _is_sound(period, measures)):
                return None
            for part, weight in rate.parts:
                count = get(part)
                if count:
                    total += weight * count
        return total / self._divisor

    def _turn_to(self, when: float) -> None:
        """Make the period of *when* the present one, until the next moment at which another may be."""
        second = when % DAY
        midnight = when - second
        self._begin = max(
            [self._begin_of_day(midnight, second), *(each.since for each in self._periods if each.since <= when)]
        )
        self._end = min(
            [self._end_of_day(midnight, second), *(each.since for each in self._periods if each.since > when)]
        )
        active = [each for each in self._periods if each.holds(second, when)]
        self._now = active[-1] if active else self._periods[0]

    def _begin_of_day(self, midnight: float, second: float) -> float:
        return midnight + max(turn for turn in self._turns if turn <= second)

    def _end_of_day(self, midnight: float, second: float) -> float:
        return midnight + min(turn for turn in self._turns if turn > second)


def _is_plain(measures: Measures) -> bool:
    """Whether there is no audio, and no part can be larger than its whole: then every price takes the counts."""
    get = measures.get
    return (
        _AUDIO.isdisjoint(measures)
        and get("cache_read_tokens", 0.0) + get("cache_write_tokens", 0.0) <= get(INPUT, 0.0)
        and get("reasoning_tokens", 0.0) <= get(OUTPUT, 0.0)
    )


def _is_sound(period: Period, measures: Measures) -> bool:
    get = measures.get
    for field, groups in period.unsaid:
        if field not in measures and any(all(map(get, group)) for group in groups):
            return False
    for leaf in period.leaves:
        left = 0.0
        for field, factor in leaf:
            left += factor * get(field, 0.0)
        if left < 0:
            return False
    return True


def _period(told: Mapping[str, Any]) -> Period:
    daily = told.get("daily")
    return Period(
        since=float(told.get("since", "-inf")),
        daily=(float(daily[0]), float(daily[1])) if daily else None,
        rates=tuple(_rate(each) for each in told["rates"]),
        leaves=tuple(tuple((field, float(factor)) for field, factor in leaf.items()) for leaf in told["leaves"]),
        unsaid=tuple((field or "", _groups(groups)) for field, groups in told["unsaid"]),
    )


def _groups(told: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(group) for group in told)


def _rate(told: Mapping[str, Any]) -> Rate:
    weight = told["weights"].get
    parts = tuple((part, float(weight(part, 0))) for part in _PARTS)
    return Rate(float(told["above"]), float(told["fixed"]), float(weight(INPUT, 0)), float(weight(OUTPUT, 0)), parts)
