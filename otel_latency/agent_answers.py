"""Answers to `/api/v1`: what is known now, from memory, and what was known before, from the history.

Where both know of a turn, memory is right: the history hears of turns once they are final. Sessions are made of final
turns only, and memory tells which of them go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from math import nextafter
from typing import Any, Final

from otel_latency.agent_insight import Insight
from otel_latency.aggregate.operations import Operations
from otel_latency.aggregate.turn import Turn
from otel_latency.aggregate.turn_view import turn_json, turn_line
from otel_latency.clock import Clock
from otel_latency.records import CheckResult, Family
from otel_latency.significance.providers import providers_json
from otel_latency.store.operations import CLOCKS_DIFFER, Filter
from otel_latency.web.api import JSON, Which

TOTALS: Final = ("task", "session")
"""By what else costs are summed up for providers."""
_ID_DIGITS: Final = 32


class Answers:
    """Asks the parts of *insight*, which may be asked from the event loop only.

    *families* is what an overview is made of, *alerts* the answer of `/api/v1/alerts`.
    """

    def __init__(
        self,
        insight: Insight,
        *,
        clock: Clock,
        operations: Operations,
        families: Callable[[], Awaitable[list[Family]]],
        checks: Callable[[], Iterable[CheckResult]],
        alerts: Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> None:
        self._insight = insight
        self._clock = clock
        self._operations = operations
        self._families = families
        self._checks = checks
        self._alerts = alerts

    async def overview(self) -> JSON:
        """The last minute in one document."""
        families = await self._families()
        alerts = (await self._alerts())["alerts"]
        return self._insight.overview.document(
            self._clock.time(),
            families,
            running=self._running(),
            checks=self._checks(),
            alerts=[alert for alert in alerts if alert["state"] == "firing"],
            llm_stages=self._insight.llm_stages,
        )

    async def turns(self, which: Which, limit: int, *, slower_than: float) -> JSON:
        """The newest first."""
        texts = {name: which.texts.get(name, "") for name in ("service", "session", "status")}
        before = await self._insight.history.turns(
            limit, since=which.since, until=which.until, slower_than=slower_than, **texts
        )
        known = {_key(line): line for line in before["turns"]}
        for turn, believed in _believed(self._insight.latest, self._clock.time()):
            line = turn_line(turn)
            end = known.get(_key(line), {}).get("end", believed)
            if _is_meant(turn, end, which, slower_than):
                known[_key(line)] = {**line, "end": end}
        newest = sorted(known.values(), key=_end, reverse=True)[:limit]
        return {"turns": newest, "sampling_ratio": self._share}

    async def turn(self, identity: str, span_id: str) -> JSON | None:
        """By trace or request."""
        known = self._latest_turn(identity, span_id)
        return turn_json(known) if known else await self._insight.history.turn(identity, span_id)

    async def running(self) -> JSON:
        """With estimates of ours where the operations brought none."""
        return {"operations": self._running()}

    async def operations(self, which: Which, limit: int) -> JSON:
        """The newest first."""
        return {**await self._insight.history.operations(_filter(which), limit), "sampling_ratio": self._share}

    async def sessions(self, which: Which, limit: int) -> JSON:
        """The latest first; of each what its turns in that time tell."""
        before = await self._insight.history.sessions(limit, since=which.since, until=which.until, **which.texts)
        active = {(one.service, one.session) for one in self._insight.sessions.active()}
        rows = [{**row, "is_active": (row["service"], row["session"]) in active} for row in before["sessions"]]
        return {"sessions": rows, "sampling_ratio": self._share}

    async def providers(self, which: Which, by: Sequence[str]) -> JSON:
        """Side by side, with what they cost."""
        history, meant = self._insight.history, _filter(which)
        rows = (await history.summary(meant, by))["summary"]
        durations = (await history.durations(meant, by)).groups
        totals = {column: (await history.summary(meant, (column,)))["summary"] for column in TOTALS if column not in by}
        found = await history.ask(lambda _: providers_json(rows, durations, by, totals))
        return {**found, "sampling_ratio": self._share}

    async def summary(self, which: Which, by: Sequence[str]) -> JSON:
        """Of operations alike."""
        return {**await self._insight.history.summary(_filter(which), by), "sampling_ratio": self._share}

    async def durations(self, which: Which, by: Sequence[str], limit: int) -> JSON:
        """Of operations alike that ended well."""
        found = await self._insight.history.durations(_filter(which), by, limit)
        shown = [
            {"labels": dict(zip(by, group, strict=True)), "seconds": list(seconds)}
            for group, seconds in found.groups.items()
        ]
        complete_from = max(found.complete_from, self._insight.complete_from)
        return {"durations": shown, "complete_from": complete_from, "sampling_ratio": self._share}

    async def history(self, series: str, since: float, until: float, step: float | None) -> JSON:
        """Lines of points."""
        return await self._insight.history.history(series, since, until, step)

    async def estimate(self, task: str, *, provider: str, model: str | None, input_tokens: float | None) -> JSON:
        """Of a call that starts now."""
        return self._insight.forecasts.estimate_json(task, provider, model, input_tokens)

    async def anomalies(self, limit: int) -> JSON:
        """The newest first."""
        return {"anomalies": self._insight.forecasts.anomalies(self._clock.time())[:limit]}

    async def alert_history(self, since: float, until: float, limit: int) -> JSON:
        """Episodes of alerts, the latest first."""
        return await self._insight.history.alerts(since, until, limit)

    @property
    def _share(self) -> float:
        """The part of all traces that is kept just now."""
        return self._insight.sampling.share

    def _running(self) -> list[dict[str, object]]:
        rows = self._operations.running(self._clock.time())
        for row in rows:
            if row["estimate_seconds"] is None:
                row["estimate_seconds"] = self._insight.forecasts.expected(row)
        return rows

    def _latest_turn(self, identity: str, span_id: str) -> Turn | None:
        latest = self._insight.latest
        if len(identity) == _ID_DIGITS and (known := latest.find(_bytes(identity), _bytes(span_id))):
            return known
        return next((turn for turn in latest if turn.request_id == identity), None)


def _believed(latest: Iterable[Turn], now: float) -> Iterator[tuple[Turn, float]]:
    """Turns, the last that came first, with their ends: one whose clock is ahead ended before the next one came."""
    newer = now
    for turn in latest:
        end = turn.end_ns / 1e9
        newer = end if end <= now + CLOCKS_DIFFER else nextafter(newer, 0.0)
        yield turn, newer


def _is_meant(turn: Turn, end: float, which: Which, slower_than: float) -> bool:
    texts = {"service": turn.service, "session": turn.session, "status": turn.status}
    is_in_time = which.since <= end < which.until
    return is_in_time and turn.duration > slower_than and which.texts.items() <= texts.items()


def _filter(which: Which) -> Filter:
    return Filter(which.texts, which.kind, which.since, which.until)


def _bytes(digits: str) -> bytes:
    """Of hexadecimal digits; nothing for what is none."""
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""


def _key(line: Mapping[str, Any]) -> tuple[str, str | None]:
    """A turn without root has no span."""
    return line["trace_id"], line["span_id"]


def _end(line: Mapping[str, Any]) -> float:
    """As far as it can be believed."""
    return float(line["end"])
