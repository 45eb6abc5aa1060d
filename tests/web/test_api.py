"""`/api/v1` as its clients see it: a real server before an agent's insight that answers what it was asked."""

import asyncio
import sqlite3

import pytest

from otel_latency.errors import ExpressionError
from otel_latency.testing import FakeClock
from otel_latency.web import api
from otel_latency.web.api import API, Which

NOW = 1_700_000_000.0
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Insight:
    """Tells what it was asked, and fails where it is told to."""

    def __init__(self, fault=None):
        self.fault = fault

    def _answer(self, **asked):
        if self.fault is not None:
            raise self.fault
        return {
            key: (
                {"texts": one.texts, "since": one.since, "until": one.until, "kind": one.kind}
                if isinstance(one, Which)
                else one
            )
            for key, one in asked.items()
        }

    async def overview(self):
        return self._answer(mean_seconds=float("nan"), error_ratio=float("inf"))

    async def turns(self, which, limit, *, slower_than):
        return self._answer(which=which, limit=limit, slower_than=slower_than)

    async def turn(self, identity, span_id):
        known = identity in (TRACE, "r/1 é")
        return {"identity": identity, "span_id": span_id, "session": "\ud800"} if known else None

    async def operations(self, which, limit):
        return self._answer(which=which, limit=limit)

    async def running(self):
        return self._answer(operations=[])

    async def sessions(self, which, limit):
        return self._answer(which=which, limit=limit)

    async def providers(self, which, by):
        return self._answer(which=which, by=by)

    async def summary(self, which, by):
        return self._answer(which=which, by=by)

    async def durations(self, which, by, limit):
        return self._answer(which=which, by=by, limit=limit)

    async def history(self, series, since, until, step):
        return self._answer(series=[series], since=since, until=until, step=step)

    async def estimate(self, task, *, provider, model, input_tokens):
        return self._answer(task=task, provider=provider, model=model, input_tokens=input_tokens)

    async def anomalies(self, limit):
        return self._answer(limit=limit)

    async def alert_history(self, since, until, limit):
        return self._answer(since=since, until=until, limit=limit)


async def get(serve, path, insight=None):
    client = await serve(*API(insight or Insight(), FakeClock(NOW)).routes())
    async with client.get(f"/api/v1/{path}") as response:
        return response.status, await response.json()


def which(since=0.0, until=1e11, kind="", **texts):
    return {"texts": texts, "since": since, "until": until, "kind": kind}


ANSWERS = {
    "no number is nothing": ("overview", {"mean_seconds": None, "error_ratio": None}),
    "turns": ("turns", {"which": which(), "limit": 100, "slower_than": 0.0}),
    "some turns": (
        "turns?limit=7&service=bot&session=s%2F1&status=error&slower_than=1.5s&from=-1h&to=now",
        {
            "which": which(NOW - 3600, NOW, service="bot", session="s/1", status="error"),
            "limit": 7,
            "slower_than": 1.5,
        },
    ),
    "too many turns": ("turns?limit=5000", {"which": which(), "limit": 1000, "slower_than": 0.0}),
    "a turn, whatever it holds": (
        f"turns/{TRACE}?span_id=B7AD6B7169203331",
        {"identity": TRACE, "span_id": "b7ad6b7169203331", "session": "?"},
    ),
    "the turn of a request": ("turns/r%2F1%20%C3%A9", {"identity": "r/1 é", "span_id": "", "session": "?"}),
    "operations": ("operations", {"which": which(), "limit": 100}),
    "some operations": (
        "operations?kind=llm&limit=3&from=-1h&to=now&model=gpt-4o&status=error&session=s",
        {"which": which(NOW - 3600, NOW, "llm", model="gpt-4o", status="error", session="s"), "limit": 3},
    ),
    "what runs": ("operations/running", {"operations": []}),
    "sessions": ("sessions?service=bot", {"which": which(service="bot"), "limit": 100}),
    "providers": ("providers", {"which": which(NOW - 3600, NOW, "llm"), "by": ["provider", "model"]}),
    "providers of a task": (
        "providers?by=provider&task=draft&from=-15m",
        {"which": which(NOW - 900, NOW, "llm", task="draft"), "by": ["provider"]},
    ),
    "a summary": ("summary", {"which": which(NOW - 3600, NOW, "llm"), "by": ["provider", "task"]}),
    "another summary": (
        "summary?by=service,stage,service&kind=all&from=0&status=ok",
        {"which": which(0.0, NOW, "", status="ok"), "by": ["service", "stage"]},
    ),
    "durations": ("durations", {"which": which(NOW - 3600, NOW, "stage"), "by": ["service", "stage"], "limit": 5000}),
    "history": (
        "history?series=x%7Bstage%3D%22llm%22%7D",
        {"series": ['x{stage="llm"}'], "since": NOW - 3600, "until": NOW, "step": None},
    ),
    "history with times": (
        "history?series=x&from=2023-11-14T22:03:20%2B00:00&to=1700000000.5&step=5m",
        {"series": ["x"], "since": NOW - 600, "until": NOW + 0.5, "step": 300.0},
    ),
    "an estimate": (
        "estimate?task=draft",
        {"task": "draft", "provider": "", "model": None, "input_tokens": None},
    ),
    "a precise estimate": (
        "estimate?task=draft&provider=openai&model=gpt-4o&input_tokens=500",
        {"task": "draft", "provider": "openai", "model": "gpt-4o", "input_tokens": 500.0},
    ),
    "anomalies": ("anomalies?limit=3", {"limit": 3}),
    "alerts": ("alerts/history", {"since": 0.0, "until": 1e11, "limit": 100}),
    "alerts of an hour": ("alerts/history?from=-1h&to=now&limit=7", {"since": NOW - 3600, "until": NOW, "limit": 7}),
}


@pytest.mark.parametrize(("path", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_answers(serve, path, expected):
    """What is asked arrives parsed, with defaults, and the answer is strict JSON."""
    assert (200, expected) == await get(serve, path)


WRONG = {
    "an unknown argument": (
        "turns?trace=1",
        "'trace' is nothing this path knows: choose limit, from, to, service, session, status, slower_than",
    ),
    "any argument": ("overview?from=1", "'from' is nothing this path knows: it takes no arguments"),
    "no time": ("history?series=x&from=yesterday", "from: 'yesterday' is not a time: write Unix seconds, RFC 3339 or"),
    "a period backwards": ("sessions?from=now&to=-1h", "from: it is not before `to`: exchange the two"),
    "no series": ("history", "series: it is missing: write series=otel_latency_stage_duration_seconds"),
    "no step": ("history?series=x&step=soon", "step: 'soon' is not a duration: write 10s, 5m, 1h or a number of sec"),
    "no span": (f"turns/{TRACE}?span_id=7", "span_id: '7' is not a span's id: write its 16 hexadecimal digits"),
    "no task": ("estimate?provider=openai", "task: it is missing: write task=script_generation"),
    "no number": ("estimate?task=x&input_tokens=many", "input_tokens: 'many' is not a number of 0 or more"),
    "no limit": ("turns?limit=all", "limit: 'all' is not a whole number: write 1 to 1000"),
    "no rows": ("turns?limit=0", "limit: '0' is less than 1: write 1 to 1000"),
    "no column": ("summary?by=provider,colour", "by: 'colour' is none of service, turn, stage, operation, provider,"),
    "no kind": ("summary?kind=tool", "kind: 'tool' is none of all, turn, stage, llm"),
}


@pytest.mark.parametrize(("path", "error"), WRONG.values(), ids=WRONG)
async def test_wrong_arguments(serve, path, error):
    """What cannot be meant is told with place, fact and cure, and nobody is asked."""
    status, body = await get(serve, path, Insight(RuntimeError("asked")))
    assert (400, error) == (status, body["error"][: len(error)])


FAULTS = {
    "what cannot be asked": (ValueError("that is more than 11000 points"), 400, "that is more than 11000 points"),
    "a selector": (ExpressionError("unexpected end of input", 3), 400, "unexpected end of input"),
    "too slow": (TimeoutError(), 503, "the question takes too long: ask for less, or ask again"),
    "no disk": (sqlite3.OperationalError("disk I/O error"), 500, "the history cannot be read; see the agent's log"),
    "a fault of ours": (RuntimeError("secret"), 500, "internal error; see the agent's log"),
}


@pytest.mark.parametrize(("fault", "status", "error"), FAULTS.values(), ids=FAULTS)
async def test_faults(serve, fault, status, error):
    """What goes wrong behind the API has its own status, and tells no more than helps."""
    assert (status, {"error": error}) == await get(serve, "history?series=x", Insight(fault))


@pytest.mark.parametrize("trace_id", ["f" * 32, "f" * 31, "%2e%2e%2fstatus", "é", "r-1"])
async def test_unknown_turn(serve, trace_id):
    """A turn that is not known, whatever is written there, is told so."""
    why = "it may be too old, not over yet, or left out, as under load only a sample of traces is kept"
    assert (404, {"error": f"no such turn is known: {why}"}) == await get(serve, f"turns/{trace_id}")


async def test_guard(serve):
    """A page that rebinds its name to our address gets nothing; nobody may keep an answer."""
    client = await serve(*API(Insight(), FakeClock(NOW)).routes())
    for path in ("overview", f"turns/{TRACE}"):
        async with client.get(f"/api/v1/{path}", headers={"Host": "evil.example.com"}) as response:
            assert 403 == response.status
        async with client.get(f"/api/v1/{path}") as response:
            assert "no-store" == response.headers["Cache-Control"]
        async with client.head(f"/api/v1/{path}") as response:
            assert (200, b"") == (response.status, await response.read())
        async with client.post(f"/api/v1/{path}") as response:
            assert 405 == response.status


class Busy(Insight):
    """Does not answer questions about its history before it may."""

    def __init__(self):
        super().__init__()
        self.asked = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()

    async def history(self, series, since, until, step):
        self.asked.release()
        await self.may_answer.wait()
        return {"series": []}


async def test_many_questions(serve, monkeypatch):
    """Two questions about the past are worked on, the third is sent away for now; the present is told all the while."""
    monkeypatch.setattr(api, "PATIENCE", 0.05)
    busy = Busy()
    client = await serve(*API(busy, FakeClock(NOW)).routes())
    asking = [asyncio.create_task(client.get("/api/v1/history?series=x")) for _ in range(2)]
    for _ in asking:
        await busy.asked.acquire()
    async with client.get("/api/v1/turns") as response:
        assert (503, "the question takes too long") == (response.status, (await response.json())["error"][:27])
    async with client.get("/api/v1/overview") as response:
        assert 200 == response.status
    busy.may_answer.set()
    assert [200, 200] == [response.status for response in await asyncio.gather(*asking)]
    async with client.get("/api/v1/turns") as response:
        assert 200 == response.status
