"""What the live page shows, as JSON: a snapshot each 250 ms, and the last minute for who has just come.

    {...the overview...,
     "page": {"series", "slow", "machine", "judgements", "providers", "anomalies", "pending"},
     "live": {"time", "lines", "heat", "turns", "operations", "running"}}

The overview and `page` are made anew once a second, `live` each time; with more than `SERIES_A_SECOND` series less
often, so that looking costs no more than some 2 % of a core. Providers come from the history, on its thread, once in
10 s or when a fiftieth of the time was spent on them. `turns` are those that came or changed and were not told yet: of
the `CONSIDERED_TURNS` newest the `MAX_NEW_TURNS` slowest. Nothing is computed while nobody looks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from otel_latency.agent_insight import Insight
from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.live import Live
from otel_latency.aggregate.machine import machine
from otel_latency.aggregate.operations import Operations
from otel_latency.aggregate.samples import SampleTable
from otel_latency.aggregate.turn import Turn
from otel_latency.aggregate.turn_view import turn_json
from otel_latency.clock import Clock
from otel_latency.web.api import HOUR, JSON, Which
from otel_latency.web.replies import to_json

SLOW_EVERY: Final = 1.0
SERIES_A_SECOND: Final = 250
PROVIDERS_EVERY: Final = 10.0
PROVIDERS_SHARE: Final = 50.0
"""Asking for providers takes no more than this part of the time."""
MAX_NEW_TURNS: Final = 6
CONSIDERED_TURNS: Final = 24
PAST_TURNS: Final = 24
TURNS_A_PART: Final = 4
MAX_RUNNING: Final = 40
MAX_ANOMALIES: Final = 12
MAX_PENDING: Final = 20
SLOW: Final = ("critical", "slow")

log = logging.getLogger(__name__)

Ask = Callable[[], Awaitable[JSON]]


class LiveFeed:
    """Snapshots of what the parts know; made for one reader at a time, which hands them to everybody who looks.

    *overview* and *alerts* answer as `/api/v1/overview` and `/api/v1/alerts` do, *providers* as `/api/v1/providers`
    for a period, *judgements* as the section `machine` of /status.
    """

    def __init__(
        self,
        insight: Insight,
        *,
        clock: Clock,
        aggregator: Aggregator,
        operations: Operations,
        samples: SampleTable,
        overview: Ask,
        alerts: Callable[[], Awaitable[Mapping[str, Any]]],
        providers: Callable[[Which, tuple[str, ...]], Awaitable[JSON]],
        judgements: Callable[[], list[dict[str, object]]],
    ) -> None:
        self._insight = insight
        self._clock = clock
        self._aggregator = aggregator
        self._operations = operations
        self._samples = samples
        self._overview = overview
        self._alerts = alerts
        self._ask_providers = providers
        self._judgements = judgements
        self._live = Live(aggregator)
        self._slow_part = b""
        self._slow_due = float("-inf")
        self._told: dict[tuple[bytes, bytes], Turn] = {}
        self._providers: JSON | None = None
        self._providers_due = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def snapshot(self) -> bytes:
        """What is now."""
        if self._clock.monotonic() >= self._slow_due:
            self._slow_part = await self._make_slow_part()
            self._slow_due = self._clock.monotonic() + max(SLOW_EVERY, self._aggregator.series / SERIES_A_SECOND)
        now = self._clock.time()
        operations = self._operations.running(now)
        live = {
            "time": now,
            "lines": self._live.lines(now),
            "heat": self._live.heat(now),
            "turns": [turn_json(turn) for turn in self._news()],
            "operations": [self._with_estimate(row) for row in operations[:MAX_RUNNING]],
            "running": len(operations),
        }
        return self._slow_part + b',"live":' + to_json(live) + b"}"

    async def history(self) -> list[bytes]:
        """The last minute, for who has not seen it, in parts.

        Each has `series` with `lines`, their values at the end of each second up to that of `time`, and `heat` as in a
        snapshot; or `turns`.
        """
        now = self._clock.time()
        parts = []
        for series, (lines, heat) in zip(self._live.series(), self._live.past(now), strict=True):
            parts.append(to_json({"time": int(now), "series": [series], "lines": [lines], "heat": heat, "turns": []}))
            await asyncio.sleep(0)
        latest = list(self._insight.latest)[:PAST_TURNS]
        for start in range(0, len(latest), TURNS_A_PART):
            turns = [turn_json(turn) for turn in latest[start : start + TURNS_A_PART]]
            parts.append(to_json({"time": int(now), "series": [], "lines": [], "heat": [], "turns": turns}))
            await asyncio.sleep(0)
        return parts

    def rest(self) -> None:
        """Nobody looks any more: keep nothing for them."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking, self._providers = None, None
        self._slow_due = self._providers_due = float("-inf")
        self._slow_part = b""
        self._told = {}
        self._live = Live(self._aggregator)

    async def _make_slow_part(self) -> bytes:
        """The overview and `page`, without the closing brace."""
        self._refresh_providers()
        overview = await self._overview()
        now = self._clock.time()
        self._live.choose(now)
        page = {
            "series": self._live.series(),
            "slow": self._too_slow(overview, now),
            "machine": machine(self._samples.families(now)),
            "judgements": self._judgements(),
            "providers": self._providers,
            "anomalies": self._insight.forecasts.anomalies(now)[:MAX_ANOMALIES],
            "pending": [one for one in (await self._alerts())["alerts"] if one["state"] == "pending"][:MAX_PENDING],
        }
        return to_json({**overview, "page": page})[:-1]

    def _too_slow(self, overview: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
        """The stages and milestones over their target, the worst first, and since when they are."""
        rows = [("stage", row["service"], row["stage"], row) for row in overview["stages"]]
        rows += [(name, row["service"], row["turn"], row) for name, row in overview["milestones"].items()]
        found: list[dict[str, Any]] = []
        for kind, service, name, row in rows:
            if row["verdict"] in SLOW:
                limit = row["critical"] if row["verdict"] == "critical" else row["target"]
                since = self._live.slow_since(kind, service, name, limit, now)
                found.append({**row, "kind": kind, "name": name, "limit": limit, "since": since})
        found.sort(key=lambda one: (SLOW.index(one["verdict"]), -one["p95"] / one["limit"]))
        return found

    def _news(self) -> list[Turn]:
        """Turns that came or changed, in the order in which they began; what is left over comes next time."""
        latest = {(turn.trace_id, turn.span_id): turn for turn in self._insight.latest}
        fresh = [key for key, turn in latest.items() if self._told.get(key) is not turn][:CONSIDERED_TURNS]
        chosen = sorted(fresh, key=lambda key: latest[key].duration)[-MAX_NEW_TURNS:]
        self._told = {key: turn for key, turn in self._told.items() if key in latest}
        self._told |= {key: latest[key] for key in chosen}
        return sorted((latest[key] for key in chosen), key=lambda turn: turn.start_ns)

    def _with_estimate(self, row: dict[str, object]) -> dict[str, object]:
        if row["estimate_seconds"] is None:
            row["estimate_seconds"] = self._insight.forecasts.expected(row)
        return row

    def _refresh_providers(self) -> None:
        """Ask for them beside everything else, if it is time."""
        if self._asking is None and self._clock.monotonic() >= self._providers_due:
            self._asking = asyncio.create_task(self._read_providers(), name="live: providers")

    async def _read_providers(self) -> None:
        began, now = self._clock.monotonic(), self._clock.time()
        try:
            self._providers = await self._ask_providers(Which({}, now - HOUR, now + 1.0, "llm"), ("provider", "model"))
        except Exception:
            log.exception("the live page goes on without providers")
        took = self._clock.monotonic() - began
        self._providers_due = self._clock.monotonic() + max(PROVIDERS_EVERY, PROVIDERS_SHARE * took)
        self._asking = None
