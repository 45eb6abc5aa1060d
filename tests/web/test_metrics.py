"""The metrics page over HTTP: format, encoding, and one rendering per version of the data."""

import asyncio
import gzip
import logging

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otel_latency.records import Family, ValueSeries
from otel_latency.web.metrics import MetricsPage
from otel_latency.web.negotiate import Format

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Source:
    """Data with a version, that counts how often it is read."""

    def __init__(self, *families):
        self.families = families
        self.version = 1
        self.reads = 0

    async def read(self):
        self.reads += 1
        return self.families


@pytest.fixture
def page_of():
    pages = []

    def make(source, registry=None):
        page = MetricsPage(
            families=source.read, version=lambda: source.version, registry=registry or CollectorRegistry()
        )
        pages.append(page)
        return page

    yield make
    for page in pages:
        page.close()


def gauge(name="g", value=1.0):
    return Family(name, "gauge", "G.", [ValueSeries((), value)])


async def test_formats(serve, page_of):
    """Each format is served as what it is."""
    client = await serve(page_of(Source(gauge())).route())
    types = {}
    for accept in ("text/plain", OPENMETRICS, PROTOBUF):
        async with client.get("/metrics", headers={"Accept": accept}) as response:
            types[accept] = response.headers["Content-Type"]
            assert response.headers["Vary"] == "Accept, Accept-Encoding"
            assert b"otel_latency_agent_hidden_series" in await response.read()
    assert types == {
        "text/plain": "text/plain; version=0.0.4; charset=utf-8",
        OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
        PROTOBUF: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    }


async def test_gzip(serve, page_of):
    """Compressed for those who ask, plain for the others, and the same below."""
    client = await serve(page_of(Source(gauge())).route())
    async with client.get("/metrics", headers={"Accept-Encoding": "identity"}) as response:
        assert "Content-Encoding" not in response.headers
        plain = await response.read()
    async with client.get("/metrics", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert await response.read() == plain  # the client has unpacked it


async def test_head(serve, page_of):
    """HEAD says what GET would send, and sends nothing."""
    client = await serve(page_of(Source(gauge())).route())
    async with client.head("/metrics") as response:
        assert (response.status, await response.read()) == (200, b"")
        assert response.headers["Content-Type"].startswith("text/plain")


async def test_a_page_is_made_once_per_version(page_of):
    """However many scrapers ask in whichever encoding, the data is read once until it changes."""
    source = Source(gauge())
    page = page_of(source)
    pages = await asyncio.gather(*[page.page(Format.TEXT, gzip=bool(n % 2)) for n in range(10)])
    assert (source.reads, len(set(pages)), gzip.decompress(pages[1])) == (1, 2, pages[0])
    source.version, source.families = 2, [gauge(value=2.0)]
    assert b"g 2.0\n" in await page.page(Format.TEXT)
    assert gzip.decompress(await page.page(Format.TEXT, gzip=True)) == await page.page(Format.TEXT)
    assert source.reads == 2


async def test_both_sources_are_on_the_page(page_of):
    """The agent's own figures and the aggregated ones are one page."""
    registry = CollectorRegistry()
    Gauge("own", "Own.", registry=registry).set(3)
    page = await page_of(Source(gauge()), registry).page(Format.OPENMETRICS)
    names = [family.name for family in parse_openmetrics(page.decode())]
    assert names == ["own", "g", "otel_latency_agent_hidden_series"]


async def test_the_agents_own_name_wins(page_of):
    """A metric from outside cannot take the place of one of ours; what is left out is counted on the page."""
    registry = CollectorRegistry()
    Gauge("own", "Own.", registry=registry).set(3)
    hostile = [gauge("own", 666.0), gauge("bad\nown 666"), gauge("fine")]
    page = page_of(Source(*hostile), registry)
    text = (await page.page(Format.TEXT)).decode()
    values = {s.name: s.value for family in parse_text(text) for s in family.samples}
    assert values == {"own": 3.0, "fine": 1.0, "otel_latency_agent_hidden_series": 2.0}
    assert page.hidden_series == 2


async def test_a_source_that_fails(serve, page_of, caplog):
    """A failing source is a 500 without its text, a log line, and no reason to fail the next scrape."""
    source = Source(gauge())
    page = page_of(source)
    client = await serve(page.route())
    source.families = None
    with caplog.at_level(logging.ERROR):
        async with client.get("/metrics") as response:
            assert (response.status, await response.json()) == (500, {"error": "internal error; see the agent's log"})
    assert "/metrics failed" in caplog.text
    source.families = [gauge()]
    async with client.get("/metrics") as response:
        assert response.status == 200


async def test_close_twice(page_of):
    """Closing is harmless at any time."""
    page = page_of(Source())
    await page.page(Format.TEXT)
    page.close()
    page.close()
