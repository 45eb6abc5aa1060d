"""Our own faults: counted, and told of in one log line a minute at most, so that they never reach the user's code.

Lines go to the logger `otel_latency`, which prints nothing until an application sets logging up. A fault is told by
its kind and type alone: its text may quote what the user handed us.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Final

LINE_INTERVAL: Final = 60.0

log = logging.getLogger("otel_latency")
log.addHandler(logging.NullHandler())


class Guard:
    """Counts per kind since the start. `caught` and `complain` never raise."""

    def __init__(self, log: logging.Logger = log) -> None:
        self.faults: Counter[str] = Counter()
        self._log = log
        self._next_line = 0.0

    def caught(self, kind: str, fault: BaseException) -> None:
        """Something of ours raised *fault*."""
        self.complain(kind, f"telemetry lost, your program is not affected: {kind} failed with {type(fault).__name__}")

    def complain(self, kind: str, text: str, *, now: float | None = None) -> None:
        """Count a fault of this *kind*, and say *text* unless something was said within the last minute."""
        self.faults[kind] += 1
        now = time.monotonic() if now is None else now
        if now < self._next_line:
            return
        self._next_line = now + LINE_INTERVAL
        try:
            self._log.warning("%s (%d so far)", text, self.faults[kind])
        except Exception:  # a handler or filter of the user's
            self.faults["logging"] += 1


guard: Final = Guard()
