"""A real Alertmanager takes our alerts, shows them, and lets them go; and its webhooks are ours."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace

import pytest
from aiohttp import ClientSession, web

from otel_latency.clock import SystemClock
from otel_latency.config.sections import AlertmanagerNotifier, WebhookNotifier
from otel_latency.config.values import Secret
from otel_latency.notify.build import build
from otel_latency.records import Alert

pytestmark = pytest.mark.e2e

EXTERNAL_URL = "http://alerts.example.com:9093"
HOSTILE = 'a"b\\c\nd{e}=~ é✓ \u202e\u200b\x7f'
CONFIG = """\
route: {{receiver: "a.b (c)", group_by: [alertname, stage], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: "a.b (c)"
    webhook_configs: [{{url: "http://127.0.0.1:{port}/theirs", send_resolved: true}}]
"""
LABELS = [
    {"stage": HOSTILE, "job": "b", "instance": "2"},
    {"stage": HOSTILE, "job": "b", "instance": "1"},
    {"stage": HOSTILE, "job": "a", "pod": "x"},
    {"stage": HOSTILE, "pod": "x"},
    {"stage": HOSTILE, "apod": "x"},
    {"stage": HOSTILE, "zone": "1", "pod": "y"},
    {"stage": HOSTILE},
]


@pytest.fixture
async def webhooks():
    """The port of a server, and the queues of what was posted to /ours and /theirs."""
    got = {"/ours": asyncio.Queue(), "/theirs": asyncio.Queue()}

    async def take(request):
        got[request.path].put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/{name}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site._server.sockets[0].getsockname()[1], got
    await runner.cleanup()


@pytest.fixture
async def alertmanager(require, launch, poll, tmp_path, webhooks):
    """A client of its API."""
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG.format(port=webhooks[0]))
    log = await launch(
        require("prometheus-alertmanager", package="prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={tmp_path / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        f"--web.external-url={EXTERNAL_URL}",
        "--cluster.listen-address=",
    )
    found = await poll(lambda: re.search(r'msg="?Listening on"? address=127\.0\.0\.1:(\d+)', log.read_text()))
    async with ClientSession(f"http://127.0.0.1:{found[1]}") as client:
        yield client


@pytest.fixture
async def pipeline(webhooks, alertmanager, tmp_path):
    url = f"http://127.0.0.1:{webhooks[0]}/ours"
    sections = [
        WebhookNotifier(name="a.b (c)", url=Secret(url), group_by=["alertname", "stage"]),
        AlertmanagerNotifier(name="am", url=Secret(str(alertmanager._base_url))),
    ]
    made = build(sections, tmp_path, SystemClock(), external_url=EXTERNAL_URL)
    await made.start()
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.wait([running])
    await made.close()


def firing(labels, start):
    annotations = {"summary": f"é {HOSTILE}", "description": labels.get("pod", "none")}
    return Alert(
        {"alertname": "StageSlow", **labels}, annotations, start, start + 240, True, 2.0, "http://agent.example/rule"
    )


async def shown(client):
    """How many alerts Alertmanager holds as active."""
    async with client.get("/api/v2/alerts") as response:
        return len(await response.json())


async def bodies(got):
    return [await asyncio.wait_for(got[path].get(), 20) for path in ("/ours", "/theirs")]


async def test_alerts_go_both_ways(pipeline, alertmanager, webhooks, poll):
    """Alertmanager shows what fires until it resolves; at each step its webhook's body is equal to ours."""
    start = round(time.time() - 1, 3)
    alerts = [firing(labels, start) for labels in LABELS]
    await pipeline.accept(alerts)
    ours, theirs = await bodies(webhooks[1])
    assert theirs == ours
    assert list(theirs) == list(ours)
    assert len(LABELS) == await shown(alertmanager)

    over = [replace(each, is_firing=False, ends_at=round(time.time() - 0.1, 3)) for each in alerts]
    await pipeline.accept(over[:3])
    ours, theirs = await bodies(webhooks[1])
    assert ("firing", theirs) == (ours["status"], ours)
    await poll(lambda: _is(alertmanager, len(LABELS) - 3))

    await pipeline.accept(over[3:])
    ours, theirs = await bodies(webhooks[1])
    assert ("resolved", theirs) == (ours["status"], ours)
    await poll(lambda: _is(alertmanager, 0))
    assert 3 == pipeline.totals()["am", "delivered"]


async def _is(client, count):
    return await shown(client) == count


async def test_partly_wrong_batch(pipeline, alertmanager, webhooks):
    """Of a batch with an alert that Alertmanager refuses it takes the others; the refusal is counted, not repeated."""
    start = round(time.time() - 1, 3)
    await pipeline.accept([firing({"stage": "a"}, start), firing({"stage": "b", "0wrong": "x"}, start)])
    while pipeline.queued()["am"]:
        await asyncio.sleep(0.05)
    assert (1, "it answered 400") == (pipeline.totals()["am", "failed"], pipeline.status()[1]["last_error"])
    assert 1 == await shown(alertmanager)
