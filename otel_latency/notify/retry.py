"""When a failed notification is tried again: after 0.5 s, then 1.5 times longer each time, up to a minute.

Half of each delay up or down is chance, so that many agents do not come back at once. What the far side asks for counts
more: `Retry-After` as seconds or as a date, or `retry_after` in a JSON reply; 5 minutes at most, lest a broken server
silences us.

stamina, which retries calls in the library, is not used here: it holds the attempts of one call in one coroutine, while
these are dealt out among groups, may be overtaken by fresh notifications, and go on after a crash.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Final

from otel_latency import outbound

MAX_DELAY: Final = 60.0
_FIRST_DELAY: Final = 0.5
_GROWTH: Final = 1.5


def delay(attempt: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait after attempt 1, 2, ... has failed."""
    exact = _FIRST_DELAY * _GROWTH ** min(attempt - 1, 20)
    return min(exact * uniform(0.5, 1.5), MAX_DELAY)


def retry_after(headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Seconds from *now* (Unix time) that the far side asks for, None where it asks for none that makes sense."""
    asked = outbound.retry_after(headers, now)
    if asked is None and (told := _in_body(body)) is not None:
        asked = min(max(told, 0.0), outbound.MAX_RETRY_AFTER)
    return asked


def _in_body(body: bytes) -> float | None:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return None
    asked = reply.get("retry_after") if isinstance(reply, dict) else None
    return float(asked) if isinstance(asked, (int, float)) and abs(asked) < 1e9 else None
