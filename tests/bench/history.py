"""A month of a hundred series at one operation a second each, written, kept within its room, and asked.

The first weeks are written as quarters of an hour, the last two days minute by minute as the agent does it, merged and
deleted by the same maintenance, and the last hours with every operation and turn besides (voice turns of five stages,
six operations each), so that the cap on bytes is reached. Time is simulated; what is measured is real: the file, the
errors against the exact nearest rank, the seconds of an answer, how late a loop's timers are while history is deleted,
CPU time on the loop and on the writer's thread, and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import psutil
from bench.report import Figure, run
from bench.turns import voice

from otel_latency.aggregate.stages import build
from otel_latency.records import SpanRow
from otel_latency.sketch import Sketch
from otel_latency.store import windows
from otel_latency.store.history import FILE, History
from otel_latency.store.operations import MAX_ROWS, Filter
from otel_latency.testing import FakeClock

NAME = "otel_latency_stage_duration_seconds"
MAX_BYTES = 256 << 20
DAY = 86_400
POOL = 200
MINUTES_DAYS = 2
OPERATIONS_HOURS = 3
PER_TURN = 6
"""Operations of a voice turn."""
STATE = random.Random(1).randbytes(8 << 20)
DRAWS = (
    lambda rng: rng.lognormvariate(-1, 1),
    lambda rng: rng.gauss(0.1, 0.01) if rng.random() < 0.7 else abs(rng.gauss(2.5, 0.25)) + 1e-3,
    lambda rng: 0.01 * rng.paretovariate(1.2),
)


class World:
    """The series: values come from pools, so that a month of them need not be drawn, and what three saw is noted."""

    def __init__(self, series: int, rng: random.Random) -> None:
        self.rng = rng
        self.labels = [(("service", "support-bot"), ("stage", f"stage_{number:03}")) for number in range(series)]
        values = [[array("d", [draw(rng) for _ in range(60)]) for _ in range(POOL)] for draw in DRAWS]
        self.minutes = [[(one, Sketch(one)) for one in pool] for pool in values]
        joined = [[_joined(rng.sample(pool, 15)) for _ in range(POOL)] for pool in values]
        self.quarters = [[(one, Sketch(one)) for one in pool] for pool in joined]
        self.seen: list[defaultdict[int, list[array[float]]]] = [defaultdict(list) for _ in DRAWS]

    def window(self, number: int, slot: int, pools: list[list[tuple[array[float], Sketch]]], width: int) -> Sketch:
        """What series *number* saw in *slot*."""
        values, sketch = self.rng.choice(pools[number % len(pools)])
        if number < len(pools):
            self.seen[number][slot * width].append(values)
        return sketch

    def exact(self, number: int, since: float, until: float, q: float) -> float:
        ordered = sorted(
            _joined([one for at, all_ in self.seen[number].items() if since <= at < until for one in all_])
        )
        return ordered[ceil(q * len(ordered)) - 1]


def _joined(parts: list[array[float]]) -> array[float]:
    whole = array("d")
    for part in parts:
        whole += part
    return whole


class Simulation:
    """The history, and a clock that only it waits for."""

    def __init__(self, folder: Path, world: World, days: int) -> None:
        self.world = world
        self.clock = FakeClock(float((1_700_000_000 // windows.QUARTER) * windows.QUARTER))
        self.start = self.clock.time()
        self.end = self.start + days * DAY
        self.folder = folder
        self.new: list[tuple[str, windows.Labels, int, Sketch]] = []
        self.history = History(
            folder,
            detail=DAY,
            aggregate=30 * DAY,
            max_bytes=MAX_BYTES,
            clock=self.clock,
            changed=self.changed,
        )
        self.loop_seconds = 0.0
        self.turns_seconds = 0.0
        self.writer_seconds = 0.0
        self.operations = 0
        self.turns = 0
        self.largest = 0
        self.sketches = 0

    def changed(self) -> list[tuple[str, windows.Labels, int, Sketch]]:
        """What series saw in the minute, once."""
        told, self.new = self.new, []
        return told

    async def write_weeks(self) -> None:
        """Quarters, without the minutes they were made of."""
        first, last = int(self.start) // windows.QUARTER, int(self.end - MINUTES_DAYS * DAY) // windows.QUARTER
        ids = windows.SeriesIds()

        def write(connection, slots):
            with connection:
                connection.execute("BEGIN")
                series = [ids.find(connection, NAME, labels) for labels in self.world.labels]
                for slot in slots:
                    window = [
                        self.world.window(number, slot, self.world.quarters, 900) for number in range(len(series))
                    ]
                    rows = [(slot, one, sketch.to_bytes()) for one, sketch in zip(series, window, strict=True)]
                    connection.executemany("INSERT INTO quarters (slot, series, data) VALUES (?, ?, ?)", rows)

        for slot in range(first, last, 10):
            await self.history.ask(lambda connection, slot=slot: write(connection, range(slot, min(slot + 10, last))))
        self.clock.step(self.end - MINUTES_DAYS * DAY - self.clock.time())

    async def write_days(self) -> None:
        """Minute by minute, with maintenance every minute."""
        while self.clock.time() < self.end:
            with_operations = self.clock.time() >= self.end - OPERATIONS_HOURS * 3600
            if not with_operations:
                self.sketches = self.history.size_bytes
            begun = await self.writer_time()
            await self.write_minute(with_operations=with_operations)
            self.writer_seconds += (await self.writer_time() - begun) * with_operations

    async def writer_time(self) -> float:
        return await self.history.ask(lambda _: time.thread_time())

    async def write_minute(self, *, with_operations: bool) -> None:
        slot = int(self.clock.time()) // 60
        self.new = [
            (NAME, labels, slot, self.world.window(number, slot, self.world.minutes, 60))
            for number, labels in enumerate(self.world.labels)
        ]
        self.history.reach(slot)
        for _ in range(10):
            traces = self.traces(6 * len(self.world.labels) // PER_TURN) if with_operations else ()
            spans, turns = [], []
            for rows in traces:
                spans += rows
                turns.append(build(rows[-1], rows))
                await asyncio.sleep(0)  # timers that others measure are not to wait for the simulation
            self.clock.step(6)
            await self.clock.advance(1)
            self.clock.step(-1)
            before = time.thread_time()
            self.history.add_turns(turns)
            between = time.thread_time()
            self.history.add(spans)
            self.history.tick(self.clock.time())
            self.loop_seconds += time.thread_time() - between
            self.turns_seconds += between - before
            self.operations += len(spans)
            self.turns += len(turns)
            await self.history.written()
        await self.history.maintain()
        self.largest = max(self.largest, disk_bytes(self.folder))

    def traces(self, count: int) -> Iterator[list[SpanRow]]:
        """The spans of voice turns that end now, a hundred turns a session."""
        now, rng = int(self.clock.time() * 1e9), self.world.rng
        return (self.moved(voice(rng, 0), now + 1000 * number) for number in range(count))

    def moved(self, rows: list[SpanRow], end_ns: int) -> list[SpanRow]:
        """With their last end at *end_ns*, and times that are not round."""
        rng, shift = self.world.rng, end_ns - rows[-1][5]
        session = f"session-{(self.turns + rng.randrange(1000)) // 100:08}"
        return [
            (profile, trace, span, parent, start + shift, end + shift, _drawn(rng, said, session))
            for profile, trace, span, parent, start, end, said in (
                (*row[:4], row[4] - rng.randrange(10**6), row[5] - rng.randrange(10**6), row[6]) for row in rows
            )
        ]


def _drawn(rng: random.Random, said: dict[str, float | str] | None, session: str) -> dict[str, float | str]:
    drawn = {
        name: value + rng.random() * 1e-2 if isinstance(value, float) else value for name, value in (said or {}).items()
    }
    return drawn | {"session": session}


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


async def errors(simulation: Simulation, days: int) -> Iterator[float]:
    """Relative errors of percentiles of windows: minutes of the last day, quarters of the month, and all of it."""
    rng = random.Random(5)
    end = simulation.end
    spans = [(end - days * DAY, end - windows.QUARTER)]
    spans += [(end - rng.randrange(2, 23 * 60) * 60, end - 60) for _ in range(3)]
    spans += [(end - rng.randrange(3, days) * DAY, end - rng.randrange(1, 2 * DAY, 900) // 900 * 900) for _ in range(3)]
    for since, until in spans:
        for number in range(len(DRAWS)):
            series = f'{NAME}{{stage="stage_{number:03}"}}'
            answer = await simulation.history.history(series, since, until, until - since)
            (point,) = answer["series"][0]["points"][:1]
            last = point["start"] + point["seconds"]
            for key, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
                yield abs(point[key] / simulation.world.exact(number, point["start"], last, q) - 1)


async def lateness(work) -> float:
    """The most that timers of 5 ms were late while *work* went on, in seconds."""
    loop, worst = asyncio.get_running_loop(), 0.0
    task = asyncio.ensure_future(work)
    while not task.done():
        due = loop.time() + 0.005
        await asyncio.sleep(0.005)
        worst = max(worst, loop.time() - due)
    await task
    return worst


async def delete_much(simulation: Simulation) -> None:
    """Ten minutes of everything become too old, six times over, and operations go for want of room."""
    for _ in range(6):
        await simulation.write_minute(with_operations=True)
        simulation.clock.step(540)
        await simulation.history.maintain()


async def figures(arguments: argparse.Namespace, folder: Path) -> list[Figure]:
    process = psutil.Process()
    world = World(arguments.series, random.Random(arguments.seed))
    simulation = Simulation(folder, world, arguments.days)
    history = simulation.history
    await history.start()
    await simulation.write_weeks()
    before = process.memory_info().rss
    begun = time.process_time()
    await simulation.write_days()
    spent = time.process_time() - begun
    gained = process.memory_info().rss - before
    writer = 1e6 * simulation.writer_seconds / simulation.operations
    found = [
        Figure("largest size on disk, journal and ballast included", simulation.largest / 2**20, "MiB", 256.0),
        Figure("of it sketches", simulation.sketches / 2**20, "MiB"),
        Figure("CPU time on the loop for an operation", 1e6 * simulation.loop_seconds / simulation.operations, "us", 2),
        Figure("CPU time on the loop for a turn", 1e6 * simulation.turns_seconds / simulation.turns, "us", 2),
        Figure("CPU time of the writer for an operation and its share of a turn", writer, "us", 20),
        Figure("CPU time of two days on all threads", spent, "s", detail=f"{simulation.operations} operations"),
        *await sizes(simulation),
    ]
    worst = [error async for error in errors(simulation, arguments.days)]
    found.append(
        Figure("worst relative error of a percentile of a window", 100 * max(worst), "%", 0.55, f"{len(worst)}")
    )
    series = f'{NAME}{{stage="stage_000"}}'
    line = await answered(lambda: history.history(series, simulation.end - 30 * DAY, simulation.end))
    found.append(Figure("a month's line of p99", line, "ms", 300))
    found.append(
        Figure(f"summary of {MAX_ROWS} operations", await answered(lambda: history.summary(Filter())), "ms", 3000)
    )
    found += await questions_of_turns(simulation)
    idle = await lateness(asyncio.sleep(2))
    late = await lateness(delete_much(simulation))
    found.append(Figure("latest timer while an hour is deleted", 1e3 * late, "ms", 25, f"idle {1e3 * idle:.1f}"))
    late = await lateness(keep(simulation))
    found.append(Figure("latest timer while a state of 8 MiB is kept", 1e3 * late, "ms", 25))
    simulation.largest = max(simulation.largest, disk_bytes(folder))
    found.append(Figure("size on disk after that", simulation.largest / 2**20, "MiB", 256.0))
    found.append(Figure("memory gained over two days", gained / 2**20, "MiB", 24))
    await history.close()
    begun = time.perf_counter()
    again = History(folder, detail=DAY, aggregate=30 * DAY, max_bytes=MAX_BYTES, clock=simulation.clock)
    await again.start()
    found.append(Figure("opened again", time.perf_counter() - begun, "s", 5, again.fault or f"{FILE} is sound"))
    found.append(Figure("states that were lost", int(await again.kept("predictor") != STATE), bar=0))
    await again.close()
    return found


async def keep(simulation: Simulation) -> None:
    simulation.history.keep("predictor", STATE)
    await simulation.write_minute(with_operations=True)


async def questions_of_turns(simulation: Simulation) -> list[Figure]:
    """The turns of a session are spread over an hour, and one that nobody had makes all turns be looked at."""
    history = simulation.history
    (newest,) = (await history.turns(1))["turns"]
    asked = {
        "one turn by its trace id": (lambda: history.turn(newest["trace_id"]), 10),
        "the newest hundred turns": (lambda: history.turns(100), 50),
        "a hundred turns of a session": (lambda: history.turns(100, session=newest["session"]), 300),
        "no turn of a session": (lambda: history.turns(100, session="nobody"), 1000),
        "all sessions": (lambda: history.sessions(), 5000),
    }
    return [Figure(name, await answered(ask), "ms", bar) for name, (ask, bar) in asked.items()]


async def answered(ask) -> float:
    """Milliseconds of an answer: the median of five."""
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - begun)
    return 1e3 * sorted(seconds)[2]


async def sizes(simulation: Simulation) -> list[Figure]:
    """What rows take, and how far back they go, since the cap takes the oldest."""
    found = []
    for table, bar in (("operations", 120), ("turns", 560)):
        query = f"SELECT count(*), min(ended) FROM {table}"
        count, oldest = await simulation.history.ask(lambda one, query=query: one.execute(query).fetchone())
        pages = f"SELECT sum(pgsize) FROM dbstat WHERE name GLOB '{table}*'"
        (size,) = await simulation.history.ask(lambda one, pages=pages: one.execute(pages).fetchone())
        found += [
            Figure(f"{table}: bytes of one, with its indexes", size / count, "B", bar, f"{count} of them"),
            Figure(f"{table}: hours kept at that rate", (simulation.end - oldest) / 3600, "h"),
        ]
    packed = "SELECT avg(length(data)) FROM turns"
    (size,) = await simulation.history.ask(lambda one: one.execute(packed).fetchone())
    return [*found, Figure("a packed turn of five stages", size, "B", 450)]


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(figures(arguments, Path(folder)))


if __name__ == "__main__":
    run(measure, __doc__, {"series": (100, "series"), "days": (30, "days"), "seed": (1, "of the random values")})
