"""Segments one after another against several at once (`gather_bounded`): throughput, memory, and the best bound.

A model host on loopback answers after 20 to 60 ms and works on 16 requests at a time, the others wait there. Each
bound is measured in a process of its own, and every running segment holds a buffer, as audio does.

python -m tests.bench concurrency
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from bench.report import Figure, run

LIMITS = (1, 2, 5, 10, 20, 40)
SLOTS = 16
SEGMENT_MIB = 2
REFERENCE_LIMIT = 5
PROGRAM = """
import asyncio, json, sys, time
import aiohttp
import otel_latency as latency
from otel_latency.instrument.tracker import peak_memory_mb

url, how, limit, segments, mib = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])

async def main():
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        async def transcribe(segment):
            audio = bytearray(b"x") * (mib << 20)
            async with client.get(url, params={"segment": segment}) as answer:
                return len(audio), await answer.text()

        async def semaphore():
            slots = asyncio.Semaphore(limit)
            async def one(segment):
                async with slots:
                    return await transcribe(segment)
            return await asyncio.gather(*map(one, range(segments)))

        adaptive = latency.AdaptiveLimit(0.1)
        await transcribe(0)
        before, began = peak_memory_mb(), time.perf_counter()
        if how == "sequential":
            results = [await transcribe(segment) for segment in range(segments)]
        elif how == "semaphore":
            results = await semaphore()
        else:
            bound = limit if how == "gather_bounded" else adaptive
            results = await latency.gather_bounded(transcribe, range(segments), limit=bound)
        seconds = time.perf_counter() - began
        assert [text for _, text in results] == [str(segment) for segment in range(segments)]
    grown = peak_memory_mb() - before
    print(json.dumps({"seconds": seconds, "mib": peak_memory_mb(), "grown": grown, "adaptive": adaptive.limit}))

asyncio.run(main())
"""


@contextmanager
def model_host() -> Iterator[str]:
    """Its address; each segment takes the same time in every run."""
    slots = asyncio.Semaphore(SLOTS)

    async def answer(request: web.Request) -> web.Response:
        segment = request.query["segment"]
        async with slots:
            await asyncio.sleep(random.Random(segment).uniform(0.02, 0.06))
        return web.Response(text=segment)

    ready, loop = threading.Event(), asyncio.new_event_loop()
    addresses: list[str] = []

    async def serve() -> None:
        application = web.Application()
        application.router.add_get("/", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        addresses.append(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        ready.set()

    loop.create_task(serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ready.wait()
    yield addresses[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def measured(url: str, how: str, limit: int, segments: int) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM, url, how, *map(str, (limit, segments, SEGMENT_MIB))]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    segments = arguments.segments
    with model_host() as url:
        alone = measured(url, "sequential", 1, segments)
        yield Figure("sequential", segments / alone["seconds"], "/s", detail=memory(alone))
        found = {limit: measured(url, "gather_bounded", limit, segments) for limit in LIMITS}
        for limit, each in found.items():
            yield Figure(f"gather_bounded, limit {limit}", segments / each["seconds"], "/s", detail=memory(each))
        reference = measured(url, "semaphore", REFERENCE_LIMIT, segments)
        adaptive = measured(url, "adaptive", 0, segments)
    default = found[REFERENCE_LIMIT]["seconds"]
    yield Figure(f"limit {REFERENCE_LIMIT}: time against sequential", default / alone["seconds"], "", 0.25)
    detail = "gather over a semaphore is 1"
    yield Figure(
        f"limit {REFERENCE_LIMIT}: time against plain asyncio", default / reference["seconds"], "", 1.1, detail
    )
    quickest = min(each["seconds"] for each in found.values())
    best = min(limit for limit, each in found.items() if each["seconds"] <= 1.1 * quickest)
    detail = f"the least within 10 % of the quickest; the host has {SLOTS} slots"
    yield Figure("best limit", best, detail=detail)
    detail = f"{segments / adaptive['seconds']:.0f}/s, at a target of 0.1 s"
    yield Figure("AdaptiveLimit has come to", adaptive["adaptive"], detail=detail)


def memory(found: dict[str, float]) -> str:
    return f"peak memory {found['mib']:.0f} MiB, of which the segments {found['grown']:.0f}"


if __name__ == "__main__":
    run(measure, __doc__, {"segments": (200, "segments, each 20 to 60 ms")})
