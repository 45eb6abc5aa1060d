"""The last stage: one notifier's queue and the worker that empties it, with one notification in flight at a time.

Each notification is tried until it is accepted, refused for good, or a day old. What becomes of it is settled (written
to disk by the pipeline) before the next is begun, so a crash repeats one notification at most. A worker that is
cancelled gives the one in flight `GRACE` seconds to end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

from otel_latency.clock import Clock
from otel_latency.errors import NotifyError
from otel_latency.notify.model import Notifier, decode
from otel_latency.notify.queue import Pending, Queue
from otel_latency.notify.retry import MAX_DELAY

GRACE: Final = 2.0
MAX_AGE: Final = 24 * 3600.0
LOGGED_FAILURE: Final = 3
"""How many failures in a row are worth a line in the log; one now and then is not."""
log = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of notifications, as it is counted."""

    DELIVERED = "delivered"
    FAILED = "failed"  # refused, or tried for a day
    RETRIED = "retried"  # each time
    DROPPED = "dropped"  # because the queue was full


Settle = Callable[[Pending, Outcome], Awaitable[None]]


class Delivery:
    """Calls *settle* for each notification that is done with; *delay* says how long to wait after an attempt."""

    def __init__(self, notifier: Notifier, clock: Clock, *, delay: Callable[[int], float], settle: Settle) -> None:
        self.queue = Queue()
        self.counts = Counter(dict.fromkeys(Outcome, 0))
        self.last_error = ""
        self.failing_since: float | None = None
        self.in_flight: Pending | None = None
        self._failures = 0  # in a row
        self._notifier = notifier
        self._clock = clock
        self._delay = delay
        self._settle = settle
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Let the worker look whether there is something to do now."""
        if self.in_flight is None and self.queue.next(self._clock.monotonic()) is not None:
            self._due.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            while (pending := self.queue.next(self._clock.monotonic())) is not None:
                try:
                    await self._to_the_end(pending)
                except Exception:
                    log.exception("notifier %s: a fault of ours, next try in %g s", self._notifier.name, MAX_DELAY)
                    self.queue.hold(self._clock.monotonic() + MAX_DELAY)

    async def _to_the_end(self, pending: Pending) -> None:
        self.in_flight = pending
        attempt = asyncio.create_task(self._attempt(pending), name=f"notify:{self._notifier.name}:attempt")
        try:
            await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await asyncio.wait([attempt], timeout=GRACE)
            attempt.cancel()
            raise
        finally:
            self.in_flight = None

    async def _attempt(self, pending: Pending) -> None:
        error = await self._send(pending)
        if error is None:
            self._recovered()
            await self._settle(pending, Outcome.DELIVERED)
            return
        self._failed(str(error))
        is_old = self._clock.time() - pending.created > MAX_AGE
        if error.is_transient and not is_old:
            self.counts[Outcome.RETRIED] += 1
            self._postpone(pending, error.retry_after)
        else:
            log.error("notifier %s: a notification is given up: %s", self._notifier.name, error)
            await self._settle(pending, Outcome.FAILED)

    async def _send(self, pending: Pending) -> NotifyError | None:
        try:
            await self._notifier.notify(decode(pending.data))
        except NotifyError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a fault of one notification must not end the worker
            # The text may hold a secret.
            return NotifyError(f"sending failed with {type(error).__name__}", is_transient=True)
        return None

    def _postpone(self, pending: Pending, retry_after: float | None) -> None:
        now, asked = self._clock.monotonic(), retry_after or 0.0
        self.queue.hold(now + asked)
        self.queue.postpone(pending, now + max(asked, self._delay(self.queue.attempts(pending) + 1)))

    def _recovered(self) -> None:
        if self._failures >= LOGGED_FAILURE:
            log.warning("notifier %s delivers again", self._notifier.name)
        self._failures, self.failing_since = 0, None

    def _failed(self, error: str) -> None:
        self.last_error = error
        self._failures += 1
        if self.failing_since is None:
            self.failing_since = self._clock.time()
        if self._failures == LOGGED_FAILURE:
            log.warning("notifier %s does not deliver: %s", self._notifier.name, error)
