"""The durable log under requests of 256 spans of 150 kB: latency, CPU, throughput against no log, opening, memory.

Latency is that of an append that is durable, at the rate of 2,000 spans/s and with sixteen always in flight. Throughput
is that of decoding requests and appending them, 32 in flight, in turns with a log in memory and with none. The bar of
1.43 is a throughput of 0.7. Opening is measured with a log of 64 MiB of such requests, and with one of requests of a
single small span. Disks differ: the figures of plain writes with fsync stand beside.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median, quantiles

import psutil
from bench.report import Figure, compared, in_turns, run
from payload import Batch

from otel_latency.clock import SystemClock
from otel_latency.ingest.otlp_traces import TraceDecoder
from otel_latency.wal.log import Log

SPANS = 256
RATE = 2000 / SPANS
MAX_BYTES = 80 << 20
FULL = 64 << 20


async def opened(folder: Path | None, readers: dict[str, int | None] | None = None) -> Log:
    log = Log(folder, clock=SystemClock(), max_bytes=MAX_BYTES)
    await log.open(readers or {})
    assert not log.fault, log.fault
    return log


def fresh(batch: Batch) -> bytes:
    return batch.fresh(time.time_ns())


async def timed(append: Awaitable[int], seconds: list[float]) -> None:
    began = time.perf_counter()
    await append
    seconds.append(time.perf_counter() - began)


def p99(seconds: list[float]) -> float:
    """In milliseconds."""
    return 1e3 * quantiles(seconds, n=100)[98]


async def paced(folder: Path, batch: Batch, count: int) -> Iterator[Figure]:
    """At 2,000 spans/s; the memory that this takes, too."""
    process, seconds = psutil.Process(), []
    bodies = [fresh(batch) for _ in range(4)]
    before = process.memory_info().rss
    log = await opened(folder)
    spent = time.process_time()
    for at in range(count):
        await timed(log.append(1, bodies[at % 4], items=SPANS), seconds)
        await asyncio.sleep(1 / RATE)
    spent = time.process_time() - spent
    gained = process.memory_info().rss - before
    await log.close()
    return iter(
        [
            Figure(
                "p99 of an append at 2,000 spans/s", p99(seconds), "ms", 50, f"median {1e3 * median(seconds):.2f} ms"
            ),
            Figure("CPU time of an append at that rate", 1e3 * spent / count, "ms", 1),
            Figure("memory gained", gained / 2**20, "MiB", 3),
        ]
    )


async def saturated(folder: Path, batch: Batch, count: int) -> Iterator[Figure]:
    log = await opened(folder)
    seconds: list[float] = []
    bodies = [fresh(batch) for _ in range(8)]

    async def send() -> None:
        for at in range(count // 16):
            await timed(log.append(1, bodies[at % 8], items=SPANS), seconds)

    began, spent = time.perf_counter(), time.process_time()
    await asyncio.gather(*(send() for _ in range(16)))
    wall, spent = time.perf_counter() - began, time.process_time() - spent
    await log.close()
    return iter(
        [
            Figure(
                "p99 of an append, sixteen in flight", p99(seconds), "ms", None, f"{SPANS * count / wall:.0f} spans/s"
            ),
            Figure("CPU time of an append, sixteen in flight", 1e3 * spent / count, "ms", 1),
        ]
    )


def throughput(folder: Path, batch: Batch, rounds: int) -> Iterator[Figure]:
    """Requests decoded and appended; the reader is done with each at once."""
    bodies = 10 * [fresh(batch) for _ in range(32)]

    async def take(kept: Path | None, *, with_log: bool) -> float:
        log = await opened(kept, {"reader": None})
        reader, decoder = log.readers["reader"], TraceDecoder()
        reader.follow()

        async def send(some: list[bytes]) -> None:
            for body in some:
                rows, _ = decoder.decode(body, is_json=False)
                if with_log:
                    await log.append(1, body, items=len(rows), then=reader.commit)

        began = time.perf_counter()
        await asyncio.gather(*(send(bodies[at::32]) for at in range(32)))
        wall = time.perf_counter() - began
        await log.close()
        return wall / len(bodies)

    ways: dict[str, Callable[[], float]] = {
        "none": lambda: asyncio.run(take(None, with_log=False)),
        "memory": lambda: asyncio.run(take(None, with_log=True)),
        "disk": lambda: asyncio.run(take(folder, with_log=True)),
    }
    found = in_turns(ways, rounds)
    memory, disk = compared(found, "memory", "none"), compared(found, "disk", "memory")
    rates = {name: f"{SPANS / median(found[name]):.0f} spans/s" for name in found}
    yield Figure(
        "time with the log in memory, of that without",
        memory.ratio,
        "",
        None,
        f"{rates['memory']}, without {rates['none']}",
    )
    yield Figure("time with the log on disk, of that in memory", disk.ratio, "", 1.43, rates["disk"])


async def opening(folder: Path, what: str, bodies: list[bytes]) -> Figure:
    log = await opened(folder, {"reader": 0})
    while log.size_bytes < FULL:
        for _ in range(10):
            waiting = [log.append(1, body, items=1) for body in bodies]
            await asyncio.gather(*waiting)
    records = log.end.number
    await log.close()
    began = time.perf_counter()
    log = await opened(folder, {"reader": records // 2})
    seconds = time.perf_counter() - began
    await log.close()
    return Figure(f"opening 64 MiB of {what} requests", seconds, "s", 1, f"{records} records")


def plain(folder: Path, size: int) -> Figure:
    """What the disk does without us."""
    file, seconds = os.open(folder / "plain", os.O_CREAT | os.O_WRONLY, 0o600), []
    for _ in range(100):
        began = time.perf_counter()
        os.write(file, bytes(size))
        os.fdatasync(file)
        seconds.append(time.perf_counter() - began)
    os.close(file)
    return Figure(
        f"p99 of write and fsync of {size // 1000} kB",
        p99(seconds),
        "ms",
        detail=f"median {1e3 * median(seconds):.2f} ms",
    )


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    batch, small = Batch(spans=SPANS), Batch(spans=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from asyncio.run(paced(folder / "paced", batch, arguments.count))
        yield from asyncio.run(saturated(folder / "saturated", batch, 1600))
        yield from throughput(folder / "throughput", batch, arguments.rounds)
        yield asyncio.run(opening(folder / "large", "such", [fresh(batch) for _ in range(8)]))
        yield asyncio.run(opening(folder / "small", "small", [fresh(small) for _ in range(1000)]))
        yield plain(folder, 40_000)


if __name__ == "__main__":
    run(measure, __doc__, {"count": (100, "paced appends"), "rounds": (7, "rounds of throughput")})
