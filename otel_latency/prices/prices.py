"""What model calls cost that tell tokens and no cost: in sum, and on the rows that are shown to somebody.

A model that is seen for the first time is looked up (`prices.lookup`); its calls wait by reference meanwhile and get
their cost when the answer is there, a quarter of a second later as a rule. A cost that the sender told is believed.
Calls that the model's host reports are not priced: nobody buys from himself, and their callers tell of them, too. Where
no price is known there is no cost: a guess or 0 would be taken for one. That is logged once per model; it is looked up
again after an hour.

Bounded: `MAX_PAIRS` models, `MAX_WAITING` calls waiting, one child process at a time with `PAIRS_AT_ONCE` models to
look up, and none for twenty times as long as the last one took, so that made-up names of models cost a twentieth of a
core. What does not fit stays without cost, and is counted in `dropped`.

Cost: 0.03 us for a row that is no model call, 0.4 to 0.8 us to count one with a known price, and twice that to show it
as well. All methods belong to one thread.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import islice
from time import monotonic
from typing import Final

from otel_latency.prices.lookup import TIMEOUT, Answer, Lookup, Pair, command
from otel_latency.prices.tariff import INPUT, OUTPUT, Tariff
from otel_latency.records import Profile, SpanRow

log = logging.getLogger(__name__)

COST: Final = "cost_usd"
MAX_PAIRS: Final = 1_000
MAX_WAITING: Final = 2_000
MAX_PROFILES: Final = 4_096
"""Kinds of calls whose price is at hand."""
PAIRS_AT_ONCE: Final = 64
PAUSE_RATIO: Final = 20
MAX_PAUSE: Final = 60.0
RETRY_UNKNOWN: Final = 3600.0
RETRY_FAILED: Final = 60.0
MAX_NAMED: Final = 5
"""Models that one log line names."""


class Prices:
    """The prices of the models in use. *elapsed* tells seconds that never go back; *child* starts a `prices.table`."""

    def __init__(
        self,
        *,
        elapsed: Callable[[], float] = monotonic,
        child: Sequence[str] | None = None,
        timeout: float = TIMEOUT,
        max_pairs: int = MAX_PAIRS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.dropped = 0
        self._elapsed = elapsed
        self._child = command() if child is None else tuple(child)
        self._timeout = timeout
        self._max_pairs = max_pairs
        self._max_waiting = max_waiting
        self._tariffs: dict[Pair, Tariff] = {}
        self._priced: dict[Profile, Tariff] = {}
        self._owed: defaultdict[Profile, float] = defaultdict(float)
        self._retries: dict[Pair, float] = {}
        self._waiting: dict[Pair, list[SpanRow]] = {}
        self._waiting_rows = 0
        self._held: set[int] = set()  # the rows, by `id`, of those waiting that `show` held back
        self._released: list[SpanRow] = []
        self._lookup: Lookup | None = None
        self._lookup_began = 0.0
        self._pause_ends = float("-inf")
        self._emptied = float("-inf")
        self._is_running = False
        self._has_failed = False
        self._now = 0.0

    def start(self) -> None:
        """From now on unknown models are looked up. Does not wait for anything."""
        self._is_running = bool(self._child[0])

    def close(self) -> None:
        """End a lookup that is under way, and the calls' waiting. May be called twice, or without `start`."""
        self._is_running = False
        if self._lookup:
            self._lookup.stop()
            self._lookup = None
        self._release(list(self._waiting))

    def count(self, rows: Sequence[SpanRow], now: float) -> None:
        """Add up what *rows* cost, for `owed`; *now* (Unix seconds) stands for a start that nobody told."""
        self._now = now
        priced, owed = self._priced, self._owed
        for row in rows:
            profile, measures = row[0], row[6]
            if profile.llm is None or not measures or COST in measures:
                continue
            tariff = priced.get(profile) or self._find(row)
            if tariff is not None and (INPUT in measures or OUTPUT in measures):
                cost = tariff.cost(measures, row[4] / 1e9 or now)
                if cost is not None:
                    owed[profile] += cost

    def show(self, rows: Sequence[SpanRow]) -> Sequence[SpanRow]:
        """Add `cost_usd` to the measures of *rows*, which have just been counted; answers those that do not wait for
        their price. The others come by `released`.
        """
        priced = self._priced
        for row in rows:
            tariff = priced.get(row[0])
            if tariff is not None:
                self._show(row, tariff)
        if not self._waiting:
            return rows
        waiting = {id(row) for each in self._waiting.values() for row in each}
        held = waiting.intersection(map(id, rows))
        self._held |= held
        return [row for row in rows if id(row) not in held]

    def released(self) -> list[SpanRow]:
        """Rows that `show` held back and that wait no more, with their cost where there is a price."""
        released, self._released = self._released, []
        return released

    def owed(self) -> list[tuple[Profile, float]]:
        """What the calls counted since the last time cost in sum, by profile, as far as it is known.

        To be called at every tick: it also gets the next lookup going.
        """
        if self._lookup and self._lookup.answer:
            self._learn(self._lookup, self._lookup.answer)
            self._lookup = None
        if self._is_running and self._waiting and not self._lookup and self._elapsed() >= self._pause_ends:
            self._lookup_began = self._elapsed()
            self._lookup = Lookup(tuple(islice(self._waiting, PAIRS_AT_ONCE)), self._child, self._timeout)
        owed, self._owed = self._owed, defaultdict(float)
        return list(owed.items())

    def _find(self, row: SpanRow) -> Tariff | None:
        """The price of a call's kind; where it has to be found out the row waits."""
        llm, measures = row[0].llm, row[6]
        if llm is None or not measures or llm.origin != "client" or not (INPUT in measures or OUTPUT in measures):
            return None
        pair = llm.provider, llm.model
        tariff = self._tariffs.get(pair)
        if tariff is not None:
            if len(self._priced) >= MAX_PROFILES:
                self._priced.clear()
            self._priced[row[0]] = tariff
        elif self._is_running and llm.model:
            self._let_wait(pair, row)
        return tariff

    def _show(self, row: SpanRow, tariff: Tariff) -> float | None:
        """The cost of a call that has none yet, if it can be told."""
        measures = row[6]
        if not measures or COST in measures or not (INPUT in measures or OUTPUT in measures):
            return None
        cost = tariff.cost(measures, row[4] / 1e9 or self._now)
        if cost is not None:
            measures[COST] = cost
        return cost

    def _let_wait(self, pair: Pair, row: SpanRow) -> None:
        """Keep the row until its price is known, if that is being found out."""
        rows = self._waiting.get(pair)
        if rows is None:
            retry = self._retries.get(pair)
            if retry is not None and self._elapsed() < retry:
                return
            if retry is None and not self._has_room():
                self.dropped += 1
                return
            rows = self._waiting[pair] = []
        if self._waiting_rows >= self._max_waiting:
            self.dropped += 1
            return
        self._waiting_rows += 1
        rows.append(row)

    def _has_room(self) -> bool:
        """Whether one more model may be remembered. A full table is begun anew, once an hour at most."""
        if len(self._tariffs) + len(self._retries) + len(self._waiting) < self._max_pairs:
            return True
        if self._elapsed() < self._emptied + RETRY_UNKNOWN or len(self._waiting) >= self._max_pairs:
            return False
        log.warning("more than %d models are in use: all are looked up anew, once an hour at most", self._max_pairs)
        self._emptied = self._elapsed()
        self._tariffs.clear()
        self._priced.clear()
        self._retries.clear()
        return True

    def _learn(self, lookup: Lookup, answer: Answer) -> None:
        now = self._elapsed()
        self._pause_ends = now + min(PAUSE_RATIO * (now - self._lookup_began), MAX_PAUSE)
        if answer.missing:
            log.warning("%s is not installed: a call has a cost only if its sender tells it", answer.missing)
            self.close()
            return
        waited = self._release(lookup.pairs)
        if answer.error:
            self._put_off(answer.error, now)
            self.dropped += sum(map(len, waited.values()))
            return
        self._has_failed = False
        self._tariffs.update(answer.tariffs)
        for pair, rows in waited.items():
            if pair in answer.tariffs:
                self._retries.pop(pair, None)
                for row in rows:
                    if (cost := self._show(row, answer.tariffs[pair])) is not None:
                        self._owed[row[0]] += cost
        self._note_unknown([pair for pair in lookup.pairs if pair not in answer.tariffs], now)

    def _release(self, pairs: Sequence[Pair]) -> dict[Pair, list[SpanRow]]:
        """Let the calls of *pairs* wait no more."""
        waited = {pair: self._waiting.pop(pair) for pair in pairs}
        rows = [row for each in waited.values() for row in each]
        self._waiting_rows -= len(rows)
        self._released += [row for row in rows if id(row) in self._held]
        self._held.difference_update(map(id, rows))
        return waited

    def _put_off(self, error: str, now: float) -> None:
        """Ask nothing for a while, and say so once."""
        self._pause_ends = now + RETRY_FAILED
        if not self._has_failed:
            log.warning("looking up prices failed, next try in %g s: %s", RETRY_FAILED, error)
        self._has_failed = True

    def _note_unknown(self, pairs: Sequence[Pair], now: float) -> None:
        """Look these up again later, and say once of each that it has no price."""
        news = ["/".join(pair).lstrip("/") for pair in pairs if pair not in self._retries]
        self._retries.update(dict.fromkeys(pairs, now + RETRY_UNKNOWN))
        if news:
            more = f" and {len(news) - MAX_NAMED} more" if len(news) > MAX_NAMED else ""
            names = ", ".join(news[:MAX_NAMED]) + more
            log.info("no price is known for %s: calls have a cost only if their sender tells it", names)
