"""Lag of the agent's own event loop: a heartbeat on the loop, and a watchdog thread that looks when it stays away.

A heartbeat more than 250 ms overdue is logged with the stack that blocks the loop, at most once a minute. One more
than 10 s overdue makes `alive` false. A block that the watchdog could not see is logged when it is over, without a
stack: a short one that fell between two looks, or one during which C code held the interpreter lock or the whole
process stood still. A block of half a second in Python code is always seen.

Cost: 8 heartbeats and 8 looks a second, together about 0.25 % of a core.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from typing import Final

from otel_latency.clock import Clock
from otel_latency.records import Sample

log = logging.getLogger(__name__)

_HEARTBEAT: Final = 0.125
_LOOK: Final = 0.125
_BLOCKED: Final = 0.25
_DEAD: Final = 10.0
_LOG_EVERY: Final = 60.0
_STACK_DEPTH: Final = 20


class LoopLag:
    """Watches the loop that `run` runs on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beaten = self._looked = clock.monotonic()
        self._logged: float | None = None
        self._is_told = False  # the present block, by the watchdog
        self._blocked_count = 0
        self._worst = 0.0
        self._loop_thread = 0
        self._stopped = threading.Event()

    async def run(self) -> None:
        """Beat until cancelled."""
        self._loop_thread = threading.get_ident()
        self._beaten = self._looked = self._clock.monotonic()
        threading.Thread(target=self._watch, name="otel-latency-watchdog", daemon=True).start()
        try:
            async for tick in self._clock.ticks(_HEARTBEAT):
                self.beat(tick.lateness)
        finally:
            self.close()

    def close(self) -> None:
        """End the watchdog. Twice, or before `run`, is harmless."""
        self._stopped.set()

    def alive(self) -> bool:
        """Whether the loop has turned within the last ten seconds."""
        return self._clock.monotonic() - self._beaten <= _DEAD

    def collect(self) -> Iterable[Sample]:
        worst, self._worst = self._worst, 0.0
        yield Sample(
            "otel_latency_agent_loop_lag_seconds",
            worst,
            help="Worst lateness of the event loop since the last poll.",
        )
        yield Sample(
            "otel_latency_agent_loop_blocked_total",
            self._blocked_count,
            is_counter=True,
            help="Times that the event loop stood still for more than 250 ms.",
        )

    def beat(self, lateness: float) -> None:
        """The loop turns; *lateness* says how long after it should have."""
        self._beaten = self._clock.monotonic()
        self._worst = max(self._worst, lateness)
        if lateness > _BLOCKED:
            self._blocked_count += 1
            if not self._is_told:
                self._warn(
                    "the event loop stood still for %.2f s, unseen by the watchdog: it was over too soon, C code held "
                    "the interpreter lock, or the process was stopped or starved of CPU",
                    lateness,
                )
        self._is_told = False

    def look(self, now: float) -> None:
        """The watchdog looks: is a heartbeat overdue, and what is the loop doing instead?"""
        own_gap, self._looked = now - self._looked - _LOOK, now
        overdue = now - self._beaten - _HEARTBEAT
        # Where this thread did not get to run either, the stack of now is not the stack that blocked.
        if overdue <= _BLOCKED or own_gap > _BLOCKED or self._is_told:
            return
        self._is_told = True
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented, for debuggers such as this
        stack = "".join(traceback.format_stack(frame, _STACK_DEPTH)) if frame else "unknown\n"
        self._warn("the event loop has been blocked for %.2f s by:\n%s", overdue, stack)

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK):
            self.look(self._clock.monotonic())

    def _warn(self, message: str, *arguments: object) -> None:
        now = self._clock.monotonic()
        if self._logged is None or now - self._logged >= _LOG_EVERY:
            self._logged = now
            log.warning(message, *arguments)
