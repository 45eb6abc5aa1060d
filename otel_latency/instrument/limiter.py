"""Requests and tokens per minute, kept below a provider's limits by waiting before a call.

Within any 60 seconds no more calls begin, and no more tokens are asked for, than allowed: a sliding window, not a
bucket, since a bucket lets twice the limit through around its refill. Callers begin in the order of asking. The wait is
a stage of its own (`rate_limit`), never part of the call.

Memory: one entry per call of the last minute.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 60.0


@dataclass(slots=True, eq=False)
class Reservation:
    """A call that may begin at `start` (monotonic seconds). `settle` corrects its tokens once they are known."""

    start: float
    tokens: int

    def settle(self, tokens: int) -> None:
        self.tokens = tokens


class RateLimiter:
    """The limits of one provider, shared by all threads and tasks of the process; None is no limit."""

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, limit in (("requests", requests_per_minute), ("tokens", tokens_per_minute)):
            if limit is not None and limit < 1:
                raise ValueError(
                    f"{name}_per_minute: {limit} would never let a call begin: use a positive number or None"
                )
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._monotonic = monotonic
        self._window: deque[Reservation] = deque()
        self._not_before = 0.0
        self._lock = threading.Lock()

    def reserve(self, tokens: int = 0) -> Reservation:
        """A place in the window: the first moment from now on at which both limits allow this call."""
        with self._lock:
            now = self._monotonic()
            while self._window and self._window[0].start <= now - WINDOW:
                self._window.popleft()
            return self._append(Reservation(now, tokens))

    def withdraw(self, reservation: Reservation) -> None:
        """The call will not happen; the callers behind it keep their times."""
        with self._lock:
            if reservation in self._window:
                self._window.remove(reservation)

    def pause(self, seconds: float) -> None:
        """The provider said "not before": nobody begins in the next *seconds*, those who wait already included."""
        with self._lock:
            now = self._monotonic()
            self._not_before = max(self._not_before, now + seconds)
            waiting = [reservation for reservation in self._window if reservation.start > now]
            for _ in waiting:
                self._window.pop()
            for reservation in waiting:
                self._append(reservation)

    def wait_of(self, reservation: Reservation) -> float:
        """Seconds until the reserved call may begin."""
        return max(0.0, reservation.start - self._monotonic())

    async def acquire(self, tokens: int = 0) -> Reservation:
        """Wait for a place. Cancelled while waiting, the place is given back."""
        reservation = self.reserve(tokens)
        try:
            while (wait := self.wait_of(reservation)) > 0:  # noqa: ASYNC110 - a pause may move the start
                await asyncio.sleep(wait)
        except BaseException:
            self.withdraw(reservation)
            raise
        return reservation

    def acquire_blocking(self, tokens: int = 0) -> Reservation:
        """`acquire` for plain functions; waits by sleeping in this thread."""
        reservation = self.reserve(tokens)
        try:
            while (wait := self.wait_of(reservation)) > 0:
                time.sleep(wait)
        except BaseException:
            self.withdraw(reservation)
            raise
        return reservation

    def _append(self, reservation: Reservation) -> Reservation:
        start = max(reservation.start, self._not_before, self._window[-1].start if self._window else 0.0)
        start = max(start, self._requests_allow())
        reservation.start = max(start, self._tokens_allow(start, reservation.tokens))
        self._window.append(reservation)
        return reservation

    def _requests_allow(self) -> float:
        if self._requests is None or len(self._window) < self._requests:
            return 0.0
        return self._window[-self._requests].start + WINDOW

    def _tokens_allow(self, start: float, tokens: int) -> float:
        """The first moment at which enough calls have left the window; a call above the limit gets a window alone."""
        if self._tokens is None:
            return start
        held = 0
        for earlier in reversed(self._window):
            if earlier.start <= start - WINDOW:
                break
            held += earlier.tokens
            if held + tokens > self._tokens:
                return earlier.start + WINDOW
        return start


class RateLimits:
    """The limiters of this process, by provider."""

    def __init__(self) -> None:
        self._limiters: dict[str, RateLimiter] = {}

    def of(self, provider: str) -> RateLimiter | None:
        return self._limiters.get(provider)

    def put(self, provider: str, limiter: RateLimiter) -> None:
        self._limiters[provider] = limiter


limits: Final = RateLimits()


def set_rate_limit(
    provider: str, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
) -> RateLimiter:
    """Have every `run()` for *provider* keep to these limits, per process."""
    limiter = RateLimiter(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
    limits.put(provider, limiter)
    return limiter
