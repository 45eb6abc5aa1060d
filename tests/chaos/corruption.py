"""What is on the disk of a stopped agent is damaged at random: it starts again, keeps what is intact, and says so.

    python -m tests.chaos.corruption 200 [--seed N]

One of the files is changed: the log's segments and cursors, the history, the states of alerts, the notifier's outbox.
Bits flip, a page is zeroed, the end is missing, another program's database or noise or nothing or a folder is in its
place. The agent has to be ready within five seconds, and again the next time, without putting anything aside a second
time; what it puts aside it names in its log. Of the records and rows that the damage did not touch, 99.9 % must be
there. Which rows a page holds tells SQLite's dbstat; which bytes a record has, the log's own scan.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from payload import Batch
from running import RunningAgent, running_agent

from otel_latency.clock import SystemClock
from otel_latency.wal.format import parse_name, scan
from otel_latency.wal.log import Log

DATA = "otel-latency-data"
BATCHES = 160
SPANS = 64
PAGE = 4096
READY = 5.0
ENOUGH = 0.999
CONFIG = """\
forward: [{endpoint: "http://127.0.0.1:1"}]
rules: {files: [few.rules.yaml], interval: 250ms, sample_interval: 250ms}
notify: [{name: hook, type: webhook, url: "http://127.0.0.1:1/"}]
"""
RULES = """\
groups:
  - name: few
    rules:
      - alert: Seen
        expr: sum(otel_latency_stages_total) > 0
"""
FILES = {"otel-latency.yaml": CONFIG, "few.rules.yaml": RULES}

Touched = Callable[[int, int], bool]
"""Whether the bytes from here to there were damaged."""


@dataclass(frozen=True)
class Found:
    """What came of one damage."""

    damage: str
    ready: tuple[float, float]
    records: tuple[int, int]
    """Items of the log that were intact, and those of them that are there."""
    rows: tuple[int, int]
    untold: tuple[str, ...]
    again: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        is_kept = all(there >= ENOUGH * intact for intact, there in (self.records, self.rows))
        return is_kept and max(self.ready) <= READY and not self.untold and not self.again


def template(folder: Path) -> None:
    """A stopped agent with records that wait for a destination, rows in its history, and an alert."""
    batch = Batch(spans=SPANS)
    with running_agent(directory=folder, files=FILES) as agent:
        for number in range(BATCHES):
            assert agent.post(batch.fresh(time.time_ns()))[0] == 200
            if number % 40 == 39:
                time.sleep(0.6)
        told(agent, lambda status: status["history"]["waiting"] == 0)


def told(agent: RunningAgent, is_so: Callable[[dict[str, dict[str, object]]], bool]) -> None:
    """Wait until /status says so."""
    deadline = time.monotonic() + 10.0
    while not is_so(json.loads(agent.get("/status")[1])):
        assert time.monotonic() < deadline, "it does not become so"
        time.sleep(0.1)


def damage(path: Path, rng: random.Random) -> tuple[str, Touched]:
    """Change a file in one way; which way, and what of it is gone."""
    size = path.stat().st_size
    at = rng.randrange(max(size, 1))
    way = rng.choice(("flips", "flips", "zeros", "cut", "noise", "foreign", "empty", "folder"))
    if way in ("flips", "zeros") and size:
        places = [(at // PAGE * PAGE, PAGE)] if way == "zeros" else [(rng.randrange(size), 1) for _ in range(3)]
        with path.open("r+b") as file:
            for place, length in places:
                file.seek(place)
                old = file.read(min(length, size - place))
                file.seek(place)
                file.write(bytes(len(old)) if way == "zeros" else bytes(byte ^ 0x55 for byte in old))
        return f"{way} in", lambda start, end: any(place < end and start < place + length for place, length in places)
    if way == "cut":
        with path.open("r+b") as file:
            file.truncate(at)
        return "cut of", lambda _start, end: end > at
    path.unlink()
    if way == "folder":
        path.mkdir()
    elif way == "foreign":
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE theirs (a)")
    else:
        path.write_bytes(rng.randbytes(20_000) if way == "noise" else b"")
    return f"{way} in place of", lambda _start, _end: True


def intact_items(folder: Path, damaged: Path, touched: Touched) -> int:
    """Items of the records that no damage touched; *folder* is as it was before."""
    items = 0
    for path in folder.glob("*.wal"):
        name = parse_name(path.name)
        assert name is not None
        for found in scan(path.read_bytes(), name.salt):
            is_gone = path.name == damaged.name and touched(found.offset, found.end_offset)
            items += 0 if is_gone else found.entry.items
    return items


def intact_rows(history: Path, damaged: Path, touched: Touched) -> int:
    """Operations on pages that no damage touched; *history* is as it was before."""
    query = "SELECT pageno, ncell FROM dbstat WHERE name = 'operations' AND pagetype = 'leaf'"
    with closing(sqlite3.connect(history)) as database:
        pages: Sequence[tuple[int, int]] = database.execute(query).fetchall()
    is_damaged = damaged.name == history.name
    return sum(rows for page, rows in pages if not (is_damaged and touched((page - 1) * PAGE, page * PAGE)))


async def items_there(folder: Path) -> int:
    """What a reader that begins now gets of the log."""
    log = Log(folder, clock=SystemClock())
    await log.open({"check": 0})
    items = sum([record.items async for record in log.readers["check"].backlog()])
    await log.close()
    return items


def rows_there(history: Path) -> int:
    if not history.is_file():
        return 0
    with closing(sqlite3.connect(history)) as database:
        return int(database.execute("SELECT count(DISTINCT span_id) FROM operations").fetchone()[0])


def asides(data: Path) -> set[str]:
    """Names of what was put aside."""
    return {path.name for path in data.rglob("*.corrupt-*") if not path.name.endswith(("-wal", "-shm"))}


def corrupt(before: Path, rng: random.Random) -> Found:
    """Damage a copy of the stopped agent *before*, and start it twice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "agent")
        shutil.copytree(before, folder)
        data, known = folder / DATA, before / DATA
        paths = [path for path in sorted(data.rglob("*")) if path.is_file() and not path.name.endswith(".ballast")]
        path = rng.choice(paths)
        way, touched = damage(path, rng)
        records = intact_items(known / "log", path, touched)
        rows = intact_rows(known / "history.db", path, touched)
        with running_agent(directory=folder) as agent:
            first = agent.started_in
        log, aside = agent.log(), asides(data)
        with running_agent(directory=folder) as agent:
            second = agent.started_in
        return Found(
            f"{way} {path.relative_to(data)}",
            (first, second),
            (records, asyncio.run(items_there(data / "log"))),
            (rows, rows_there(data / "history.db")),
            tuple(sorted(one for one in aside if one not in log and "damaged.wal" not in one)),
            tuple(sorted(asides(data) - aside)),
        )


def run(damages: int, seed: int = 1) -> list[Found]:
    """What came of each. AssertionError where an agent does not start."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        before = Path(name)
        template(before)
        return [corrupt(before, rng) for _ in range(damages)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("damages", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    results = run(arguments.damages, arguments.seed)
    wrong = [one for one in results if not one.is_well]
    for one in wrong:
        print(one)
    records, rows = ([getattr(one, which) for one in results] for which in ("records", "rows"))
    kept = [f"{sum(there for _, there in one):,} of {sum(was for was, _ in one):,}" for one in (records, rows)]
    print(
        f"{len(results)} damages, {len(wrong)} not survived; there are {kept[0]} intact items of the log, and "
        f"{kept[1]} intact rows; ready after at most {max(max(one.ready) for one in results):.2f} s"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
