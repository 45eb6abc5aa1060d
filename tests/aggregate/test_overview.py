"""The overview of real families: spans go through an aggregator, samples through their table."""

import json

import pytest

from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.overview import Overview
from otel_latency.aggregate.samples import SampleTable
from otel_latency.aggregate.sessions import Sessions
from otel_latency.aggregate.stages import build
from otel_latency.config.sections import DEFAULT_TARGETS
from otel_latency.records import CheckResult, LLMProfile, Profile, Sample

NOW = 1_700_000_000.0
TURN = Profile("bot", turn="answer")
STT = Profile("bot", stage="stt")
LLM = Profile("bot", stage="llm", llm=LLMProfile("openai", "gpt-4o", "reply", "chat"))
BROKEN = Profile(
    "bot", stage="llm", status="error", llm=LLMProfile("openai", "gpt-4o", "reply", "chat", "rate_limit_exceeded")
)


class Machine:
    """An aggregator, samples and an overview of both, at a time."""

    def __init__(self):
        self.aggregator = Aggregator()
        self.samples = SampleTable()
        self.overview = Overview(DEFAULT_TARGETS)
        self.spans = 0
        self.overview.tick(NOW, self.families(NOW))

    def add(self, profile, seconds, now, *, count=1, **measures):
        end_ns = round(now * 1e9)
        rows = []
        for _ in range(count):
            self.spans += 1
            ids = self.spans.to_bytes(16, "big"), self.spans.to_bytes(8, "big"), b""
            rows.append((profile, *ids, end_ns - round(seconds * 1e9), end_ns, measures or None))
        self.aggregator.add(rows, now)

    def families(self, now):
        return [*self.aggregator.families(now), *self.samples.families(now)]

    def document(self, now, **more):
        found = self.overview.document(now, self.families(now), **more)
        return json.loads(json.dumps(found, allow_nan=False))


@pytest.fixture
def machine():
    return Machine()


def test_nothing_yet(machine):
    """Of an agent that has seen nothing, nothing is known: null, and not zero."""
    assert {
        "timestamp": NOW + 10,
        "window_seconds": 10.0,
        "active_sessions": None,
        "turns_per_second": 0.0,
        "success_ratio": None,
        "mean_seconds": None,
        "error_ratio": None,
        "stages": [],
        "turns": [],
        "milestones": {},
        "system": {"cpu_ratio": None, "memory_ratio": None, "connections": None, "queue": None},
        "trends": [],
        "top_errors": [],
        "workers": [],
        "operations": {"running": 0, "warning": 0, "oldest_seconds": None},
        "checks": [],
        "alerts": [],
    } == machine.document(NOW + 10)


def test_turns(machine):
    """Rates, ratios and means are those of the turns that ended in the last minute."""
    machine.add(TURN, 1.0, NOW + 5, count=5)
    machine.add(TURN, 2.0, NOW + 20, count=3)
    machine.add(Profile("bot", turn="answer", status="timeout"), 6.0, NOW + 20)
    machine.add(Profile("bot", turn="answer", status="interrupted"), 3.0, NOW + 20)
    found = machine.document(NOW + 40)
    assert (10 / 40, 8 / 9, 1 / 10, 2.0) == (
        found["turns_per_second"],
        pytest.approx(found["success_ratio"]),
        found["error_ratio"],
        pytest.approx(found["mean_seconds"]),
    )
    [turn] = found["turns"]
    expected = {"service": "bot", "turn": "answer", "count": 10, "p50": 1.0, "p99": 6.0, "error_ratio": 0.1}
    assert {key: pytest.approx(value) if isinstance(value, float) else value for key, value in expected.items()} == {
        key: turn[key] for key in expected
    }


def test_a_minute_later(machine):
    """What ended more than a minute ago is gone; the stage is still shown, with nothing in it."""
    machine.add(STT, 0.1, NOW + 1, count=10)
    for second in range(5, 100, 5):
        found = machine.document(NOW + second)
    [row] = found["stages"]
    assert (0, None, None, "unknown") == (row["count"], row["p50"], row["error_ratio"], row["verdict"])
    assert 60 <= found["window_seconds"] <= 65


def test_stages(machine):
    """Each stage has its percentiles, its share of errors, its target and the verdict on its p95."""
    machine.add(STT, 0.1, NOW + 1, count=95)
    machine.add(STT, 0.2, NOW + 1, count=5)
    machine.add(LLM, 3.5, NOW + 1, count=3)
    machine.add(BROKEN, 0.1, NOW + 1)
    machine.add(Profile("bot", stage="rerank"), 0.1, NOW + 1)
    llm, rerank, stt = machine.document(NOW + 10)["stages"]
    assert ("llm", 4, 0.25, 3.0, "critical") == (
        *(llm["stage"], llm["count"], llm["error_ratio"]),
        *(llm["critical"], llm["verdict"]),
    )
    assert "use a smaller or quantized model" in llm["advice"]
    assert ("rerank", None, None, "unknown", []) == (
        *(rerank["stage"], rerank["target"], rerank["critical"]),
        *(rerank["verdict"], rerank["advice"]),
    )
    assert ("stt", 100, 0.0, 0.15, "ok") == (
        *(stt["stage"], stt["count"], stt["error_ratio"]),
        *(stt["target"], stt["verdict"]),
    )
    assert [0.1, 0.1, 0.1, 0.2] == pytest.approx([stt[key] for key in ("p50", "p90", "p95", "p99")])


def test_calls_of_models(machine):
    """A stage that is a call of a model has the target of llm, if that is told of it; a namesake elsewhere has none."""
    for service in ("bot", "shop"):
        machine.add(Profile(service, stage="chat gpt-4o", llm=LLM.llm), 3.5, NOW + 1)
    here, there = machine.document(NOW + 10, llm_stages={("bot", "chat gpt-4o")})["stages"]
    assert ("bot", 3.0, "critical") == (here["service"], here["critical"], here["verdict"])
    assert "use a smaller or quantized model" in here["advice"]
    assert ("shop", None, "unknown") == (there["service"], there["target"], there["verdict"])


def test_milestones(machine):
    """Of each milestone the turn that has most of them is shown, with the verdict."""
    machine.add(TURN, 2.0, NOW + 1, count=3, ttft=0.6, ttfa=1.2)
    machine.add(Profile("bot", turn="greeting"), 1.0, NOW + 1, ttft=9.0)
    found = machine.document(NOW + 10)["milestones"]
    assert {"first_token", "first_audio"} == set(found)
    token, audio = found["first_token"], found["first_audio"]
    assert ("answer", 3, 0.6, 0.5, "slow") == (
        *(token["turn"], token["count"], pytest.approx(token["p95"])),
        *(token["target"], token["verdict"]),
    )
    assert ("answer", 3, "ok") == (audio["turn"], audio["count"], audio["verdict"])


def test_errors(machine):
    """The most frequent failures come first, calls of models with the types of their errors."""
    machine.add(Profile("bot", stage="stt", status="timeout"), 1.0, NOW + 1)
    machine.add(BROKEN, 0.1, NOW + 1, count=3)
    machine.add(Profile("bot", stage="tts", status="cancelled"), 0.1, NOW + 1, count=9)
    found = machine.document(NOW + 10)["top_errors"]
    call = {"service": "bot", "provider": "openai", "model": "gpt-4o", "task": "reply"}
    assert [
        {"kind": "llm", **call, "status": "error", "count": 3, "error_types": {"rate_limit_exceeded": 3}},
        {"kind": "stage", "service": "bot", "stage": "llm", "status": "error", "count": 3, "error_types": {}},
        {"kind": "stage", "service": "bot", "stage": "stt", "status": "timeout", "count": 1, "error_types": {}},
    ] == found


def test_system(machine):
    """A container's memory comes before its host's; the user's own gauges tell of connections and queues."""
    machine.samples.put(
        "host",
        [
            Sample("otel_latency_host_cpu_utilization_ratio", 0.5),
            Sample("otel_latency_host_memory_utilization_ratio", 0.6),
            Sample("otel_latency_container_memory_utilization_ratio", 0.7),
            Sample("otel_latency_process_instances", 2, {"process": "gunicorn"}),
            Sample("otel_latency_process_cpu_utilization_ratio", 0.25, {"process": "gunicorn"}),
            Sample("otel_latency_process_instances", 0, {"process": "ollama"}),
            Sample("shop_queue_depth", 4, {"queue": "a"}),
            Sample("shop_queue_depth", 3, {"queue": "b"}),
            Sample("websocket_active_connections", 12),
        ],
        NOW,
    )
    found = machine.document(NOW + 1)
    assert {"cpu_ratio": 0.5, "memory_ratio": 0.7, "connections": 12, "queue": 7} == found["system"]
    up = {"worker": "gunicorn", "up": True, "instances": 2, "cpu_ratio": 0.25, "resident_memory_bytes": None}
    down = {"worker": "ollama", "up": False, "instances": 0, "cpu_ratio": None, "resident_memory_bytes": None}
    assert [up, down] == found["workers"]


def test_what_is_told(machine):
    """Running operations are summed up; checks and alerts are shown as they are."""
    running = [{"elapsed_seconds": 3.5, "is_warning": True}, {"elapsed_seconds": 1.0, "is_warning": False}]
    check = CheckResult("openai", up=False, seconds=0.5, time=NOW, required=False, error="timed out")
    alert = {"labels": {"alertname": "A"}, "state": "firing"}
    found = machine.document(NOW + 1, running=running, checks=[check], alerts=[alert])
    assert {"running": 2, "warning": 1, "oldest_seconds": 3.5} == found["operations"]
    assert [{"check": "openai", "up": False, "seconds": 0.5, "error": "timed out"}] == found["checks"]
    assert [alert] == found["alerts"]


def test_sessions(machine):
    """How many sessions are active is summed over the services, and is zero where there are none."""
    sessions = Sessions()
    told = lambda: machine.overview.document(NOW, [*machine.families(NOW), *sessions.families(NOW)])
    assert 0 == told()["active_sessions"]
    for number, service in enumerate(["bot", "bot", "shop"]):
        sessions.add(a_turn(service, session=f"s-{number}"), NOW)
    assert 3 == told()["active_sessions"]


def a_turn(service, session):
    span = (Profile(service, turn="answer"), b"t" * 16, b"s" * 8, b"", 10**18, 10**18 + 10**9, {"session": session})
    return build(span, [span])


def test_trends(machine):
    """A stage that takes twice as long in the last minute as in those before is told."""
    for minute in range(8):
        for second in range(0, 60, 10):
            now = NOW + 60 * minute + second
            machine.add(STT, 0.2 if minute == 7 else 0.1 + second / 1e4, now, count=10)
            machine.overview.tick(now, machine.families(now))
    p50, p95 = machine.document(NOW + 478)["trends"]
    assert ("bot", "stt", "p50", "slower", 0.2) == (
        *(p50["service"], p50["stage"], p50["percentile"], p50["direction"]),
        pytest.approx(p50["now"]),
    )
    assert ("p95", "slower") == (p95["percentile"], p95["direction"])


def test_nobody_looks(machine):
    """Ticks need no percentiles: what is told is of the last minute, not of all the time that nobody looked."""
    for second in range(0, 600, 10):
        machine.add(TURN, 9.0 if second < 500 else 1.0, NOW + second, ttft=0.1)
        families = machine.families(NOW + second)
        machine.overview.tick(NOW + second, [one for one in families if one.type != "summary"])
    found = machine.document(NOW + 595)
    assert (6, 1.0, 6) == (
        found["turns"][0]["count"],
        pytest.approx(found["mean_seconds"]),
        found["milestones"]["first_token"]["count"],
    )


def test_former_run(machine):
    """Counters that go on from a former run have not grown by what it counted."""
    former = {("otel_latency_turns_total", (("service", "bot"), ("status", "ok"), ("turn", "answer"))): 500.0}
    machine.aggregator.restore(former)
    machine.overview.restore(former)
    machine.add(TURN, 1.0, NOW + 1, count=2)
    assert 2 / 10 == machine.document(NOW + 10)["turns_per_second"]
