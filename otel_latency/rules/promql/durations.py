"""Prometheus' durations: `1h30m`, `250ms`, `0`; whole milliseconds in memory.

Units stand once each, from large to small: y (365 d), w, d, h, m, s, ms. A fraction (`1.5m`), a sign and a bare number
other than 0 are no durations. What does not fit into 64 bits of nanoseconds (292 years) is refused, as in Prometheus.
"""

from __future__ import annotations

import re

from otel_latency.errors import ExpressionError

SPELLING = "250ms, 30s, 5m or 1h30m"

_UNITS_MS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit in _UNITS_MS))
_MAX_MS = (2**63 - 1) // 1_000_000
_WHOLE_ONLY = ("y", "w")


def parse_duration(text: str) -> int:
    """Milliseconds. Raises ExpressionError with the spelling that would be right."""
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ExpressionError(f'not a valid duration string: "{text}": write {SPELLING}')
    milliseconds = sum(
        int(number[:20]) * unit for number, unit in zip(match.groups("0"), _UNITS_MS.values(), strict=True)
    )
    if milliseconds > _MAX_MS:
        raise ExpressionError(f'duration out of range: "{text}": at most 292 years')
    return milliseconds


def format_duration(milliseconds: int) -> str:
    """The shortest usual spelling, such as `1h30m`; years and weeks only where nothing remains, so 90 d are `90d`."""
    sign, rest = ("-", -milliseconds) if milliseconds < 0 else ("", milliseconds)
    parts = []
    for unit, size in _UNITS_MS.items():
        if rest >= size and not (unit in _WHOLE_ONLY and rest % size):
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return sign + ("".join(parts) or "0s")
