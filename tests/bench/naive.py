"""The reference: what a competent first version of the agent does. Also a server: `python -m bench.naive [forward]`.

Every request is parsed with the full schema by upb and walked in Python; each duration goes to the DDSketch of its
four attributes; a 250 ms tick asks every sketch for three quantiles. With `forward` the request is serialised again
into a queue of 64 that drops when it is full, as it is at saturation; nothing takes from it, which flatters the server.
It prints its port.
"""

from __future__ import annotations

import asyncio
import sys

import ddsketch
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KEYS = ("pipeline.stage", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.operation.name")
TICK = 0.25


class NaiveAggregator:
    """A DDSketch of 1 % per combination of `KEYS`."""

    def __init__(self) -> None:
        self._places = {key: place for place, key in enumerate(KEYS)}
        self._sketches: dict[tuple[str, ...], ddsketch.DDSketch] = {}

    def ingest(self, body: bytes) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest.FromString(body)
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    values = [""] * len(KEYS)
                    for attribute in span.attributes:
                        place = self._places.get(attribute.key)
                        if place is not None:
                            values[place] = attribute.value.string_value
                    key = tuple(values)
                    sketch = self._sketches.get(key)
                    if sketch is None:
                        sketch = self._sketches[key] = ddsketch.DDSketch(0.01)
                    sketch.add((span.end_time_unix_nano - span.start_time_unix_nano) / 1e9)
        return request

    def tick(self) -> None:
        for sketch in self._sketches.values():
            for quantile in (0.5, 0.9, 0.99):
                sketch.get_quantile_value(quantile)


async def serve(*, forward: bool) -> None:
    aggregator = NaiveAggregator()
    queue: asyncio.Queue[bytes] = asyncio.Queue(64)

    async def traces(request: web.Request) -> web.Response:
        parsed = aggregator.ingest(await request.read())
        if forward:
            serialised = parsed.SerializeToString()
            if not queue.full():
                queue.put_nowait(serialised)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/traces", traces)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)

    loop = asyncio.get_running_loop()
    start = loop.time()

    def tick(number: int) -> None:
        aggregator.tick()
        loop.call_at(start + (number + 1) * TICK, tick, number + 1)

    tick(0)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(forward="forward" in sys.argv))
