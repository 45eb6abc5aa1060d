"""A real Prometheus scrapes our page in each of its formats and computes from it what we promise."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import time
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession, web

from otel_latency.agent_metrics import AgentMetrics
from otel_latency.records import Exemplar, Family, HistogramSeries, SummarySeries, ValueSeries
from otel_latency.sketch import Sketch
from otel_latency.web.app import Route, WebServer
from otel_latency.web.exposition import Text
from otel_latency.web.metrics import MetricsPage
from otel_latency.web.negotiate import Format

pytestmark = pytest.mark.e2e

COUNT = 100_000
NAME = "otel_latency_stage_duration_seconds"
HOSTILE = 'a"b\\c\nd{e}=%s é✓'
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Data:
    """Lognormal durations, as a sketch and as they are."""

    values: list[float]
    sketch: Sketch

    def exact(self, q: float) -> float:
        return sorted(self.values)[math.ceil(q * len(self.values)) - 1]

    def families(self) -> list[Family]:
        labels = (("service", "bot"), ("stage", HOSTILE))
        sketch, now = self.sketch, time.time()
        histogram = HistogramSeries(
            labels,
            sketch.count,
            sketch.sum,
            [(bound, sum(value <= bound for value in self.values)) for bound in BOUNDS],
            native=sketch.bucket_counts(),
            zero_count=sketch.non_positive_count(),
            exemplar=Exemplar(0.375, TRACE_ID, SPAN_ID, now),
            created=now - 60,
        )
        quantiles = tuple((q, sketch.quantile(q)) for q in (0.5, 0.9, 0.95, 0.99))
        window = SummarySeries((*labels, ("window", "1m")), sketch.count, sketch.sum, quantiles, now - 60)
        return [
            Family(NAME, "histogram", "Duration of a stage.", [histogram], "seconds"),
            Family(
                "otel_latency_stage_window_seconds", "summary", "Quantiles of the last minute.", [window], "seconds"
            ),
            Family("otel_latency_stages_total", "counter", "Stages.", [ValueSeries(labels, COUNT, now - 60)]),
            Family("otel_latency_host_load1", "gauge", "Load.", [ValueSeries((), 0.5)]),
            Family("otel_latency_nothing", "gauge", "Not a number.", [ValueSeries((), math.nan)]),
            Family("evil\nup 1", "gauge", "Never shown.", [ValueSeries((), 1.0)]),
        ]


@pytest.fixture(scope="module")
def data() -> Data:
    rng = random.Random(20)
    values = [rng.lognormvariate(-1.0, 1.2) for _ in range(COUNT)]
    return Data(values, Sketch(values))


@pytest.fixture
def page(data):
    families = data.families()
    own = AgentMetrics(version="0.1.0", series=lambda: 1, totals={"received_spans": lambda: {"http": COUNT}})

    async def read():
        return families

    page = MetricsPage(families=read, version=lambda: 1, registry=own.registry)
    yield page
    page.close()


@pytest.fixture
async def server(page):
    async def text_only(_request):
        return web.Response(body=await page.page(Format.TEXT), headers={"Content-Type": Text.content_type})

    server = WebServer("127.0.0.1", 0, routes=[page.route(), Route("/text-only", text_only, any_host=True)])
    await server.start()
    yield server
    await server.stop()


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, client: ClientSession) -> None:
        self.client = client

    async def get(self, path: str, **params: str) -> list:
        async with self.client.get(f"/api/v1/{path}", params=params) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def value(self, query: str) -> float | None:
        """The one value of an instant query, or None as long as there is none."""
        result = (await self.get("query", query=query))["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None


@pytest.fixture
async def prometheus(require, launch, poll, tmp_path, server):
    """`prometheus("native-histograms")` scrapes the server every second, with that feature on."""
    program = require("prometheus", package="prometheus")
    clients = []

    async def start(feature: str) -> Prometheus:
        jobs = [
            {
                "job_name": job,
                "metrics_path": path,
                "static_configs": [{"targets": [server.url.removeprefix("http://")]}],
            }
            for job, path in (("negotiated", "/metrics"), ("text", "/text-only"))
        ]
        config = tmp_path / f"{feature}.yml"
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
        log = await launch(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / feature}",
            "--web.listen-address=127.0.0.1:0",
            f"--enable-feature={feature}",
        )
        port = await poll(lambda: re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', log.read_text()))
        client = ClientSession(f"http://127.0.0.1:{port[1]}")
        clients.append(client)
        running = Prometheus(client)
        await poll(lambda: running.value('sum(up) == 2 and sum(scrape_samples_scraped{job="text"}) > 0'))
        return running

    yield start
    for client in clients:
        await client.close()


async def test_text_and_openmetrics(prometheus, poll, data):
    """Both formats make the same series, and OpenMetrics brings the exemplar."""
    running = await prometheus("exemplar-storage")
    for job in ("negotiated", "text"):
        assert await running.value(f'{NAME}_count{{job="{job}",service="bot"}}') == COUNT
        assert await running.value(f'{NAME}_sum{{job="{job}"}}') == data.sketch.sum
        assert await running.value(f'otel_latency_agent_received_spans_total{{job="{job}",transport="http"}}') == COUNT
        assert await running.value(f'otel_latency_agent_hidden_series{{job="{job}"}}') == 1
        assert math.isnan(await running.value(f'otel_latency_nothing{{job="{job}"}}'))
        quantile = await running.value(f'otel_latency_stage_window_seconds{{job="{job}",window="1m",quantile="0.99"}}')
        assert quantile == pytest.approx(data.exact(0.99), rel=0.0055)
    assert await running.value(f'{NAME}_created{{job="text"}}') is None
    stages = {series["stage"] for series in await running.get("series", **{"match[]": f"{NAME}_bucket"})}
    assert stages == {HOSTILE}
    bounds = await running.get("label/le/values", **{"match[]": f"{NAME}_bucket"})
    assert sorted(map(float, bounds)) == [*BOUNDS, math.inf]

    now = time.time()
    found = await poll(
        lambda: running.get("query_exemplars", query=f"{NAME}_bucket", start=str(now - 60), end=str(now + 60))
    )
    (series,) = found
    assert (series["seriesLabels"]["le"], series["seriesLabels"]["job"]) == ("0.5", "negotiated")
    assert series["exemplars"][0]["labels"] == {"trace_id": TRACE_ID, "span_id": SPAN_ID}
    assert float(series["exemplars"][0]["value"]) == 0.375


async def test_native_histograms(prometheus, poll, data):
    """Over protobuf Prometheus takes the sketch's own buckets: its quantiles are as good as ours."""
    running = await prometheus("native-histograms")
    native = f'{NAME}{{job="negotiated"}}'
    assert await poll(lambda: running.value(f"histogram_count({native})")) == COUNT
    assert await running.value(f"histogram_sum({native})") == data.sketch.sum
    errors = {
        q: abs(await running.value(f"histogram_quantile({q}, {native})") / data.exact(q) - 1)
        for q in (0.5, 0.9, 0.95, 0.99, 0.999)
    }
    assert max(errors.values()) <= 0.011, errors
    classic = await running.value(f'histogram_quantile(0.99, {NAME}_bucket{{job="text"}})')
    assert classic == pytest.approx(data.exact(0.99), rel=0.5)  # what bucket bounds chosen beforehand are worth
    assert await running.value('otel_latency_stages_total{job="negotiated"}') == COUNT
    summary = 'otel_latency_stage_window_seconds{job="negotiated",quantile="0.5"}'
    assert await running.value(summary) == pytest.approx(data.exact(0.5), rel=0.0055)
    stages = {series["stage"] for series in await running.get("series", **{"match[]": native})}
    assert stages == {HOSTILE}


async def test_promtool(require, page):
    """`promtool check metrics` has nothing to say about the page."""
    promtool = require("promtool", package="prometheus")
    text = await page.page(Format.TEXT)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=20, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
