"""History as the agent sees it: handed over at no cost, written in batches by a thread, asked without blocking.

    spans, turns, alerts, counters --add--> batch --once a second--> writer thread --> database
    minutes of series -----a few at each tick--^                      ^-- questions, maintenance in small steps

What has been written survives the end of the process, however that comes. A second at most waits unwritten, and
`MAX_WAITING` of each sort: when the disk does not keep up, new ones are dropped and counted.

Cost on the event loop: 0.1 us a span or a turn; 15 us a minute of a series.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from otel_latency.aggregate.turn import Turn
from otel_latency.aggregate.turn_view import turn_json, turn_line
from otel_latency.clock import Clock
from otel_latency.records import Alert, Family, Labels, SpanRow
from otel_latency.store import alerts, counters, lines, operations, selector, sessions, states, turns
from otel_latency.store.database import Batch, Database
from otel_latency.store.operations import Durations, Filter
from otel_latency.store.shapes import JSONObject
from otel_latency.store.windows import Changed, Harvest, Minute, Minutes, added_up

FILE: Final = "history.db"
WRITE_EVERY: Final = 1.0
REST: Final = 20.0
"""Times as long as a write took passes before the next one begins: it has a twentieth of the time at most."""
RETRY_WITHIN: Final = 2.0
MAX_WAITING: Final = 16_384
MAX_WAITING_TURNS: Final = 2_048
"""They are larger: some 5 KiB each."""
View = Callable[[Turn], Mapping[str, object]]
T = TypeVar("T")
log = logging.getLogger(__name__)


class Past(NamedTuple):
    """What a former run left: the values of counters (labels in the order of their names), and how far in the log all
    that was written reaches; None where that is not known.
    """

    counters: Mapping[tuple[str, Labels], float]
    position: int | None


class History:
    """`start` first, then `tick` at every tick and `maintain` every minute, `close` last.

    *changed* tells what is new in the minutes of series since it was asked last, which is then ours. *minutes* tells
    what each gauge did in a given Unix minute, once that is over; it is looked through step by step, on the event loop,
    while series come and go. *document* and *line* show a turn; they are called on the writer's thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        detail: float,
        aggregate: float,
        max_bytes: int,
        clock: Clock,
        minutes: Minutes = lambda _: (),
        changed: Changed = tuple,
        document: View = turn_json,
        line: View = turn_line,
        counters: Callable[[], Iterable[Family]] = tuple,
        written: Callable[[int], None] = lambda _position: None,
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._counters = counters
        self._on_written = written
        self._document = document
        self._line = line
        self._detail = detail
        self._database = Database(
            folder / FILE, detail=detail, aggregate=aggregate, max_bytes=max_bytes, monotonic=clock.monotonic
        )
        self._harvest = Harvest(minutes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="otel-latency-history")
        self._batch = Batch()
        self._states: dict[str, bytes] = {}
        self._counted: dict[tuple[str, Labels], float] = {}
        self._writing: asyncio.Task[None] | None = None
        self._written = float("-inf")
        self._pause = WRITE_EVERY
        self._disk_fault = ""
        self._is_open = False
        self._lost: Counter[str] = Counter()

    @property
    def fault(self) -> str:
        """What is wrong, in a sentence; empty when all is well."""
        return self._disk_fault or self._database.fault

    @property
    def dropped(self) -> Mapping[str, int]:
        """What is not kept though it was to be, by reason: `queue`, `disk`, or the table of rows gone to make room."""
        return self._lost + self._database.dropped

    @property
    def size_bytes(self) -> int:
        """What the database's file holds."""
        return self._database.used_bytes

    @property
    def waiting(self) -> int:
        """Spans that are not written yet."""
        return len(self._batch.spans)

    async def start(self) -> Past:
        """Open the database. Raises nothing; see `fault`."""
        await self._on_thread(lambda: self._database.open(self._clock.time()))
        self._is_open = True
        return await self._on_thread(lambda: Past(self._database.counters(), self._database.position()))

    def reach(self, position: int) -> None:
        """Everything that the log's records up to *position* led to has been handed over, or is in the counters."""
        self._batch.position = position

    def add(self, spans: Sequence[SpanRow]) -> None:
        """Keep finished spans, none of them twice."""
        self._take(self._batch.spans, spans)

    def add_turns(self, finished: Sequence[Turn]) -> None:
        """Keep turns that are final; one that was kept before, by its trace and span, is kept as it is now."""
        self._take(self._batch.turns, finished, MAX_WAITING_TURNS)

    def keep(self, name: str, state: bytes) -> None:
        """Keep a state over restarts, in place of the one before; the last one of a second is written.

        Raises ValueError for one larger than `states.MAX_BYTES`.
        """
        if len(state) > states.MAX_BYTES:
            raise ValueError(f"the state {name!r} has {len(state)} bytes, more than {states.MAX_BYTES}")
        self._states[name] = state

    def tell(self, told: Sequence[Alert]) -> None:
        """Keep what alerts tell, as it is told to notifiers."""
        self._take(self._batch.alerts, told)

    def count(self, families: Iterable[Family]) -> None:
        """Keep the values of counters that have changed; to be called whenever they are shown.

        A value that has been shown must not be lower after a restart. That holds by itself where a log has the rest.
        """
        before, self._counted = self._counted, {}
        changed = []
        for name, labels, value in counters.counters_of(families):
            self._counted[name, labels] = value
            if before.get((name, labels)) != value:
                changed.append((name, labels, value))
        self._take(self._batch.counters, changed)

    def tick(self, now: float) -> None:
        """Collect minutes that are over, and write what waits when it is time. *now* is Unix seconds."""
        self._take(self._batch.minutes, self._harvest.tick(now))
        is_due = self._clock.monotonic() - self._written >= self._pause
        if is_due and self._is_open and self._has_news and self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="history:write")

    def hurry(self) -> None:
        """Write at the next tick, whatever the last write took: somebody needs the room of what is written."""
        if not self._disk_fault:
            self._pause = 0.0

    @property
    def _has_news(self) -> bool:
        waits = len(self._batch) or self._states or self._batch.position is not None
        return bool(waits or self._database.is_in_memory)  # where it tries the disk again

    async def written(self) -> None:
        """Wait for what is being written at the moment."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def maintain(self) -> None:
        """Merge and delete, in steps between which others have their turn.

        A history that is in memory goes to the disk first, where that has become possible.
        """
        if not self._is_open:
            return
        try:
            steps = self._database.maintain(self._clock.time())
            while self._is_open and await self._on_thread(lambda: next(steps, _END)) is not _END:
                pass
        except sqlite3.Error as error:
            self._tell_fault(error)

    async def close(self) -> None:
        """Write what there is, the running minute included; closing twice, or before starting, is harmless."""
        if self._is_open:
            await self.written()
            self._batch.minutes += self._harvest.rest(self._clock.time())
            await self._write()
            self._is_open = False
            await self._on_thread(self._database.close)
        self._thread.shutdown(wait=False)

    def status(self) -> JSONObject:
        """The section `history` of /status."""
        return {
            "size_bytes": self.size_bytes,
            "waiting": self.waiting,
            "dropped": dict(self.dropped),
            "is_in_memory": self._database.is_in_memory,
            "fault": self.fault,
        }

    # --- questions: each answers with a plain dict, or raises ValueError, ExpressionError or TimeoutError ----------

    async def history(self, series: str, since: float, until: float, step: float | None = None) -> JSONObject:
        """`/api/v1/history`: the lines of the series that a selector means, up to now."""
        wanted = selector.parse(series)
        self._take(self._batch.minutes, self._harvest.unfinished(self._clock.time(), wanted.means))
        if self._is_open:
            await self.written()
            await self._write()
        return await self.ask(lambda connection: lines.history(connection, wanted, since, until, step))

    async def operations(self, which: Filter, limit: int = 100) -> JSONObject:
        """The newest operations."""
        return await self.ask(lambda connection: operations.operations(connection, which, limit))

    async def summary(self, which: Filter, by: Sequence[str] = ("provider", "task")) -> JSONObject:
        """What operations alike took, and how they fared."""
        return await self.ask(lambda connection: operations.summary(connection, which, by))

    async def sessions(
        self, limit: int = 100, *, since: float = 0.0, until: float = inf, session: str = "", service: str = ""
    ) -> JSONObject:
        """`/api/v1/sessions`: of all turns that are final, those included that wait to be written."""
        if self._batch.turns and self._is_open:
            await self._catch_up()
        which = {"session": session, "service": service}
        return await self.ask(lambda one: sessions.sessions(one, limit, since=since, until=until, **which))

    async def durations(self, which: Filter, by: Sequence[str] = ("provider", "model"), limit: int = 5000) -> Durations:
        """What comparisons begin with: the newest successful durations of each group."""
        found = await self.ask(lambda connection: operations.durations(connection, which, by, limit))
        kept_from = self._clock.time() - self._detail
        if self._database.dropped["operations"]:
            kept_from = max(kept_from, await self.ask(operations.oldest))
        return found._replace(complete_from=max(found.complete_from, kept_from))

    async def turns(
        self,
        limit: int = 100,
        *,
        since: float = 0.0,
        until: float = inf,
        session: str = "",
        service: str = "",
        status: str = "",
        slower_than: float = 0.0,
    ) -> JSONObject:
        """`/api/v1/turns`: the newest that ended from *since* on and before *until*, as lines.

        Each has its `end` as well, as far as that can be believed: a turn whose clock is ahead ended when it came.
        """
        which = {"session": session, "service": service, "status": status}

        def shown(connection: sqlite3.Connection) -> list[Mapping[str, object]]:
            found = turns.newest(connection, limit, since=since, until=until, slower_than=slower_than, **which)
            return [{**self._line(kept.turn), "end": kept.ended} for kept in found]

        return {"turns": await self.ask(shown)}

    async def turn(self, trace_id: str, span_id: str = "") -> JSONObject | None:
        """`/api/v1/turns/{trace_id}`: the newest turn of that trace id, or else of that request id; None for none."""

        def shown(connection: sqlite3.Connection) -> JSONObject | None:
            found = turns.find(connection, trace_id, span_id)
            return None if found is None else dict(self._document(found))

        return await self.ask(shown)

    async def kept(self, name: str) -> bytes | None:
        """The state that was kept last under that name, and is whole; None for none."""
        return self._states.get(name) or await self.ask(lambda connection: states.read(connection, name))

    async def alerts(self, since: float, until: float, limit: int = 100) -> JSONObject:
        """Episodes of alerts."""
        return await self.ask(lambda connection: alerts.alerts(connection, since, until, limit))

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Any other question; it sees all that has been written. It runs on the writer's thread.

        Raises sqlite3.Error where the file cannot be read; the next write then begins a new one.
        """
        if not self._is_open:
            raise ValueError("the history is not open yet: ask again")
        return await self._on_thread(lambda: self._database.answer(question))

    async def _catch_up(self) -> None:
        """Write what waits, without waiting for the next second."""
        await self.written()
        await self._write()

    async def _write(self) -> None:
        now, database = self._clock.time(), self._database
        self._written = self._clock.monotonic()
        if self._batch.position is not None:  # then nothing of what led here will come again
            self.count(self._counters())
        self._batch.minutes += [Minute(*one) for one in self._changed()]
        batch, self._batch = self._batch, Batch()
        waiting, self._states = self._states, {}
        try:
            if database.is_in_memory:
                await self._on_thread(lambda: database.leave_memory(now))
            is_written = [await self._write_batch(batch, now)]
            for name, state in waiting.items():
                is_written.append(await self._attempt(partial(database.keep, name, state, now), 1))
            if all(is_written):
                self._disk_fault = ""
        finally:
            self._writing = None
            self._pause = max(WRITE_EVERY, REST * (self._clock.monotonic() - self._written))
            if self._disk_fault or database.is_in_memory:  # what is missing is the disk, and not time
                self._pause = min(self._pause, RETRY_WITHIN)

    async def _write_batch(self, batch: Batch, now: float) -> bool:
        """Whether it was written. What the disk does not take now comes again, before what is newer."""
        try:
            await self._on_thread(lambda: self._database.write(batch, now))
        except sqlite3.Error as error:
            self._take_back(batch)
            self._tell_fault(error)
            return False
        except (ValueError, OverflowError) as error:  # it will not be taken the next time either
            self._lost["disk"] += len(batch)
            self._reach_again(batch.position)
            self._counted.clear()
            self._tell_fault(error)
            return False
        self._settle(batch.position)
        return True

    def _settle(self, position: int | None) -> None:
        """Say how far it is written. In memory nothing is: whoever has it on disk has to keep it."""
        if self._database.is_in_memory:
            self._reach_again(position)
        elif position is not None:
            self._on_written(position)

    def _reach_again(self, position: int | None) -> None:
        if self._batch.position is None:
            self._batch.position = position

    def _take_back(self, batch: Batch) -> None:
        newer, self._batch = self._batch, batch
        self._take(batch.spans, newer.spans)
        self._take(batch.turns, newer.turns, MAX_WAITING_TURNS)
        minutes, batch.minutes = added_up([*batch.minutes, *newer.minutes]), []
        self._take(batch.minutes, minutes)
        self._take(batch.alerts, newer.alerts)
        self._take(batch.counters, newer.counters)
        batch.position = batch.position if newer.position is None else newer.position

    async def _attempt(self, write: Callable[[], None], rows: int) -> bool:
        """Whether it was written; else that is told, and the rows counted."""
        try:
            await self._on_thread(write)
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self._lost["disk"] += rows
            self._tell_fault(error)
            return False
        return True

    def _take(self, waiting: list[T], new: Sequence[T], most: int = MAX_WAITING) -> None:
        room = most - len(waiting)
        if len(new) > room:
            self._lost["queue"] += len(new) - room
        waiting += new[:room]

    def _tell_fault(self, error: Exception) -> None:
        fault = f"the history cannot be written ({error}): it is tried again"
        if fault != self._disk_fault:
            log.error("%s", fault)
        self._disk_fault = fault

    def _on_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


_END: Final = object()
