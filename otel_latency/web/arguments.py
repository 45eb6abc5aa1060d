"""Arguments of an address, read strictly: what nobody knows, or what cannot be meant, is told with what can be.

    arguments = Arguments(request.query, ("series", "from", "to", "step"), now)
    arguments.time("from", -3600.0)

Times are Unix seconds, RFC 3339, `now` or an age such as `-1h`; durations are written as in the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from math import isfinite
from typing import Final

from otel_latency.config.values import Duration

LATEST: Final = 1e11
"""Unix seconds of the year 5138; a larger number counts milliseconds."""
_SHOWN: Final = 60


class Arguments:
    """Those of one request; *now* is Unix seconds. Everything raises ValueError with place, fact and cure."""

    def __init__(self, given: Mapping[str, str], known: Sequence[str], now: float) -> None:
        self._given = given
        self._now = now
        seen = set()
        for name, _ in given.items():  # noqa: PERF102 - of a MultiDict, keys are told once
            if name not in known:
                choice = f"choose {', '.join(known)}" if known else "it takes no arguments"
                raise ValueError(f"{_quoted(name)} is nothing this path knows: {choice}")
            if name in seen:
                raise ValueError(f"{name}: it is given twice: keep one")
            seen.add(name)

    def text(self, name: str, default: str = "") -> str:
        """As it stands."""
        return self._given.get(name, "").strip() or default

    def needed(self, name: str, example: str) -> str:
        """The same, where there has to be one."""
        text = self.text(name)
        if not text:
            raise ValueError(f"{name}: it is missing: write {name}={example}")
        return text

    def texts(self, names: Sequence[str]) -> dict[str, str]:
        """Those of *names* that are given."""
        return {name: text for name in names if (text := self.text(name))}

    def one_of(self, name: str, default: str, known: Sequence[str]) -> str:
        """One of *known*."""
        return _known(name, self.text(name, default), known)

    def some_of(self, name: str, default: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
        """Some of *known*, with commas between them, each once."""
        chosen = dict.fromkeys(part.strip() for part in self.text(name, ",".join(default)).split(","))
        return tuple(_known(name, one, known) for one in chosen)

    def limit(self, default: int, most: int) -> int:
        """`limit`, one or more; taken for *most* where it is more."""
        text = self.text("limit")
        if not text:
            return default
        if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
            raise ValueError(f"limit: {_quoted(text)} is not a whole number: write 1 to {most}")
        if int(text) < 1:
            raise ValueError(f"limit: {_quoted(text)} is less than 1: write 1 to {most}")
        return min(int(text), most)

    def number(self, name: str) -> float | None:
        """Zero or more."""
        text = self.text(name)
        if not text:
            return None
        number = _number(text)
        if number is None or number < 0:
            raise ValueError(f"{name}: {_quoted(text)} is not a number of 0 or more")
        return number

    def duration(self, name: str) -> float | None:
        """More than nothing, in seconds."""
        text = self.text(name)
        if not text:
            return None
        seconds = _number(text)
        if seconds is None:
            with suppress(ValueError):
                seconds = Duration.parse(text)
        if seconds is None or seconds <= 0:
            raise ValueError(f"{name}: {_quoted(text)} is not a duration: write 10s, 5m, 1h or a number of seconds")
        return float(seconds)

    def period(self, default: float | None) -> tuple[float, float]:
        """`from` and `to`, in Unix seconds; by default the last *default* seconds, or all there is where it is None."""
        until = self._time("to", LATEST if default is None else self._now)
        since = self._time("from", 0.0 if default is None else max(min(until, self._now) - default, 0.0))
        if since >= until:
            raise ValueError("from: it is not before `to`: exchange the two")
        return since, until

    def _time(self, name: str, default: float) -> float:
        text = self.text(name)
        if not text:
            return default
        # The `+` of a time zone arrives as a space where it was not escaped.
        seconds = _moment(re.sub(r"(T[\d:.]+) ([\d:]+)$", r"\1+\2", text), self._now)
        if seconds is None or not 0 <= seconds < LATEST:
            raise ValueError(f"{name}: {_quoted(text)} is not a time: write Unix seconds, RFC 3339 or -1h")
        return seconds


def _known(name: str, text: str, known: Sequence[str]) -> str:
    if text not in known:
        raise ValueError(f"{name}: {_quoted(text)} is none of {', '.join(known)}")
    return text


def _moment(text: str, now: float) -> float | None:
    if text == "now":
        return now
    with suppress(ValueError):
        if text.startswith("-"):
            return max(now - Duration.parse(text[1:]), 0.0)
    number = _number(text)
    if number is not None:
        return number
    with suppress(ValueError, OverflowError):
        parsed = datetime.fromisoformat(text)
        return None if parsed.tzinfo is None else parsed.timestamp()
    return None


def _number(text: str) -> float | None:
    if not re.fullmatch(r"[+-]?\d{1,20}(\.\d{0,20})?([eE][+-]?\d{1,3})?", text, re.ASCII):
        return None
    number = float(text)
    return number if isfinite(number) else None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
