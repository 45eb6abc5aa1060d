"""`/api/v1/...`: what the agent knows of turns, operations, sessions, providers and their past, as plain JSON.

    /overview                  the last minute
    /turns                     the latest turns: limit, from, to, service, session, status, slower_than
    /turns/{trace_id}          one of them, stage by stage, by its trace or request: span_id
    /operations                that have ended, the newest first: kind, limit, from, to, and what operations have
    /operations/running        what has begun and not ended
    /sessions                  limit, from, to, service, session
    /providers                 side by side: by, from, to, service, task
    /summary                   of operations alike: by, kind, from, to, and what operations have
    /durations                 of operations that ended well: by, kind, limit, from, to, and what operations have
    /history                   series, from, to, step
    /estimate                  task, provider, model, input_tokens
    /anomalies                 limit
    /alerts/history            episodes of alerts, the latest first: limit, from, to

Times are Unix seconds, durations seconds; a request may as well write RFC 3339, `now` or `-1h`, and `5m` for a step.
From when to when is about the end of things, but about the beginning of alerts. An argument that cannot be meant is
answered with 400, what is not there with 404, a question that takes too long with 503 and a history that cannot be
read with 500, each as `{"error": "..."}`.

Under load the turns and operations that are kept are those of a sample of whole traces. `sampling_ratio` tells its size
now, 1.0 where nothing is left out. Percentiles over time (`/history`) and what `/overview` counts are of all spans.

Long answers are encoded in parts (see `parts`), and no more than `AT_ONCE` questions about the past are worked on at
once, so that many who ask cost no more memory than a few; who waits for longer than `PATIENCE` is sent away.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import web

from otel_latency.clock import Clock
from otel_latency.web.app import Handler, Route
from otel_latency.web.arguments import Arguments
from otel_latency.web.parts import reply_in_parts
from otel_latency.web.replies import reply

log = logging.getLogger(__name__)

JSON = Mapping[str, object]
Answer = Callable[[web.Request], Awaitable[JSON | None]]

LIMIT: Final = 100
MOST: Final = 1000
SAMPLES: Final = 5000
"""Of each group of `/durations`."""
HOUR: Final = 3600.0
AT_ONCE: Final = 2
PATIENCE: Final = 5.0
KINDS: Final = ("all", "turn", "stage", "llm")
OF_TURNS: Final = ("service", "session", "status")
OF_SESSIONS: Final = ("service", "session")
OF_OPERATIONS: Final = (
    *("service", "turn", "stage", "operation", "provider", "model", "task", "status", "error_type", "session"),
)
_PERIOD: Final = ("from", "to")
UNKNOWN_TURN: Final = (
    "no such turn is known: it may be too old, not over yet, or left out, as under load only a sample of traces is kept"
)


@dataclass(frozen=True, slots=True)
class Which:
    """What is asked about: `texts` are fields and what they hold, times are Unix seconds, `until` exclusive.

    `kind` of operations is turn, stage or llm, or empty for all.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    since: float = 0.0
    until: float = 1e11
    kind: str = ""


class Insight(Protocol):
    """Who answers, in plain JSON. Raises ValueError for what cannot be asked, TimeoutError where it takes too long.

    What is made of turns or single operations tells `sampling_ratio` as well, the part of all traces that is kept at
    the moment: 1.0 but under load.
    """

    async def overview(self) -> JSON:
        """The last minute in one document."""

    async def turns(self, which: Which, limit: int, *, slower_than: float) -> JSON:
        """`turns`: lines of the latest turns, the newest first; none that took no longer than *slower_than*. And
        `sampling_ratio`.
        """

    async def turn(self, identity: str, span_id: str) -> JSON | None:
        """All about one turn, by its trace id or else its request id, and by its span if that is given (both ids in
        hexadecimal digits); None where it is not known.
        """

    async def operations(self, which: Which, limit: int) -> JSON:
        """`operations` that have ended, the newest first, and `sampling_ratio`."""

    async def running(self) -> JSON:
        """`operations`: what runs, the oldest first."""

    async def sessions(self, which: Which, limit: int) -> JSON:
        """`sessions`, the latest first, and `sampling_ratio`."""

    async def providers(self, which: Which, by: Sequence[str]) -> JSON:
        """`providers`: calls of models alike in *by*, side by side; and `sampling_ratio`."""

    async def summary(self, which: Which, by: Sequence[str]) -> JSON:
        """`summary`: of operations alike in *by*, how long they took and how they fared; and `sampling_ratio`."""

    async def durations(self, which: Which, by: Sequence[str], limit: int) -> JSON:
        """`durations`: of each group of operations alike in *by* that ended well, its `labels` and the newest
        `seconds`; and `sampling_ratio`. No operation is missing that ended at `complete_from` or later, in Unix
        seconds: that is later than the end of the last span that was left out of a sample.
        """

    async def history(self, series: str, since: float, until: float, step: float | None) -> JSON:
        """`series`: lines with points."""

    async def estimate(self, task: str, *, provider: str, model: str | None, input_tokens: float | None) -> JSON:
        """What to expect of a call that starts now."""

    async def anomalies(self, limit: int) -> JSON:
        """`anomalies`: what is other than it was, the newest first."""

    async def alert_history(self, since: float, until: float, limit: int) -> JSON:
        """`alerts`: episodes that began from *since* on and before *until*, the latest first, each with its `labels`,
        `annotations`, `start`, `value`, and `resolved`, which is null while it fires.
        """


class API:
    """Answers for *insight*; *clock* tells what `now` and `-1h` mean."""

    def __init__(self, insight: Insight, clock: Clock) -> None:
        self._insight = insight
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)

    def routes(self) -> list[Route]:
        """Guarded by the Host header: a page in a browser has no business here."""
        present: Mapping[str, Answer] = {
            "overview": self._overview,
            "turns/{trace_id}": self._turn,
            "operations/running": self._running,
            "estimate": self._estimate,
            "anomalies": self._anomalies,
        }
        past: Mapping[str, Answer] = {
            "turns": self._turns,
            "operations": self._operations,
            "sessions": self._sessions,
            "providers": self._providers,
            "summary": self._summary,
            "durations": self._durations,
            "history": self._history,
            "alerts/history": self._alert_history,
        }
        return [
            *(Route(f"/api/v1/{path}", _answering(answer, nullcontext)) for path, answer in present.items()),
            *(Route(f"/api/v1/{path}", _answering(answer, self._place)) for path, answer in past.items()),
        ]

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the few at which a question about the past is worked on."""
        async with asyncio.timeout(PATIENCE):
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    def _arguments(self, request: web.Request, *known: str) -> Arguments:
        return Arguments(request.query, known, self._clock.time())

    async def _overview(self, request: web.Request) -> JSON:
        self._arguments(request)
        return await self._insight.overview()

    async def _turns(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "limit", *_PERIOD, *OF_TURNS, "slower_than")
        slower_than = asked.duration("slower_than") or 0.0
        return await self._insight.turns(_which(asked, OF_TURNS), asked.limit(LIMIT, MOST), slower_than=slower_than)

    async def _turn(self, request: web.Request) -> JSON | None:
        span_id = self._arguments(request, "span_id").text("span_id").lower()
        if span_id and not re.fullmatch("[0-9a-f]{16}", span_id):
            raise ValueError(f"span_id: {span_id[:40]!r} is not a span's id: write its 16 hexadecimal digits")
        return await self._insight.turn(request.match_info["trace_id"], span_id)

    async def _operations(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "kind", "limit", *_PERIOD, *OF_OPERATIONS)
        which = _which(asked, OF_OPERATIONS, kind=_kind(asked, "all"))
        return await self._insight.operations(which, asked.limit(LIMIT, MOST))

    async def _running(self, request: web.Request) -> JSON:
        self._arguments(request)
        return await self._insight.running()

    async def _sessions(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "limit", *_PERIOD, *OF_SESSIONS)
        return await self._insight.sessions(_which(asked, OF_SESSIONS), asked.limit(LIMIT, MOST))

    async def _providers(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "by", *_PERIOD, "service", "task")
        by = asked.some_of("by", ("provider", "model"), OF_OPERATIONS)
        return await self._insight.providers(_which(asked, ("service", "task"), HOUR, kind="llm"), by)

    async def _summary(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "by", "kind", *_PERIOD, *OF_OPERATIONS)
        by = asked.some_of("by", ("provider", "task"), OF_OPERATIONS)
        return await self._insight.summary(_which(asked, OF_OPERATIONS, HOUR, kind=_kind(asked, "llm")), by)

    async def _durations(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "by", "kind", "limit", *_PERIOD, *OF_OPERATIONS)
        by = asked.some_of("by", ("service", "stage"), OF_OPERATIONS)
        which = _which(asked, OF_OPERATIONS, HOUR, kind=_kind(asked, "stage"))
        return await self._insight.durations(which, by, asked.limit(SAMPLES, SAMPLES))

    async def _history(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "series", *_PERIOD, "step")
        series = asked.needed("series", "otel_latency_stage_duration_seconds")
        since, until = asked.period(HOUR)
        return await self._insight.history(series, since, until, asked.duration("step"))

    async def _estimate(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "task", "provider", "model", "input_tokens")
        return await self._insight.estimate(
            asked.needed("task", "script_generation"),
            provider=asked.text("provider"),
            model=asked.text("model") or None,
            input_tokens=asked.number("input_tokens"),
        )

    async def _anomalies(self, request: web.Request) -> JSON:
        return await self._insight.anomalies(self._arguments(request, "limit").limit(LIMIT, MOST))

    async def _alert_history(self, request: web.Request) -> JSON:
        asked = self._arguments(request, "limit", *_PERIOD)
        since, until = asked.period(None)
        return await self._insight.alert_history(since, until, asked.limit(LIMIT, MOST))


def _which(asked: Arguments, fields: Sequence[str], seconds: float | None = None, *, kind: str = "") -> Which:
    """The last *seconds* where no time is given, or all there is."""
    since, until = asked.period(seconds)
    return Which(asked.texts(fields), since, until, kind)


def _kind(asked: Arguments, default: str) -> str:
    kind = asked.one_of("kind", default, KINDS)
    return "" if kind == "all" else kind


def _answering(answer: Answer, place: Callable[[], AbstractAsyncContextManager[None]]) -> Handler:
    """A handler that sends what *answer* returns, and tells what it raises."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            async with place():
                found = await answer(request)
                if found is None:
                    return _error(404, UNKNOWN_TURN)
                return await reply_in_parts(found)
        except TimeoutError:
            return _error(503, "the question takes too long: ask for less, or ask again")
        except ValueError as error:
            return _error(400, str(error))
        except sqlite3.Error as error:
            log.error("%s: the history cannot be read: %s", request.path, error)  # noqa: TRY400 - its place is known
            return _error(500, "the history cannot be read; see the agent's log")

    return handle


def _error(status: int, fact: str) -> web.Response:
    return reply({"error": fact}, status=status)
