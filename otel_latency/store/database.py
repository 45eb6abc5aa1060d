"""The history's file and what is done with it, blocking: all of it is called on one thread, that of its owner.

A file that is damaged, at the start or later, is put aside as `*.corrupt-TIME`, and what can be read of it goes into a
new one. Where no file can be opened the history lives in memory, with little room, until a write or maintenance finds
that one can, and moves there what there is. On a full disk the ballast is let go and the oldest operations with it.
`fault` tells of any of these, and none of them is raised.

On disk it never takes more than *max_bytes*, journal and ballast included.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from otel_latency.aggregate.turn import Turn
from otel_latency.aside import put_aside
from otel_latency.records import Alert, Labels, SpanRow
from otel_latency.store import alerts, counters, operations, retention, states, turns, windows
from otel_latency.store.ballast import SIZE_BYTES, Ballast
from otel_latency.store.moving import move
from otel_latency.store.names import Names, forget_unused
from otel_latency.store.salvage import salvage
from otel_latency.store.schema import JOURNAL_BYTES, PAGE_BYTES, TABLES, Damaged, TooNew, connect, open_file, prepare

BATCH_BYTES: Final = 4 << 20
ASIDE_BYTES: Final = JOURNAL_BYTES + BATCH_BYTES + SIZE_BYTES
"""Of the room: the journal, which may outgrow its limit by one batch, and the ballast."""
MEMORY_BYTES: Final = 8 << 20
STATE_SHARE: Final = 4
"""A state that takes more than this part of the room is not kept."""
OPERATION_BYTES: Final = 100
OPERATIONS_PER_TURN: Final = 5
"""How many operations take the room of a turn."""
QUESTION_SECONDS: Final = 5.0
POSITION: Final = "log"
_CURES: Final = (
    (("locked",), "another agent uses it: give each its own store.path"),
    (("denied", "not permitted", "read-only", "readonly"), "let the agent write there, or name another directory"),
    (("space", "full", "quota"), "make room there"),
    (("exists", "directory", "unable to open"), "name a directory that is the agent's own"),
    (("version",), "go back to that version, or name another directory"),
)
"""What helps against a reason that contains one of the words; the first that fits."""
_NO_CURE: Final = "it moves there once that is mended"
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """What one transaction writes."""

    spans: list[SpanRow] = field(default_factory=list)
    minutes: list[windows.Minute] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    counters: list[counters.Counter] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    position: int | None = None
    """Of the last record of the log whose effects are in what was written by then; None where there is no log."""

    def __len__(self) -> int:
        return len(self.spans) + len(self.turns) + len(self.minutes) + len(self.alerts) + len(self.counters)

    @property
    def weight(self) -> int:
        """About as many operations take its room."""
        return len(self) + (OPERATIONS_PER_TURN - 1) * len(self.turns)


class Database:
    """Kept in the file at *path*; `open` comes first."""

    def __init__(
        self,
        path: Path,
        *,
        detail: float,
        aggregate: float,
        max_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._detail = detail
        self._aggregate = aggregate
        self._room_on_disk = max_bytes - ASIDE_BYTES
        self._monotonic = monotonic
        self._ballast = Ballast(path.with_name(f"{path.name}.ballast"))
        self._ids = windows.SeriesIds()
        self._names = Names()
        self._connection: sqlite3.Connection | None = None
        self._run = 0
        self._damage = ""
        self.fault = ""
        self.is_in_memory = False
        self.used_bytes = 0
        self.dropped: Counter[str] = Counter()
        """Rows that went before their time for want of room, by table."""

    def open(self, now: float) -> None:
        """Open what is there, or begin. *now* (Unix seconds) names what has to be put aside. Raises nothing."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open_sound()
        except Damaged as error:
            self._begin_anew(str(error), now)
        except (TooNew, OSError, sqlite3.Error) as error:
            self._stay_in_memory(error)

    def write(self, batch: Batch, now: float) -> None:
        """Write *batch*, all or nothing. Raises sqlite3.Error when it cannot be written for now."""
        self._insist(lambda: self._write(batch, now), batch.weight, now)

    def keep(self, name: str, state: bytes, now: float) -> None:
        """Write a state, in place of the one before. Raises sqlite3.Error when it cannot be written for now."""
        if len(state) > self._room // STATE_SHARE:
            self.dropped["states"] += 1
            return
        self._insist(lambda: states.write(self._open, name, state, now), len(state) // OPERATION_BYTES, now)
        self._measure()

    def counters(self) -> dict[tuple[str, Labels], float]:
        """The values that counters go on from."""
        return counters.read(self._open)

    def position(self) -> int | None:
        """That of the last batch that had one; None where that is not known."""
        return windows.progress(self._open, POSITION) or None

    def maintain(self, now: float) -> Iterator[None]:
        """Merge minutes to quarters, delete what is too old or too much; a few milliseconds at each step.

        Raises sqlite3.Error where that cannot be done now.
        """
        try:
            yield from self._maintain(now)
        except sqlite3.DatabaseError as error:
            self._look_at(error)
            raise

    def leave_memory(self, now: float) -> None:
        """Move to the disk, if it is in memory and there is a disk now. Raises nothing."""
        if not self.is_in_memory:
            return
        memory = self._open
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                connection, fault = open_file(self._path), ""
            except Damaged as error:
                connection, fault = self._salvaged(str(error), now)
            connection.close()
            move(memory, self._path)
        except (Damaged, TooNew, OSError, sqlite3.Error):
            return
        memory.close()
        self.is_in_memory, self.fault = False, fault
        log.info("the history is on disk again")
        try:
            self._open_sound()
        except (Damaged, TooNew, OSError, sqlite3.Error) as error:
            self._stay_in_memory(error)

    def answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the database. Raises TimeoutError where that takes more than `QUESTION_SECONDS`."""
        until = self._monotonic() + QUESTION_SECONDS
        self._open.set_progress_handler(lambda: int(self._monotonic() > until), 10_000)
        try:
            return question(self._open)
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            raise TimeoutError(f"the answer takes more than {QUESTION_SECONDS:g} s: ask for less") from None
        except sqlite3.DatabaseError as error:
            self._look_at(error)
            raise
        finally:
            self._open.set_progress_handler(None, 0)

    def close(self) -> None:
        """Closing twice, or before opening, is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    @property
    def _room(self) -> int:
        return MEMORY_BYTES if self.is_in_memory else self._room_on_disk

    def _insist(self, write: Callable[[], None], rows: int, now: float) -> None:
        """Do it once more, in a new file where this one is damaged, or with room for *rows* where it is full."""
        if self._damage:
            self._begin_anew(self._damage, now)
        try:
            write()
        except sqlite3.DatabaseError as error:
            self._look_at(error)
            if self._damage:
                self._begin_anew(self._damage, now)
            elif "full" in str(error):
                self._make_room(2 * rows + retention.ROWS)
            else:
                raise
            write()

    def _maintain(self, now: float) -> Iterator[None]:
        self.leave_memory(now)
        yield
        yield from windows.compact(self._open, now)
        yield from retention.expire(self._open, now, self._detail, self._aggregate)
        yield from retention.shrink(self._open, self._room, self.dropped)
        yield from retention.give_back(self._open, self._room)
        if retention.forget_series(self._open):
            self._ids.forget()
        if forget_unused(self._open):
            self._names.forget()
        self._measure()
        self._make_safe()

    def _open_sound(self) -> None:
        try:
            self._use(open_file(self._path))
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            self.close()
            self._ballast.release()
            self._use(open_file(self._path))

    def _write(self, batch: Batch, now: float) -> None:
        try:
            with self._open as transaction:
                transaction.execute("BEGIN IMMEDIATE")
                operations.insert(transaction, self._names, batch.spans, now)
                turns.insert(transaction, self._names, batch.turns, now)
                windows.insert(transaction, self._ids, self._run, batch.minutes)
                alerts.insert(transaction, batch.alerts)
                counters.insert(transaction, batch.counters, now)
                if batch.position is not None:
                    windows.set_progress(transaction, POSITION, batch.position)
        except BaseException:
            self._forget_ids()  # what was found in a transaction that failed was never written
            raise
        self._measure()
        if self.used_bytes > retention.CROWDED * self._room:
            retention.make_room(self._open, 2 * batch.weight + retention.ROWS, self.dropped)

    def _make_room(self, rows: int) -> None:
        """On a full disk, or at the end of our own room. The file must not grow into the place of the ballast."""
        self._ballast.release()
        with suppress(sqlite3.Error):
            self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if retention.make_room(self._open, rows, self.dropped):
            self._limit_pages(1)

    def _measure(self) -> None:
        self.used_bytes = retention.used_bytes(self._open)

    def _use(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._forget_ids()
        self._limit_pages(self._room // PAGE_BYTES)
        self._run = windows.progress(connection, "run") + 1
        windows.set_progress(connection, "run", self._run)
        self._measure()
        self._make_safe()

    def _make_safe(self) -> None:
        """Put the ballast in its place, and let the file grow again while it is there."""
        if self.is_in_memory or self._ballast.place():
            self._limit_pages(self._room // PAGE_BYTES)

    def _limit_pages(self, most: int) -> None:
        """As many as there are already are allowed anyway."""
        self._open.execute(f"PRAGMA max_page_count = {most}")

    def _forget_ids(self) -> None:
        self._ids.forget()
        self._names.forget()

    def _look_at(self, error: sqlite3.DatabaseError) -> None:
        """An error that tells of damage is no subclass; the next write begins a new file."""
        if type(error) is sqlite3.DatabaseError:
            self._damage = str(error)

    def _begin_anew(self, reason: str, now: float) -> None:
        self._damage = ""
        self.close()
        try:
            connection, fault = self._salvaged(reason, now)
            self._use(connection)
        except (Damaged, OSError, sqlite3.Error) as error:
            self._stay_in_memory(error)
            return
        self.fault = fault

    def _salvaged(self, reason: str, now: float) -> tuple[sqlite3.Connection, str]:
        """A new file with what can be read of the damaged one, and what there is to tell of it."""
        aside = put_aside(self._path, now)
        connection = open_file(self._path)
        saved = salvage(aside, connection, TABLES, self._monotonic)
        windows.set_progress(connection, "compacted", 0)  # quarters may be missing whose minutes were saved
        fault = f"the history was damaged ({reason}): it is kept as {aside.name}; {saved} rows of it were saved"
        log.error("%s", fault)
        return connection, fault

    def _stay_in_memory(self, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        cure = next((cure for words, cure in _CURES if any(word in reason.lower() for word in words)), _NO_CURE)
        fact = f"{self._path.parent} cannot hold the history ({reason})"
        self.fault = f"store.path: {fact}: it is in memory, short, and does not survive a restart: {cure}"
        log.error("%s", self.fault)
        self.is_in_memory = True
        self.close()  # a file that was opened, and then failed, would be locked against ourselves
        connection = connect(":memory:")
        prepare(connection)
        self._use(connection)
