"""`GET /metrics`: the page of every metric, in the format and encoding that the scraper asked for.

A page is made once per version of the data and format, however many scrapers ask. Taking the data is the business of
whoever has it; turning it into bytes and compressing them happens on a thread of the page's own. So even ten thousand
series (45 ms of work) hold up a tick or a probe by little more than the interpreter's switch interval of 5 ms.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

from otel_latency.records import Family, ValueSeries
from otel_latency.web import registry as client
from otel_latency.web.app import Route
from otel_latency.web.exposition import OpenMetrics, Protobuf, Text, legal
from otel_latency.web.negotiate import Format, accepts_gzip, choose_format


class Renderer(Protocol):
    """A format: families to bytes."""

    content_type: str

    def render(self, families: Iterable[Family]) -> bytes:
        """One page."""


@dataclass(frozen=True, slots=True)
class _Page:
    """What was made of one version of the data in one format."""

    version: int
    plain: bytes
    gzipped: bytes | None = None


class MetricsPage:
    """Serves the families of *families*, which change when *version* does, after those of *registry*.

    The registry's come first: a metric received from outside cannot take the name of one of the agent's own.
    """

    def __init__(
        self,
        *,
        families: Callable[[], Awaitable[Iterable[Family]]],
        version: Callable[[], int],
        registry: CollectorRegistry,
    ) -> None:
        self._families = families
        self._version = version
        self._registry = registry
        self._renderers: dict[Format, Renderer] = {
            Format.TEXT: Text(),
            Format.OPENMETRICS: OpenMetrics(),
            Format.PROTOBUF: Protobuf(),
        }
        self._pages: dict[Format, _Page] = {}
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics-page")
        self.hidden_series = 0
        """Series that the last page left out because no scraper could have read them."""

    def route(self) -> Route:
        """Scrapers come by the pod's address, so any Host header is answered."""
        return Route("/metrics", self.handle, any_host=True)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one scrape."""
        wanted = choose_format(",".join(request.headers.getall("Accept", ())))
        is_gzip = accepts_gzip(",".join(request.headers.getall("Accept-Encoding", ())))
        headers = {"Content-Type": self._renderers[wanted].content_type, "Vary": "Accept, Accept-Encoding"}
        if is_gzip:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=await self.page(wanted, gzip=is_gzip), headers=headers)

    async def page(self, wanted: Format, *, gzip: bool = False) -> bytes:
        """The page as it stands, made anew only if the data changed since it was last asked for."""
        async with self._one_at_a_time:
            page = self._pages.get(wanted)
            version = self._version()
            if page is None or page.version != version:
                # The outdated ones, in whichever format, go first: a page can be large.
                self._pages = {each: known for each, known in self._pages.items() if known.version == version}
                page = self._pages[wanted] = _Page(version, await self._render(wanted))
            if not gzip:
                return page.plain
            if page.gzipped is None:
                gzipped = await asyncio.get_running_loop().run_in_executor(self._thread, _gzip, page.plain)
                page = self._pages[wanted] = replace(page, gzipped=gzipped)
            assert page.gzipped is not None
            return page.gzipped

    def close(self) -> None:
        """Let the thread end; harmless twice. A page that is being made is still finished."""
        self._thread.shutdown(wait=False)

    async def _render(self, wanted: Format) -> bytes:
        families = [*await self._families()]  # before the registry, whose figures tell of them
        snapshot = [*client.families(self._registry), *families]
        renderer = self._renderers[wanted]
        loop = asyncio.get_running_loop()
        self.hidden_series, page = await loop.run_in_executor(self._thread, _render, renderer, snapshot)
        return page


def _render(renderer: Renderer, families: Iterable[Family]) -> tuple[int, bytes]:
    shown = legal(families)
    return shown.hidden, renderer.render([*shown.families, _hidden(shown.hidden)])


def _hidden(count: int) -> Family:
    text = "Series left out of this page: an illegal name or label, a name that was taken, or figures at odds."
    return Family("otel_latency_agent_hidden_series", "gauge", text, [ValueSeries((), count)])


def _gzip(page: bytes) -> bytes:
    """Level 1: ten times smaller, for half the cost of making the page."""
    return zlib.compress(page, level=1, wbits=31)
