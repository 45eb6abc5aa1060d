"""Alerts on their way from rules to notifiers: what is added, and what happens without a disk."""

from __future__ import annotations

import asyncio

import pytest
from notify.far_side import NOW, Server, ok, serving

from otel_latency.agent_alerting import Alerting, slowest_trace
from otel_latency.config.sections import Config, Rules, Store, WebhookNotifier
from otel_latency.config.values import Secret
from otel_latency.notify.build import build
from otel_latency.records import Exemplar, Family, HistogramSeries
from otel_latency.rules.runner import Runner, Seams
from otel_latency.testing import FakeClock

RULES = """\
groups:
  - name: g
    rules:
      - alert: Slow
        expr: otel_latency_stage_duration_seconds_count > 1
        annotations: {summary: "{{ $labels.stage }} is slow"}
"""


def histogram(trace_id, value, **labels):
    exemplar = Exemplar(value, trace_id, "b7", 1.0) if trace_id else None
    return HistogramSeries(tuple(labels.items()), 2, value, [], exemplar=exemplar)


FAMILIES = [
    Family(
        "otel_latency_stage_duration_seconds",
        "histogram",
        "",
        [
            histogram("a1", 2.0, service="bot", stage="llm"),
            histogram("a2", 3.0, service="desk", stage="llm"),
            histogram("a3", 9.0, service="bot", stage="tts"),
            histogram("", 9.0, service="shop", stage="llm"),
        ],
    ),
    Family(
        "otel_latency_llm_duration_seconds",
        "histogram",
        "",
        [histogram("a4", 4.0, service="bot", provider="openai", model="gpt-4o", task="reply")],
    ),
    Family("otel_latency_turn_duration_seconds", "histogram", "", [histogram("a5", 5.0, service="bot", turn="answer")]),
]

TRACES = {
    "a stage": ({"service": "bot", "stage": "llm", "severity": "critical"}, "a1"),
    "a stage of any service": ({"stage": "llm"}, "a2"),
    "a call": ({"provider": "openai", "service": "bot"}, "a4"),
    "a turn": ({"service": "bot", "turn": "answer"}, "a5"),
    "a service": ({"service": "bot"}, "a5"),
    "without a trace": ({"service": "shop", "stage": "llm"}, None),
    "something else": ({"instance": "127.0.0.1:8080"}, None),
}


@pytest.mark.parametrize(("labels", "expected"), TRACES.values(), ids=TRACES)
def test_slowest_trace(labels, expected):
    """The slowest of what the alert's labels single out."""
    found = slowest_trace(FAMILIES, labels)
    assert expected == (found and found.trace_id)


async def snapshot():
    return FAMILIES


def make(folder, url="http://127.0.0.1:9/", *, store="data", **seams):
    (folder / "a.rules.yaml").write_text(RULES, encoding="utf-8")
    config = Config(
        rules=Rules(files=["*.rules.yaml"], trace_url="http://tempo/trace/{trace_id}"),
        store=Store(path=store),
        notify=[WebhookNotifier(name="hook", url=Secret(url))],
    )
    return Alerting(config, clock=FakeClock(NOW), directory=folder, snapshot=snapshot, legal=list, **seams)


async def test_from_a_series_to_a_webhook(tmp_path):
    """A rule that is breached reaches the far side, with the slowest trace, and is remembered on disk and recorded."""
    server, recorded = Server(), []
    async with serving(server.handle) as server.port:
        arrived = asyncio.Event()

        async def answer(request):
            arrived.set()
            return await ok(request)

        server.answers = [answer]
        paths = {"a1": "llm 1.80 s (90 %)"}
        alerting = make(tmp_path, server.url().reveal(), critical_path=paths.get, record=recorded.extend)
        await alerting.pipeline.start()
        delivering = asyncio.create_task(alerting.pipeline.run())
        await alerting.rules.step(round(NOW * 1000) + 1000)
        async with asyncio.timeout(10):
            await arrived.wait()
        delivering.cancel()
        await alerting.close()
    ((_, _, body),) = server.requests
    told = {
        alert["labels"]["service"] + " " + alert["labels"]["stage"]: alert["annotations"] for alert in body["alerts"]
    }
    assert told["bot llm"] == {
        "critical_path": "llm 1.80 s (90 %)",
        "slowest_trace": "a1 (2 s)",
        "summary": "llm is slow",
        "threshold": "1",
        "trace_url": "http://tempo/trace/a1",
        "value": "2",
    }
    assert sorted(told) == sorted(f"{one.labels['service']} {one.labels['stage']}" for one in recorded)
    assert told["shop llm"] == {"summary": "llm is slow", "threshold": "1", "value": "2"}
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["alerts.json", "notify.db"]
    assert alerting.rules_status()["faults"] == []


async def test_without_a_disk(tmp_path):
    """Rules are evaluated all the same, and the status says what is at stake."""
    (tmp_path / "file").touch()
    alerting = make(tmp_path, store="file/data")
    await alerting.pipeline.start()
    await alerting.rules.step(round(NOW * 1000) + 1000)
    assert len((await alerting.rules.alerts())["alerts"]) == 4
    assert "cannot be made (Not a directory): alerts do not survive a restart" in alerting.rules_status()["faults"][0]
    await alerting.close()


async def test_nothing_to_do(tmp_path):
    """Without rules and notifiers nothing is written, and questions are answered all the same."""
    alerting = Alerting(Config(), clock=FakeClock(NOW), directory=tmp_path, snapshot=snapshot, legal=list)
    rules, alerts, data = await asyncio.gather(
        alerting.rules.rules(),
        alerting.rules.alerts(),
        alerting.rules.query("sum by (service) (otel_latency_stage_duration_seconds_count)", None),
    )
    assert ({"groups": []}, {"alerts": []}) == (rules, alerts)
    assert {one["metric"]["service"]: one["value"][1] for one in data["result"]} == {
        "bot": "4",
        "desk": "2",
        "shop": "2",
    }
    await alerting.run()
    await alerting.close()
    assert (alerting.is_used, list(tmp_path.iterdir())) == (False, [])


def of_rules(rules):
    return (rules.families, rules.missed, rules.figures, rules.reload_fault, rules.memory_fault, rules.stalled())


def of_notifiers(pipeline):
    return (pipeline.fault, pipeline.status(), pipeline.totals(), pipeline.queued())


async def test_stand_ins(tmp_path):
    """What stands in for rules and notifiers shows what those show that have nothing to do."""
    clock = FakeClock(NOW)
    alerting = Alerting(Config(), clock=clock, directory=tmp_path, snapshot=snapshot, legal=list)
    seams = Seams(snapshot=snapshot, legal=list, tell=alerting.pipeline.accept)
    runner = Runner(
        Rules(), seams, clock=clock, directory=tmp_path, memory=None, target_labels={}, external_url="http://agent"
    )
    pipeline = build([], tmp_path, clock)
    await clock.advance(3600)
    assert (of_rules(runner), of_notifiers(pipeline)) == (of_rules(alerting.rules), of_notifiers(alerting.pipeline))
    runner.close()
    await pipeline.close()
