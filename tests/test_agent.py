"""The whole agent in one process: what goes in at the receivers comes out on the pages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_latency.agent import Agent
from otel_latency.config.sections import OTLP, Check, Collect, Config, GRPCReceiver, HTTPReceiver, Web
from otel_latency.errors import ConfigError


def config(**sections) -> Config:
    otlp = OTLP(http=HTTPReceiver(port=0), grpc=GRPCReceiver(port=0))
    return Config(**({"otlp": otlp, "web": Web(port=0)} | sections))


@asynccontextmanager
async def running(settings: Config) -> AsyncIterator[tuple[Agent, aiohttp.ClientSession]]:
    with TemporaryDirectory() as directory:
        agent = Agent(settings, directory=Path(directory))
        task = asyncio.create_task(agent.run())
        await asyncio.wait([task, asyncio.create_task(agent.started.wait())], return_when=asyncio.FIRST_COMPLETED)
        async with aiohttp.ClientSession() as client:
            try:
                yield agent, client
            finally:
                agent.stop()
                await task


async def send(agent: Agent, client: aiohttp.ClientSession, signal: str, body: dict) -> dict:
    url = f"http://127.0.0.1:{agent.receivers['http'].port}/v1/{signal}"
    async with client.post(url, json=body) as response:
        assert response.status == 200
        return await response.json()


async def metrics(agent: Agent, client: aiohttp.ClientSession) -> dict[tuple[str, tuple], float]:
    async with client.get(f"{agent.web.url}/metrics") as response:
        text = await response.text()
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


async def status(agent: Agent, client: aiohttp.ClientSession) -> dict:
    async with client.get(f"{agent.web.url}/status") as response:
        return await response.json()


def resource(service: str) -> dict:
    return {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}


def trace(seconds: float, *, span_id: str = "cd" * 8) -> dict:
    end = time.time_ns()
    span = {
        "traceId": "ab" * 16,
        "spanId": span_id,
        "parentSpanId": "ef" * 8,
        "name": "retrieve",
        "startTimeUnixNano": str(end - int(seconds * 1e9)),
        "endTimeUnixNano": str(end),
    }
    return {"resourceSpans": [{"resource": resource("shop"), "scopeSpans": [{"spans": [span]}]}]}


def report(event: str) -> dict:
    record = {
        "timeUnixNano": str(time.time_ns()),
        "eventName": f"otel_latency.operation.{event}",
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "attributes": [{"key": "otel_latency.stage", "value": {"stringValue": "llm"}}],
    }
    return {"resourceLogs": [{"resource": resource("shop"), "scopeLogs": [{"logRecords": [record]}]}]}


async def test_spans_become_percentiles():
    """OTLP in, quantiles on the very next scrape."""
    async with running(config()) as (agent, client):
        assert await send(agent, client, "traces", trace(0.25)) == {}
        found = await metrics(agent, client)
    labels = (("service", "shop"), ("stage", "retrieve"))
    assert found["otel_latency_stage_duration_seconds_count", labels] == 1
    quantile = (("quantile", "0.99"), *labels, ("window", "10s"))
    assert found["otel_latency_stage_window_seconds", quantile] == pytest.approx(0.25)
    assert found["otel_latency_agent_received_spans_total", (("transport", "http"),)] == 1


async def test_received_metrics_are_served_under_their_names():
    """An application's own gauge is on /metrics, translated as Prometheus does."""
    point = {"timeUnixNano": str(time.time_ns()), "asDouble": 3.5}
    metric = {"name": "queue.depth", "unit": "{item}", "gauge": {"dataPoints": [point]}}
    body = {"resourceMetrics": [{"resource": resource("shop"), "scopeMetrics": [{"metrics": [metric]}]}]}
    async with running(config()) as (agent, client):
        assert await send(agent, client, "metrics", body) == {}
        found = await metrics(agent, client)
    assert [value for (name, _), value in found.items() if name == "queue_depth"] == [3.5]


async def test_a_running_operation_is_seen_until_its_span_arrives():
    """From its start report on; the finished span takes it off the table."""
    async with running(config()) as (agent, client):
        await send(agent, client, "logs", report("start"))
        during = await metrics(agent, client)
        await send(agent, client, "traces", trace(0.1))
        after = await metrics(agent, client)
    labels = (("service", "shop"), ("stage", "llm"))
    assert during["otel_latency_operations_in_flight", labels] == 1
    assert after["otel_latency_operations_in_flight", labels] == 0


async def test_the_status_tells_what_runs():
    """In strict JSON, with the shape of MB6."""
    async with running(config()) as (agent, client):
        await send(agent, client, "traces", trace(0.1))
        found = await status(agent, client)
    assert found["health"]["healthy"] is True
    assert found["request_count"] == 1
    assert found["uptime_seconds"] > 0
    assert found["receivers"]["http"]["port"] == agent.receivers["http"].port
    assert found["series"]["spans"] == 1
    assert {each["name"] for each in found["collectors"]} >= {"host", "process", "loop"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


async def test_a_required_check_that_is_down_makes_it_unready_and_nothing_else():
    """The pod is taken out of service only when its user asked for that."""
    check = Check(name="db", tcp="127.0.0.1:1", required=True)
    async with running(config(collect=Collect(checks=[check]))) as (agent, client):
        async with client.get(f"{agent.web.url}/health/ready") as ready:
            assert (ready.status, (await ready.json())["ready"]) == (503, False)
        async with client.get(f"{agent.web.url}/health/live") as live:
            assert live.status == 200


async def test_a_tick_that_fails_is_not_the_last(monkeypatch):
    """Health tells of it until a tick has succeeded again."""
    async with running(config()) as (agent, client):
        monkeypatch.setattr(agent.aggregator, "fold", lambda _now: 1 / 0)
        ticks = agent.ticks
        while agent.ticks < ticks + 3:
            await asyncio.sleep(0.05)
        async with client.get(f"{agent.web.url}/health") as sick:
            assert sick.status == 503
            assert (await sick.json())["reason"] == "the last tick failed with ZeroDivisionError"
        monkeypatch.undo()
        ticks = agent.ticks
        while agent.ticks < ticks + 2:
            await asyncio.sleep(0.05)
        async with client.get(f"{agent.web.url}/health") as well:
            assert well.status == 200


async def test_receivers_can_be_off():
    """Without gRPC its library is not even loaded by us."""
    otlp = OTLP(http=HTTPReceiver(port=0), grpc=GRPCReceiver(enabled=False))
    async with running(config(otlp=otlp)) as (agent, _):
        assert set(agent.receivers) == {"http"}


@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_a_port_that_is_taken_is_told_with_its_cure(kind, tmp_path):
    """And everything that was started is stopped again."""
    async with running(config()) as (first, _):
        port = first.receivers[kind].port
        ports = {"http": HTTPReceiver(port=0), "grpc": GRPCReceiver(port=0)}
        ports[kind] = type(ports[kind])(port=port)
        second = Agent(config(otlp=OTLP(**ports)), directory=tmp_path)
        with pytest.raises(ConfigError) as raised:
            await second.run()
        assert str(raised.value) == (
            f"otlp.{kind}: cannot listen on 127.0.0.1:{port}: Address already in use: "
            f"end what listens there, or set otlp.{kind}.host and otlp.{kind}.port"
        )
        async with running(config()):
            pass


@pytest.mark.parametrize("section", ["otlp.http", "otlp.grpc", "web"])
async def test_a_host_that_is_not_ours_is_told_with_its_cure(section, tmp_path):
    """Neither an address of another machine (this one is for documentation) nor what is no address."""
    for host in ("192.0.2.1", "300.1.1.1"):
        otlp = OTLP(
            http=HTTPReceiver(port=0, host=host if section == "otlp.http" else "127.0.0.1"),
            grpc=GRPCReceiver(port=0, host=host if section == "otlp.grpc" else "127.0.0.1"),
        )
        web = Web(port=0, host=host if section == "web" else "127.0.0.1")
        agent = Agent(config(otlp=otlp, web=web), directory=tmp_path)
        cure = rf": [\w ]+: set {section}\.host to an address of this machine"
        with pytest.raises(ConfigError, match=rf"^{section}: cannot listen on {host}:0{cure}$"):
            await agent.run()


async def test_stopping_answers_nobody_and_loses_nothing():
    """The last request before the stop is counted; afterwards the ports are closed."""
    async with running(config()) as (agent, client):
        await send(agent, client, "traces", trace(0.1))
        url = agent.web.url
    assert agent.health.why_not_ready() == "stopping"
    (family,) = [f for f in agent.aggregator.families(time.time()) if f.name == "otel_latency_stages_total"]
    assert family.series[0].value == 1
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"{url}/health")
