"""One destination: everything from its place in the log is sent, oldest first, and is settled before it is forgotten.

    source --> pace --> pack (thread) --> gate --> transport --> settled --> commit, as far as all before is settled

Each batch is tried until the destination takes it or refuses it for good; there is no last attempt. While the
destination is down the log keeps the rest, and drops the oldest when it is full. What is refused for good is a dead
letter: counted by reason, and the last 16 are remembered without what was in them.

`forwarded + rejected + dead letters` are the items that came out of the log. An attempt whose answer was lost is made
again, under the same batch id; `maybe_duplicate` counts its items.

A destination that is cancelled gives those in flight `GRACE` seconds to end. Memory: four batches, 2 MiB of them unless
one is larger, and 256 KiB read ahead.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

from otel_latency.clock import Clock
from otel_latency.errors import ForwardError
from otel_latency.forward.batch import Accepted, Batch, Parcel, Source, Transport
from otel_latency.forward.gate import LIMIT, Gate
from otel_latency.forward.pace import Pace
from otel_latency.forward.packing import Packing
from otel_latency.forward.worker import Worker
from otel_latency.records import Signal

GRACE: Final = 2.0
READ_BYTES: Final = 256 << 10
MAX_BYTES: Final = 2 << 20
LOG_EVERY: Final = 60.0
REMEMBERED: Final = 16
_RETRY_READING: Final = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A batch that was refused for good; `time` is Unix seconds."""

    time: float
    position: int
    signal: str
    items: int
    size_bytes: int
    reason: str
    error: str


class _Counts(NamedTuple):
    """Of one batch."""

    items: int
    spans: int


class Destination:
    """*name* is what metrics call it; *url* is shown, and holds no secret."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        source: Source,
        transport: Transport,
        packing: Packing,
        worker: Worker,
        clock: Clock,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.name = name
        self.url = url
        self.forwarded: Counter[Signal] = Counter()
        self.rejected: Counter[Signal] = Counter()
        """Items that the destination did not want of batches that it took."""
        self.dead_lettered: Counter[tuple[Signal, str]] = Counter()
        """Items that were given up, by reason."""
        self.retries = 0
        self.maybe_duplicate: Counter[Signal] = Counter()
        self.dead_letters: deque[DeadLetter] = deque(maxlen=REMEMBERED)
        self.last_error = ""
        self._source = source
        self._transport = transport
        self._packing = packing
        self._worker = worker
        self._clock = clock
        self._gate = Gate(clock, uniform=uniform)
        self._pace = Pace()
        self._open: dict[int, _Counts | None] = {}  # positions in order, and what was settled before those before it
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._logged: dict[str, float] = {}

    @property
    def is_up(self) -> bool:
        """Whether the last that was heard of it is good."""
        return self._gate.is_up

    @property
    def queued(self) -> int:
        """Items that it has not settled yet, of all signals."""
        return self._source.queued - sum(settled.items for settled in self._open.values() if settled)

    @property
    def queued_spans(self) -> int:
        """Those of them that are spans."""
        return self._source.queued_spans - sum(settled.spans for settled in self._open.values() if settled)

    @property
    def recovered_spans(self) -> int:
        """Spans that a former run had accepted and not settled."""
        return self._source.recovered_spans

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                for batch in await self._read():
                    await self._begin(batch)
        finally:
            await self._end()

    async def close(self) -> None:
        """Closing twice, or before `run`, is harmless."""
        await self._transport.close()

    def status(self) -> dict[str, object]:
        """What /status says of it."""
        retry_at = self._gate.retry_at
        return {
            "name": self.name,
            "url": self.url,
            "is_up": self.is_up,
            "last_error": self.last_error,
            "retry_at": None if retry_at is None else self._clock.time() + retry_at - self._clock.monotonic(),
            "queued": self.queued,
            "oldest_seconds": self._source.oldest_seconds,
            "in_flight": self._gate.in_flight,
            "forwarded": {signal.value: count for signal, count in self.forwarded.items()},
            "rejected": {signal.value: count for signal, count in self.rejected.items()},
            "dropped": dict(self.dropped),
            "retries": self.retries,
            "maybe_duplicate": self.maybe_duplicate.total(),
            "dead_letters": [asdict(letter) for letter in self.dead_letters],
        }

    @property
    def dropped(self) -> Counter[str]:
        """Items of all signals that it will never have, by reason: dead letters, and what the log could not keep."""
        dropped = Counter(dict(self._source.dropped))
        for (_, reason), count in self.dead_lettered.items():
            dropped[reason] += count
        return dropped

    @property
    def lost_spans(self) -> Counter[str]:
        """Spans that it will never have, by reason: those dropped, and those that it `rejected`."""
        lost = Counter(dict(self._source.dropped_spans))
        lost += Counter({reason: n for (signal, reason), n in self.dead_lettered.items() if signal is Signal.TRACES})
        return lost + Counter(rejected=self.rejected[Signal.TRACES])

    async def _read(self) -> list[Batch]:
        try:
            return list(await self._source.read(READ_BYTES))
        except OSError as error:
            self._warn("log", f"cannot read the log: {error.strerror or type(error).__name__}")
            await anext(self._clock.ticks(_RETRY_READING))
            return []

    async def _begin(self, batch: Batch) -> None:
        """Hand the batch to a task of its own, as soon as there is room and it is time."""
        wait = self._pace.wait(batch.time_ns, self._clock.monotonic())
        if wait > 0:
            await anext(self._clock.ticks(wait))
        while len(self._tasks) >= LIMIT or (self._tasks and self._bytes + len(batch.body) > MAX_BYTES):
            self._room.clear()
            await self._room.wait()
        self._open[batch.position] = None
        self._bytes += len(batch.body)
        task = asyncio.create_task(self._to_the_end(batch), name=f"forward:{self.name}:{batch.position}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.set()

    async def _to_the_end(self, batch: Batch) -> None:
        try:
            if batch.items:
                await self._deliver(batch)
            self._settle(batch)
        finally:
            self._bytes -= len(batch.body)

    async def _deliver(self, batch: Batch) -> None:
        try:
            parcel = await self._worker(lambda: self._packing.pack(batch))
        except Exception as error:  # noqa: BLE001 - what cannot be packed now cannot be packed later
            reason = "malformed" if isinstance(error, ValueError) else "fault"
            self._give_up(batch, ForwardError(f"packing failed with {type(error).__name__}", reason=reason))
            return
        while True:
            await self._gate.turn(batch.position)
            answer = await self._attempt(parcel)
            if isinstance(answer, Accepted):
                self._accepted(batch, answer)
                return
            if not answer.is_transient:
                self._give_up(batch, answer)
                return
            self.retries += 1
            if answer.may_have_arrived:
                self.maybe_duplicate[batch.signal] += batch.items

    async def _attempt(self, parcel: Parcel) -> Accepted | ForwardError:
        """One attempt, in its turn, and what the gate learns from it."""
        failure: ForwardError | None = None
        was_answered = False
        was_up = self.is_up
        try:
            if not was_up:
                await self._transport.renew()
            answer: Accepted | ForwardError = await self._transport.send(parcel)
            was_answered = True
        except ForwardError as error:
            answer, was_answered = error, not error.is_transient
            failure = error if error.is_transient else None
        except Exception as error:  # noqa: BLE001 - one batch must not end the others; the text may hold a secret
            self._warn("fault", f"sending failed with {type(error).__name__}")
            answer = failure = ForwardError(
                f"sending failed with {type(error).__name__}", reason="fault", is_transient=True
            )
        finally:
            self._gate.left(failure, was_answered=was_answered)
        self._tell(was_up, failure)
        return answer

    def _accepted(self, batch: Batch, answer: Accepted) -> None:
        rejected = min(answer.rejected, batch.items)
        self.forwarded[batch.signal] += batch.items - rejected
        if rejected:
            self.rejected[batch.signal] += rejected
            self.last_error = f"it rejected {rejected} of {batch.items} {batch.signal.value}"
            self.last_error += f": {answer.message}" if answer.message else ""
            self._warn("rejected", self.last_error)

    def _give_up(self, batch: Batch, error: ForwardError) -> None:
        self.dead_lettered[batch.signal, error.reason] += batch.items
        self.last_error = str(error)
        self.dead_letters.append(
            DeadLetter(
                self._clock.time(),
                batch.position,
                batch.signal.value,
                batch.items,
                len(batch.body),
                error.reason,
                str(error),
            )
        )
        self._warn(error.reason, f"{batch.items} {batch.signal.value} are given up: {error}")

    def _settle(self, batch: Batch) -> None:
        """Commit as far as everything before is settled, too."""
        self._open[batch.position] = _Counts(batch.items, batch.items if batch.signal is Signal.TRACES else 0)
        done = None
        while self._open and self._open[first := next(iter(self._open))] is not None:
            del self._open[first]
            done = first
        if done is not None:
            self._source.commit(done)

    async def _end(self) -> None:
        self._gate.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _tell(self, was_up: bool, failure: ForwardError | None) -> None:
        if failure is not None:
            self.last_error = str(failure)
            self._warn("down", f"does not take what is sent: {failure}")
        elif self.is_up and not was_up:
            self._logged.pop("down", None)
            log.warning("destination %s takes what is sent again", self.name)

    def _warn(self, kind: str, text: str) -> None:
        """A line a minute for each kind."""
        now = self._clock.monotonic()
        if now - self._logged.get(kind, -LOG_EVERY) >= LOG_EVERY:
            self._logged[kind] = now
            log.warning("destination %s: %s", self.name, text)
