"""`/api/v1/rules`, `/api/v1/alerts` and `/api/v1/query` in the shapes of Prometheus' own HTTP API.

What reads Prometheus (Grafana, promtool, a script) reads the agent as well. Answers are `{"status": "success", "data"}`
or `{"status": "error", "errorType", "error"}`; the latter with 400 for a wrong request and 422 for an expression that
has no result now, as Prometheus answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from math import isfinite
from typing import Any, Protocol

from aiohttp import web

from otel_latency.errors import EvaluationError, ExpressionError
from otel_latency.web.app import Handler, Route
from otel_latency.web.replies import reply

_KINDS = {"alert": "alerting", "record": "recording"}


class Rules(Protocol):
    """What is asked about the loaded rules."""

    async def rules(self) -> Mapping[str, Any]:
        """`groups`, each with `name`, `file`, `rules` and so on."""

    async def alerts(self) -> Mapping[str, Any]:
        """`alerts`: those pending or firing."""

    async def query(self, expression: str, at: float | None) -> Mapping[str, Any]:
        """`resultType` and `result`, at a time in Unix seconds or now. Raises ExpressionError and EvaluationError."""


class PrometheusAPI:
    """Answers for *rules*."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def routes(self) -> list[Route]:
        """Guarded by the Host header: a page in a browser has no business here."""
        return [
            Route("/api/v1/rules", _guarded(self._get_rules)),
            Route("/api/v1/alerts", _guarded(self._get_alerts)),
            Route("/api/v1/query", _guarded(self._get_query)),
        ]

    async def _get_rules(self, request: web.Request) -> object:
        wanted = request.query
        kind = wanted.get("type", "")
        if kind and kind not in _KINDS:
            raise ExpressionError(f"not supported value {kind!r}: write alert or record")
        names, groups, files = (wanted.getall(f"{key}[]", []) for key in ("rule_name", "rule_group", "file"))
        found = []
        for group in (await self._rules.rules())["groups"]:
            if (not groups or group["name"] in groups) and (not files or group["file"] in files):
                rules = [
                    rule
                    for rule in group["rules"]
                    if (not kind or rule["type"] == _KINDS[kind]) and (not names or rule["name"] in names)
                ]
                if rules or not (kind or names):
                    found.append({**group, "rules": rules})
        return {"groups": found}

    async def _get_alerts(self, _request: web.Request) -> object:
        return await self._rules.alerts()

    async def _get_query(self, request: web.Request) -> object:
        expression = request.query.get("query", "")
        return await self._rules.query(expression, _time(request.query.get("time", "")))


def _guarded(data: Callable[[web.Request], Awaitable[object]]) -> Handler:
    """A handler that wraps what *data* returns, and what it raises, as Prometheus does."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return reply({"status": "success", "data": await data(request)})
        except ExpressionError as error:
            return _error(400, "bad_data", error)
        except EvaluationError as error:
            return _error(422, "execution", error)

    return handle


def _error(status: int, kind: str, error: Exception) -> web.Response:
    return reply({"status": "error", "errorType": kind, "error": str(error)}, status=status)


def _time(text: str) -> float | None:
    """Unix seconds, from a number or RFC 3339; None for now."""
    if not text:
        return None
    try:
        at = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ExpressionError(f'invalid parameter "time": cannot parse {text!r} to a valid timestamp') from None
        at = moment.timestamp()
    if not isfinite(at):
        raise ExpressionError(f'invalid parameter "time": cannot parse {text!r} to a valid timestamp')
    return at
