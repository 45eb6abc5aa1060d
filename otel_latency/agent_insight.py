"""Understanding, connected: what the agent makes of finished spans beyond counting them.

    spans --new ones--+--> aggregator, prices
                      +--under load a sample of traces--> turns --> sessions, critical paths
                                                      +-> forecasts, anomalies
                                                      +-> history

Counts, percentiles and windows are of all spans. Turns, forecasts and single operations in the history are of a sample
of whole traces once more than `TURN_RATE` spans a second come; `otel_latency_agent_turn_sampling_ratio` tells its size.

The history lives in the store's directory. Where that cannot be written it lives in memory, and `/status` says so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from otel_latency.aggregate.aggregator import COUNTERS, Aggregator
from otel_latency.aggregate.forecasts import Forecasts
from otel_latency.aggregate.latest import LatestTurns
from otel_latency.aggregate.operations import Operations
from otel_latency.aggregate.overview import Overview
from otel_latency.aggregate.samples import SampleTable
from otel_latency.aggregate.sessions import SESSIONS, Sessions
from otel_latency.aggregate.turn import Turn
from otel_latency.aggregate.turn_sampling import TraceSampling
from otel_latency.aggregate.turn_view import critical_text, observations
from otel_latency.aggregate.turns import Closed, TurnAssembler
from otel_latency.clock import Clock
from otel_latency.config.sections import Config
from otel_latency.prices.prices import Prices
from otel_latency.records import Family, Labels, SpanRow
from otel_latency.store.calendar import MINUTELY, Calendar
from otel_latency.store.history import History
from otel_latency.store.windows import Range, Window

TURN_RATE: Final = 2_000.0
"""Spans a second that become turns, which takes some 2 % of a core."""
COUNT_EVERY: Final = 10.0
"""Seconds between two looks at the counters for the history, should nobody ask for them meanwhile."""
FORECASTS: Final = "forecasts"
FIVE_MINUTELY: Final = "*/5 * * * *"

_GO_ON: Final = {*COUNTERS, SESSIONS}
"""Counters that continue over a restart: those of what we count ourselves."""

log = logging.getLogger(__name__)


class Insight:
    """The parts and how spans go through them; relative paths begin at *directory*.

    `start` comes before the first `take`, `tick` at every tick, `close` after the last `take`.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        directory: Path,
        aggregator: Aggregator,
        operations: Operations,
        samples: SampleTable,
        written: Callable[[int], None] = lambda _position: None,
    ) -> None:
        """*written* is told how far in the log what is on disk now reaches."""
        self._clock = clock
        self._aggregator = aggregator
        self._samples = samples
        turn_timeout = float(config.aggregate.turn_timeout)
        self.prices = Prices(elapsed=clock.monotonic)
        self.assembler = TurnAssembler(turn_timeout=turn_timeout, is_running=operations.is_running)
        self.sampling = TraceSampling(held=self.assembler, max_rate=TURN_RATE, turn_timeout=turn_timeout)
        self.latest = LatestTurns()
        self.sessions = Sessions()
        self.forecasts = Forecasts()
        self.overview = Overview(config.targets)
        self.history = History(
            directory / config.store.path,
            detail=float(config.store.detail),
            aggregate=float(config.store.aggregate),
            max_bytes=int(config.store.max_bytes),
            clock=clock,
            minutes=self._minutes,
            changed=aggregator.take_minutes,
            counters=self._counters,
            written=written,
        )
        self._calendar = Calendar()
        self._calendar.add("history", MINUTELY, self.history.maintain)
        self._calendar.add(FORECASTS, FIVE_MINUTELY, self._keep_forecasts)
        self._counted = float("-inf")
        self._torn = 0

    async def start(self) -> int | None:
        """Open the history, and go on from what it knows. Answers how far in the log that reaches, if it knows.

        Raises nothing; see `history.fault`.
        """
        past = await self.history.start()
        self._aggregator.restore(past.counters)
        self.sessions.restore(past.counters)
        self.overview.restore(past.counters)
        await self._recall_forecasts()
        self.prices.start()
        self._calendar.start()
        return past.position

    def take(self, rows: list[SpanRow]) -> None:
        """Take finished spans, perhaps not for the first time."""
        now, elapsed = self._clock.time(), self._clock.monotonic()
        fresh = self._aggregator.fresh(rows)
        self._aggregator.add(fresh, now)
        self.prices.count(fresh, now)
        kept = self.sampling.kept(fresh, elapsed)
        self.history.add(self.prices.show(kept))
        self.assembler.add(kept, elapsed)
        self.forecasts.add(kept)

    def remember(self, rows: list[SpanRow]) -> None:
        """A former run has counted these: should they come again, they are not."""
        self._aggregator.remember(rows)

    def tick(self, now: float) -> None:
        """What has become known since the last tick; *now* is Unix seconds."""
        elapsed = self._clock.monotonic()
        self.sampling.tick(elapsed)
        self._settle(self.assembler.close(elapsed), elapsed)
        for profile, usd in self.prices.owed():
            self._aggregator.add_cost(profile, usd)
        self.history.add(self.prices.released())
        self.forecasts.learn(now)
        if elapsed - self._counted >= COUNT_EVERY:
            self.count(self._counters())
        self.history.tick(now)

    def families(self, now: float) -> list[Family]:
        """Sessions and anomalies; *now* is Unix seconds."""
        return [*self.sessions.families(self._clock.monotonic()), *self.forecasts.families(now)]

    def count(self, families: Iterable[Family]) -> None:
        """Keep the counters among *families*, which are being shown to somebody."""
        self._counted = self._clock.monotonic()
        self.history.count(family for family in families if family.name in _GO_ON)

    async def close(self) -> None:
        """Put together what is there, and write it. Closing twice, or before `start`, is harmless."""
        self._calendar.stop()
        self.prices.close()
        self.history.add(self.prices.released())
        elapsed = self._clock.monotonic()
        self._settle(self.assembler.flush(), elapsed)
        self.count(self._counters())
        await self._keep_forecasts()
        await self.history.close()

    @property
    def llm_stages(self) -> Collection[tuple[str, str]]:
        """Services and stages that are calls of models."""
        return self._aggregator.llm_stages

    @property
    def complete_from(self) -> float:
        """The Unix time from which on every span became part of turns and operations; 0 where all did."""
        left_out_at = self.sampling.left_out_at
        return 0.0 if left_out_at is None else self._clock.time() - (self._clock.monotonic() - left_out_at)

    def critical_path(self, trace_id: str) -> str:
        """What the latest turn of a trace waited for, in a line; nothing where it is not known, or not any more."""
        turn = self.latest.find(bytes.fromhex(trace_id))
        return critical_text(turn) if turn else ""

    def unassembled(self) -> Mapping[str, int]:
        """Spans that were counted and are in no turn, by reason."""
        return self.assembler.dropped + Counter(sampled=self.sampling.left_out, torn=self._torn)

    def unlearnt(self) -> Mapping[str, int]:
        """Operations that forecasts did not learn from, by reason."""
        return {"overflow": self.forecasts.passed_over, "failed": self.forecasts.failed}

    def unpriced(self) -> Mapping[str, int]:
        """Calls that may have a price which was not found out, by reason."""
        return {"overflow": self.prices.dropped}

    def turns_status(self) -> dict[str, object]:
        """The section `turns` of /status."""
        return {
            "waiting_spans": self.assembler.spans,
            "waiting_bytes": self.assembler.size_bytes,
            "sampling_ratio": self.sampling.share,
            "unassembled_spans": dict(self.unassembled()),
            "active_sessions": sum(1 for _ in self.sessions.active()),
        }

    def _settle(self, closed: Closed, elapsed: float) -> None:
        """Hand turns on: those that can be shown, and those that are final."""
        for turn in self._whole(closed.shown, elapsed):
            self.latest.put(turn)
        final = self._whole(closed.final, elapsed)
        for turn in final:
            self.sessions.add(turn, elapsed)
        self._aggregator.observe([one for turn in final for one in observations(turn)])
        self.history.add_turns(final)
        self._torn += _spans(closed.final) - _spans(final)

    def _whole(self, turns: list[Turn], elapsed: float) -> list[Turn]:
        """Those that were not torn when the sample became smaller."""
        return self.sampling.whole(turns, elapsed)

    def _counters(self) -> list[Family]:
        """The counters that go on over a restart, with all that was taken by now."""
        self._aggregator.fold(self._clock.time())
        families = [*self._aggregator.counters(), *self.sessions.families(self._clock.monotonic())]
        return [family for family in families if family.name in _GO_ON]

    def _minutes(self, slot: int) -> Iterator[tuple[str, Labels, Window | None]]:
        """What collectors measured; latencies tell by themselves what has changed."""
        for name, labels, values in self._samples.minutes(slot):
            yield name, labels, Range.of(values) if values else None

    async def _recall_forecasts(self) -> None:
        state = await self.history.kept(FORECASTS)
        if state is None:
            return
        try:
            self.forecasts.load(state)
        except ValueError as error:
            log.warning("forecasts begin anew: %s", error)

    async def _keep_forecasts(self) -> None:
        self.history.keep(FORECASTS, self.forecasts.dump())


def _spans(turns: Iterable[Turn]) -> int:
    return sum(1 + len(turn.stages) for turn in turns)
