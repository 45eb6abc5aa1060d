"""`/api/v1/rules`, `/api/v1/alerts` and `/api/v1/query` in the shapes of Prometheus' own HTTP API.

What reads Prometheus (Grafana, promtool, a script) reads the agent as well; a query may come as a form, by POST.
Answers are `{"status": "success", "data"}` or `{"status": "error", "errorType", "error"}`; the latter with 400 for a
wrong request and 422 for an expression that has no result now, as Prometheus answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from aiohttp import web

from otel_latency.errors import EvaluationError, ExpressionError
from otel_latency.web.app import Handler, Route
from otel_latency.web.replies import reply

_KINDS = {"alert": "alerting", "record": "recording"}
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_TIME: Final = 253_402_300_800.0
"""Unix seconds when the year 9999 ends, as far as dates go."""


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
            Route("/api/v1/query", _guarded(self._get_query), methods=("GET", "POST")),
            Route("/api/v1/status/buildinfo", _guarded(_get_build)),
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
        arguments = await _arguments(request)
        expression, at = arguments.get("query", ""), _time(arguments.get("time", ""))
        try:
            return await self._rules.query(expression, at)
        except ExpressionError as error:
            fact = f"{_place(expression, error.at)}: parse error: {error.fact}"
            raise ExpressionError(f'invalid parameter "query": {fact}') from error


async def _get_build(_request: web.Request) -> object:
    """Grafana asks what it talks to."""
    return {"application": "otel-latency", "version": version("otel-latency")}


async def _arguments(request: web.Request) -> Mapping[str, str]:
    """What the form says comes before what the address says."""
    if request.method != "POST" or request.content_type != _FORM:
        return request.query
    form = (await request.read()).decode("utf-8", "replace")
    return {**request.query, **dict(parse_qsl(form, keep_blank_values=True))}


def _place(text: str, offset: int) -> str:
    """Line and column, from 1, in bytes as Prometheus counts them."""
    *above, line = text[:offset].encode("utf-8", "surrogatepass").split(b"\n")
    return f"{len(above) + 1}:{len(line) + 1}"


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
    at = _seconds(text)
    if at is None or not abs(at) < _MAX_TIME:
        raise ExpressionError(f'invalid parameter "time": cannot parse {text!r} to a valid timestamp')
    return at


def _seconds(text: str) -> float | None:
    with suppress(ValueError):
        return float(text)
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.timestamp()
    return None
