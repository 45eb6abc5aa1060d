"""What is forwarded, where it comes from and where it goes: the seams of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from otel_latency.records import Signal


class Batch(NamedTuple):
    """One accepted request: `body` as it was received, unpacked, with so many `items` that were taken from it."""

    position: int
    time_ns: int
    signal: Signal
    is_json: bool
    items: int
    body: bytes


class Source(Protocol):
    """One destination's place in the log."""

    async def read(self, most_bytes: int) -> Sequence[Batch]:
        """The next batches, oldest first, as soon as there is one. Raises OSError when they cannot be had now."""

    def commit(self, position: int) -> None:
        """The batches up to *position* are done with, and will not come again."""

    @property
    def queued(self) -> int:
        """Items that are not done with, read or not."""

    @property
    def queued_spans(self) -> int:
        """Those of them that are spans."""

    @property
    def recovered_spans(self) -> int:
        """Spans that a former run left there."""

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest of them waits."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Items that never came out of the log, by reason."""

    @property
    def dropped_spans(self) -> Mapping[str, int]:
        """Those of them that are spans."""


class Parcel(NamedTuple):
    """A batch made ready for a destination. `id` is the same for every attempt, also after a crash."""

    id: str
    signal: Signal
    is_json: bool
    is_gzip: bool
    data: bytes


class Accepted(NamedTuple):
    """A destination's answer: of the items it rejected some for good, and says why."""

    rejected: int = 0
    message: str = ""


class Transport(Protocol):
    """Carries parcels to one destination."""

    is_gzip: bool
    """Whether it takes parcels that are packed; one that packs them itself does not."""
    takes_json: bool

    async def send(self, parcel: Parcel) -> Accepted:
        """Make one attempt. Raises ForwardError when the destination did not take it."""

    async def renew(self) -> None:
        """Forget connections and certificates; the next attempt begins anew. Nothing is being sent."""

    async def close(self) -> None:
        """Closing twice, or before anything was sent, is harmless."""
