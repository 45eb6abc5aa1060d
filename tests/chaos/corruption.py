"""What is on the disk of a stopped agent is damaged at random: it starts again, keeps what is intact, and says so.

    python -m tests.chaos.corruption 200 [--seed N] [--trusting]

One of the files is changed: the log's segments and cursors, the history, the states of alerts, the notifier's outbox.
Bits flip, a page is zeroed, the end is missing, another program's database or noise or nothing or a folder is in its
place. The agent has to be ready within five seconds, and again the next time, without putting anything aside a second
time; what it puts aside it names in its log. Then the destination that the log was kept for takes requests again, and
has to get what is there. Of the requests and rows that the damage did not touch, 99.9 % must be there as they were, and
none that was not. Which rows a page holds tells SQLite's dbstat; which bytes a record has, the log's own scan.

`--trusting` is the control: the agent believes what it finds (see `trusting`), and that must be seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import NamedTuple

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.oracle import FarSide, Ledger, Refusal, digest_of, drained, far_side, started
from payload import Batch
from running import RunningAgent

from otel_latency.wal.format import Codec, parse_name, scan

DATA = "otel-latency-data"
BATCHES = 160
SPANS = 64
PAGE = 4096
READY = 5.0
DRAIN = 10.0
ENOUGH = 0.999
GONE = Refusal(503, 1)
TRUSTING = (sys.executable, "-P", str(Path(__file__).with_name("trusting.py")))
CONFIG = """\
forward: [{{name: far, endpoint: "{url}"}}]
rules: {{files: [few.rules.yaml], interval: 250ms, sample_interval: 250ms}}
notify: [{{name: hook, type: webhook, url: "http://127.0.0.1:1/"}}]
"""
RULES = """\
groups:
  - name: few
    rules:
      - alert: Seen
        expr: sum(otel_latency_stages_total) > 0
"""

Row = tuple[bytes, bytes, float]
"""Of an operation: trace, span and duration."""
Touched = Callable[[int, int], bool]
"""Whether the bytes from here to there were damaged."""


@dataclass(frozen=True)
class Kept:
    """What should be there, in spans or in rows, and what is: of that, and what is not as anything was before."""

    intact: int
    there: int
    altered: int

    @property
    def is_well(self) -> bool:
        return self.there >= ENOUGH * self.intact and not self.altered


@dataclass(frozen=True)
class Found:
    """What came of one damage."""

    damage: str
    ready: tuple[float, float]
    """Seconds until the agent was; infinite where it never was, or ended by itself."""
    arrived: Kept
    rows: Kept
    untold: tuple[str, ...]
    again: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        is_kept = self.arrived.is_well and self.rows.is_well
        return is_kept and max(self.ready) <= READY and not self.untold and not self.again


class Request(NamedTuple):
    """One that is in the log, and which bytes of its segment it takes."""

    digest: bytes
    spans: int
    segment: str
    begin: int
    end: int


class Before:
    """A stopped agent with requests that wait for *far*, rows in its history, and an alert; it is copied, and stays."""

    def __init__(self, folder: Path, far: FarSide) -> None:
        self.folder = folder
        self.far = far
        self._requests: list[Request] = []
        self._pages: list[tuple[int, set[Row]]] = []

    async def make(self) -> None:
        files = {"otel-latency.yaml": CONFIG.format(url=self.far.url), "few.rules.yaml": RULES}
        async with started(directory=self.folder, files=files) as agent:
            await asyncio.to_thread(fill, agent)
        self._pages = list(pages(self.folder / DATA / "history.db"))
        self._requests = list(requests(self.folder / DATA / "log"))
        self.far.ledger.spans |= {one.digest: one.spans for one in self._requests}

    def files(self) -> list[Path]:
        """What can be damaged, by its place in the folder."""
        paths = sorted((self.folder / DATA).rglob("*"))
        return [one.relative_to(self.folder) for one in paths if one.is_file() and one.suffix != ".ballast"]

    def arrived(self, damaged: Path, touched: Touched) -> Kept:
        """What the far side has, and what of it no damage touched."""
        ledger, there = self.far.ledger, set(self.far.arrived)
        intact = {
            one.digest for one in self._requests if one.segment != damaged.name or not touched(one.begin, one.end)
        }
        altered = sum(count for digest, count in self.far.arrived.items() if digest not in ledger.spans)
        return Kept(ledger.count(intact), ledger.count(intact & there), altered)

    def rows(self, history: Path, damaged: Path, touched: Touched) -> Kept:
        """Operations in *history*. SQLite has no checksums: those of a page that was touched may have been altered."""
        is_damaged = damaged.name == history.name
        hit = [rows for page, rows in self._pages if is_damaged and touched((page - 1) * PAGE, page * PAGE)]
        known = set[Row]().union(*(rows for _, rows in self._pages))
        intact, there = known.difference(*hit), set(rows_of(history))
        altered = len(there - known) - sum(map(len, hit))
        return Kept(len(intact), len(intact & there), max(0, altered))


def pages(history: Path) -> Iterator[tuple[int, set[Row]]]:
    """The numbers of those that hold operations, and what they hold."""
    query = "SELECT pageno, ncell FROM dbstat WHERE name = 'operations' AND pagetype = 'leaf' ORDER BY path"
    rows = iter(rows_of(history))
    with closing(sqlite3.connect(history)) as database:
        for page, count in database.execute(query):
            yield page, set(islice(rows, count))


def requests(log: Path) -> Iterator[Request]:
    codec = Codec()
    for path in sorted(log.glob("*.wal")):
        name = parse_name(path.name)
        assert name is not None
        for found in scan(path.read_bytes(), name.salt):
            digest = digest_of(codec.expand(found.entry))
            yield Request(digest, found.entry.items, path.name, found.offset, found.end_offset)


def fill(agent: RunningAgent) -> None:
    """Requests, and rows of them in several transactions."""
    batch = Batch(spans=SPANS)
    for number in range(BATCHES):
        assert agent.post(batch.fresh(time.time_ns()))[0] == 200
        if number % 40 == 39:
            time.sleep(0.3)
    deadline = time.monotonic() + 10.0
    while json.loads(agent.get("/status")[1])["history"]["waiting"]:
        assert time.monotonic() < deadline, "the history is not written"
        time.sleep(0.1)


def damage(path: Path, rng: random.Random) -> tuple[str, Touched]:
    """Change a file in one way; which way, and what of it is gone."""
    way = rng.choice(("flips", "flips", "zeros", "cut", "noise", "foreign", "empty", "folder"))
    size = path.stat().st_size
    at = rng.randrange(max(size, 1))
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


def rows_of(history: Path) -> list[Row]:
    """Operations, up to where they cannot be read."""
    found = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(history)) as database:
        for row in database.execute("SELECT trace_id, span_id, duration FROM operations NOT INDEXED ORDER BY id"):
            found.append(row)
    return found


def asides(data: Path) -> set[str]:
    """Names of what was put aside."""
    return {path.name for path in data.rglob("*.corrupt-*") if not path.name.endswith(("-wal", "-shm"))}


async def live(folder: Path, prefix: Sequence[str], *, drains: bool) -> tuple[float, str]:
    """When an agent in *folder* was ready, as in `Found`, and its log; where it *drains*, the far side gets it all."""
    try:
        async with started(prefix=prefix, directory=folder) as agent:
            if drains:
                with suppress(AssertionError, OSError, HTTPException):  # what did not arrive will be missed
                    await drained(agent, "far", within=DRAIN)
            ready = agent.started_in if agent.process.poll() is None else math.inf
    except (AssertionError, OSError, HTTPException):
        ready = math.inf
    return ready, (folder / "agent.log").read_text()


async def corrupt(before: Before, rng: random.Random, prefix: Sequence[str]) -> Found:
    """Damage a copy of the agent *before*, and start it twice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "agent")
        data = folder / DATA
        shutil.copytree(before.folder, folder)
        path = folder / rng.choice(before.files())
        way, touched = damage(path, rng)
        before.far.behaves(GONE)
        before.far.arrived.clear()
        first, log = await live(folder, prefix, drains=False)
        aside = asides(data)
        before.far.behaves(None)
        second, _ = await live(folder, prefix, drains=True)
        return Found(
            f"{way} {path.relative_to(data)}",
            (first, second),
            before.arrived(path, touched),
            before.rows(data / "history.db", path, touched),
            tuple(sorted(one for one in aside if one not in log and "damaged.wal" not in one)),
            tuple(sorted(asides(data) - aside)),
        )


async def corrupt_often(damages: int, seed: int, prefix: Sequence[str]) -> list[Found]:
    rngs = [random.Random(f"{seed} {number}") for number in range(damages)]  # the same, whatever the files' sizes
    with tempfile.TemporaryDirectory() as name:
        async with far_side(Ledger()) as far:
            far.behaves(GONE)
            before = Before(Path(name), far)
            await before.make()
            return [await corrupt(before, rng, prefix) for rng in rngs]


def run(damages: int, seed: int = 1, *, is_trusting: bool = False) -> list[Found]:
    """What came of each damage."""
    return asyncio.run(corrupt_often(damages, seed, TRUSTING if is_trusting else ()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("damages", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trusting", action="store_true", help="the control")
    arguments = parser.parse_args()
    results = run(arguments.damages, arguments.seed, is_trusting=arguments.trusting)
    wrong = [one for one in results if not one.is_well]
    for one in wrong:
        print(one)
    kept = [
        f"{sum(one.there for one in which):,} of {sum(one.intact for one in which):,}"
        for which in ([one.arrived for one in results], [one.rows for one in results])
    ]
    print(
        f"{len(results)} damages, {len(wrong)} not survived; {kept[0]} spans of intact requests arrived, and there are "
        f"{kept[1]} intact rows; ready after at most {max(max(one.ready) for one in results):.2f} s"
    )
    return int(not wrong if arguments.trusting else bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
