"""Prometheus' HTTP API, as its own clients see it."""

from __future__ import annotations

import pytest

from otel_latency.errors import EvaluationError, ExpressionError
from otel_latency.web.prometheus import PrometheusAPI

GROUPS = [
    {"name": "g", "file": "a.yaml", "rules": [{"name": "A", "type": "alerting"}, {"name": "r", "type": "recording"}]},
    {"name": "h", "file": "b.yaml", "rules": [{"name": "B", "type": "alerting"}]},
    {"name": "i", "file": "b.yaml", "rules": []},
]


class Answers:
    """Rules that answer what they were asked."""

    async def rules(self):
        return {"groups": GROUPS}

    async def alerts(self):
        return {"alerts": [{"state": "firing"}]}

    async def query(self, expression, at):
        if expression == "wrong":
            raise ExpressionError("1:1: parse error")
        if expression == "impossible":
            raise EvaluationError("many-to-many matching not allowed")
        return {"resultType": "scalar", "result": [at, expression]}


async def get(serve, path):
    client = await serve(*PrometheusAPI(Answers()).routes())
    async with client.get(path) as response:
        return response.status, await response.json()


RULES = {
    "all": ("", {"g": "Ar", "h": "B", "i": ""}),
    "alerts": ("?type=alert", {"g": "A", "h": "B"}),
    "records": ("?type=record", {"g": "r"}),
    "by name": ("?rule_name[]=B&rule_name[]=r", {"g": "r", "h": "B"}),
    "by group": ("?rule_group[]=g", {"g": "Ar"}),
    "by file": ("?file[]=b.yaml", {"h": "B", "i": ""}),
}


@pytest.mark.parametrize(("arguments", "expected"), RULES.values(), ids=RULES)
async def test_rules(serve, arguments, expected):
    """The groups, and of them what was asked for."""
    status, body = await get(serve, "/api/v1/rules" + arguments)
    assert (status, body["status"]) == (200, "success")
    found = {group["name"]: "".join(rule["name"] for rule in group["rules"]) for group in body["data"]["groups"]}
    assert expected == found


async def test_alerts(serve):
    """What is active."""
    assert await get(serve, "/api/v1/alerts") == (
        200,
        {"status": "success", "data": {"alerts": [{"state": "firing"}]}},
    )


TIMES = {
    "now": ("", None),
    "seconds": ("&time=1700000000.5", 1_700_000_000.5),
    "RFC 3339": ("&time=2023-11-14T22:13:20.5Z", 1_700_000_000.5),
}


@pytest.mark.parametrize(("argument", "expected"), TIMES.values(), ids=TIMES)
async def test_query(serve, argument, expected):
    """The expression is decoded, and its time may be written in both ways."""
    status, body = await get(serve, "/api/v1/query?query=1%20%2B%201" + argument)
    assert (status, body["data"]) == (200, {"resultType": "scalar", "result": [expected, "1 + 1"]})


ERRORS = {
    "an expression that cannot be read": ("query?query=wrong", 400, "bad_data", "1:1: parse error"),
    "one without a result": ("query?query=impossible", 422, "execution", "many-to-many matching not allowed"),
    "no time": ("query?query=1&time=soon", 400, "bad_data", "cannot parse 'soon' to a valid timestamp"),
    "a time without zone": ("query?query=1&time=2023-11-14T22:13:20", 400, "bad_data", "to a valid timestamp"),
    "endless time": ("query?query=1&time=inf", 400, "bad_data", "to a valid timestamp"),
    "an unknown type": ("rules?type=silence", 400, "bad_data", "write alert or record"),
}


@pytest.mark.parametrize(("path", "status", "kind", "text"), ERRORS.values(), ids=ERRORS)
async def test_errors(serve, path, status, kind, text):
    """What is wrong is told as Prometheus tells it."""
    found, body = await get(serve, "/api/v1/" + path)
    assert (found, body["status"], body["errorType"]) == (status, "error", kind)
    assert text in body["error"]
