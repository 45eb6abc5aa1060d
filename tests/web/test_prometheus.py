"""Prometheus' HTTP API, as its own clients see it."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE, STDOUT

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
            raise ExpressionError("unexpected end of input", len(expression))
        if expression == "é\n é(":
            raise ExpressionError("unclosed left parenthesis", 5)
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
    "an expression that cannot be read": (
        "query?query=wrong",
        400,
        "bad_data",
        'parameter "query": 1:6: parse error: unex',
    ),
    "one on two lines": ("query?query=%C3%A9%0A%20%C3%A9(", 400, "bad_data", '"query": 2:5: parse error: unclosed'),
    "one without a result": ("query?query=impossible", 422, "execution", "many-to-many matching not allowed"),
    "no time": ("query?query=1&time=soon", 400, "bad_data", "cannot parse 'soon' to a valid timestamp"),
    "a time without zone": ("query?query=1&time=2023-11-14T22:13:20", 400, "bad_data", "to a valid timestamp"),
    "a time beyond dates": ("query?query=1&time=1e308", 400, "bad_data", "cannot parse '1e308' to a valid timestamp"),
    "endless time": ("query?query=1&time=inf", 400, "bad_data", "to a valid timestamp"),
    "an unknown type": ("rules?type=silence", 400, "bad_data", "write alert or record"),
}


@pytest.mark.parametrize(("path", "status", "kind", "text"), ERRORS.values(), ids=ERRORS)
async def test_errors(serve, path, status, kind, text):
    """What is wrong is told as Prometheus tells it."""
    found, body = await get(serve, "/api/v1/" + path)
    assert (found, body["status"], body["errorType"]) == (status, "error", kind)
    assert text in body["error"]


async def test_form(serve):
    """A query may come as a form, whose arguments come before those of the address."""
    client = await serve(*PrometheusAPI(Answers()).routes())
    form = {"query": "1 + é", "time": "5"}
    async with client.post("/api/v1/query?query=2", data=form) as response:
        assert (await response.json())["data"]["result"] == [5.0, "1 + é"]
    async with client.post("/api/v1/query?query=2", json={"query": "1"}) as response:
        assert (await response.json())["data"]["result"] == [None, "2"]


async def test_a_form_of_another_host(serve):
    """A form gets past the guard no more than an address does."""
    client = await serve(*PrometheusAPI(Answers()).routes())
    async with client.post("/api/v1/query", data={"query": "1"}, headers={"Host": "evil.example.com"}) as response:
        assert response.status == 403


async def test_only_queries_take_forms(serve):
    """What is not asked by a form says so."""
    client = await serve(*PrometheusAPI(Answers()).routes())
    async with client.post("/api/v1/rules") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    async with client.put("/api/v1/query") as response:
        assert await response.json() == {"error": "only GET, HEAD and POST are answered here"}


async def test_long_expressions(serve):
    """An expression may be long, in an address or in a form; one that no one can mean is refused as JSON."""
    client = await serve(*PrometheusAPI(Answers()).routes())
    long = "1" + " + 1" * 10_000
    async with client.get("/api/v1/query", params={"query": long[:9001]}) as response:
        assert (await response.json())["data"]["result"] == [None, long[:9001]]
    async with client.post("/api/v1/query", data={"query": long[:30_001]}) as response:
        assert (await response.json())["data"]["result"] == [None, long[:30_001]]
    async with client.post("/api/v1/query", data={"query": long * 4}) as response:
        assert (response.status, await response.json()) == (413, {"error": "request entity too large"})


async def test_build(serve):
    """Who asks learns what it talks to."""
    status, body = await get(serve, "/api/v1/status/buildinfo")
    assert (status, body["data"]["application"]) == (200, "otel-latency")
    assert body["data"]["version"][:1].isdigit()


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
async def test_promtool(serve):
    """promtool sends its queries as forms, and reads our answers and errors."""
    server = await serve(*PrometheusAPI(Answers()).routes())
    for expression, expected in {"7": "scalar: 7", "wrong": "1:6: parse error: unexpected end of input"}.items():
        command = ["promtool", "query", "instant", str(server._base_url), expression]
        asked = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
        output, _ = await asked.communicate()
        assert expected in output.decode()
