"""A bug of ours met while a request is decoded: what the sender is told, and what the log says.

The first time a body fails the sender is asked to come back: the cause may have passed, and a bug of ours should not
cost its data. When the same body fails again it is refused for good, so that a deterministic bug does not have a
sender repeat itself for ever. Nothing of the body is logged: only the kind of error and where it was raised.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from otel_latency.clock import Clock
from otel_latency.errors import DecodeError, OtelLatencyError, Overloaded
from otel_latency.ingest.intake import Accept, Outcome, Signal

LOG_INTERVAL: Final = 60.0
REMEMBERED: Final = 256

log = logging.getLogger(__name__)


class Faults:
    """`accept` made safe: calling it raises nothing but our own errors."""

    def __init__(self, accept: Accept, clock: Clock) -> None:
        self._accept = accept
        self._clock = clock
        self._failed: OrderedDict[int, None] = OrderedDict()
        self._logged: dict[str, float] = {}

    def __call__(self, signal: Signal, body: bytes, *, is_json: bool, transport: str) -> Outcome:
        try:
            return self._accept(signal, body, is_json=is_json, transport=transport)
        except OtelLatencyError:
            raise
        except Exception as error:  # noqa: BLE001 - no bug of ours may reach the sender as a 500 or as UNKNOWN
            self.report(error, transport)
            raise self._verdict(hash(body)) from None

    def report(self, error: Exception, transport: str) -> None:
        """Log *error* unless one from the same place was logged in the last minute."""
        kind = f"{type(error).__name__} at {_place(error)}"
        now = self._clock.monotonic()
        if now - self._logged.get(kind, -LOG_INTERVAL) >= LOG_INTERVAL:
            self._logged[kind] = now
            log.error("%s receiver: %s; this is a bug, please report it", transport, kind)

    def _verdict(self, body_hash: int) -> OtelLatencyError:
        if body_hash in self._failed:
            return DecodeError("the request cannot be processed")
        self._failed[body_hash] = None
        if len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)
        return Overloaded("the request could not be processed, try again")


def _place(error: Exception) -> str:
    """File and line that raised *error*; not its text, which may quote the request."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at is not None else "an unknown place"
