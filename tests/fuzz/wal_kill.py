"""Kills a process that appends to the log at random moments, and damages logs at random places.

    python -m tests.fuzz.wal_kill 200 [--corruptions 200] [--seed N]

After each kill the log has to hold everything that was acknowledged in this run or an earlier one and not yet taken
out, with the right bodies, no position given twice, nothing invented, and be open within a second.

Damage is done to a log of 8 MiB, once for each corruption and then all of it to one log of 64 MiB: bits, pages, cut
ends, empty and foreign files, deleted ones. Every record of which no byte was hit has to be there, once and in order,
and what is lost has to be counted to the item.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path

if __package__ == "tests.fuzz":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from wal.oracle import Oracle
from wal.writer import ITEMS, body

from otel_latency.clock import SystemClock
from otel_latency.wal.disk import Record
from otel_latency.wal.format import parse_name, scan
from otel_latency.wal.log import Log

CAP = 96 << 20
PAGE = 4096
KINDS = ("bit", "byte", "page", "pages", "cut", "zeros", "empty", "foreign", "deleted", "longer")


async def kill(times: int, rng: random.Random) -> bool:
    """Whether all went well."""
    oracle, slowest, lost, said = Oracle(), 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(times):
            writer = oracle.start(Path(folder))
            time.sleep(rng.uniform(0.0, 0.5))
            writer.kill()
            oracle.note(writer.communicate()[0].split(b"\n")[:-1])
            checked = await oracle.check(Path(folder))
            slowest, lost = max(slowest, checked.seconds), lost + len(checked.lost) + len(checked.invented)
            said += checked.items
            if checked.fault:
                print(f"taken for damage: {checked.fault}")
                lost += 1
    print(
        f"{times} kills: {said} items acknowledged, {lost} records lost or invented, opened in {slowest:.3f} s at most"
    )
    return not lost and slowest < 1.0


@dataclass
class Written:
    """A log as it was before the damage: for each segment where its records stand."""

    folder: Path
    segments: dict[str, list[tuple[int, int, int, int]]]
    """Name -> of each record its position, the number of its body, where it begins and ends."""

    @property
    def records(self) -> int:
        return sum(map(len, self.segments.values()))


async def write(folder: Path, size: int) -> Written:
    """A log of about *size* bytes, full of bodies that do not compress."""
    log = Log(folder, clock=SystemClock(), max_bytes=CAP)
    await log.open({"reader": None})
    rng, numbers = random.Random(1), count()
    while log.size_bytes < size:
        await asyncio.gather(*(log.append(1, noise(next(numbers), rng), items=ITEMS) for _ in range(50)))
    await log.close()
    return Written(folder, {path.name: list(places(path)) for path in sorted(folder.glob("*.wal"))})


def noise(number: int, rng: random.Random) -> bytes:
    """As `body`, with something random behind it."""
    return body(number)[:100] + rng.randbytes(rng.choice((0, 100, 1000, 10_000)))


def places(path: Path):
    name = parse_name(path.name)
    assert name
    for found in scan(path.read_bytes(), name.salt):
        yield found.after.number, found.after.number - 1, found.offset, found.end_offset


def damage(written: Written, folder: Path, rng: random.Random) -> tuple[str, set[int]]:
    """One corruption of the copy in *folder*: its kind, and the positions that it hit."""
    name = rng.choice(sorted(written.segments))
    path, kind = folder / name, rng.choice(KINDS)
    if not path.exists():
        return "none", set()
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data)) if data else 0
    hits = (0, 1 << 40)
    match kind:
        case "bit" | "byte" if data:
            data[at] ^= 1 << rng.randrange(8) if kind == "bit" else rng.randrange(1, 256)
            hits = (at, at + 1)
        case "page" | "pages" if data:
            at -= at % PAGE
            size = min(len(data) - at, PAGE * (1 if kind == "page" else rng.randrange(2, 20)))
            data[at : at + size] = rng.choice((bytes(size), rng.randbytes(size)))
            hits = (at, at + size)
        case "cut":
            data, hits = data[:at], (at, 1 << 40)
        case "zeros":
            data = bytearray(len(data))
        case "empty":
            data = bytearray()
        case "foreign":
            data = bytearray(b"SQLite format 3\0" + rng.randbytes(100_000))
        case "longer":
            data, hits = data + rng.randbytes(rng.randrange(10_000)), (1 << 40, 1 << 40)
    path.write_bytes(data)
    if kind == "deleted":
        path.unlink()
    return kind, {position for position, _, begin, end in written.segments[name] if begin < hits[1] and end > hits[0]}


async def read_all(folder: Path) -> tuple[list[Record], float, int]:
    """What is found, how long the opening took, and how many items are said to be lost."""
    began = time.perf_counter()
    log = Log(folder, clock=SystemClock(), max_bytes=CAP)
    await log.open({"reader": None})
    seconds = time.perf_counter() - began
    reader = log.readers["reader"]
    found = [record async for record in reader.backlog()]
    assert 1 <= await log.append(1, b"alive", items=1)
    await log.close()
    return found, seconds, reader.dropped.get("corrupt", 0)


async def corrupt(times: int, size: int, rng: random.Random, at_once: int) -> bool:
    """Whether every record that was not hit was found, in order; *at_once* corruptions of each log."""
    kinds: Counter[str] = Counter()
    worst, intact, missing, slowest, counted, lost = 0.0, 0, 0, 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        written = await write(Path(folder) / "log", size)
        for _ in range(times // at_once):
            copy = Path(folder) / "copy"
            shutil.copytree(written.folder, copy)
            hit: set[int] = set()
            for _ in range(at_once):
                kind, hits = damage(written, copy, rng)
                kinds[kind] += 1
                hit |= hits
            found, seconds, said = await read_all(copy)
            shutil.rmtree(copy)
            positions = [record.position for record in found]
            assert positions == sorted(set(positions)), "records came twice, or in the wrong order"
            assert all(one.body.startswith(body(one.position - 1)[:10]) for one in found), "a body was invented"
            expected = {one[0] for records in written.segments.values() for one in records} - hit
            intact += len(expected)
            missing += len(expected - set(positions))
            worst, slowest = max(worst, len(expected - set(positions))), max(slowest, seconds)
            counted, lost = counted + said, lost + ITEMS * (written.records - len(positions))
    print(
        f"{times} corruptions, {at_once} at once of {written.records} records ({dict(kinds)}): {missing} of {intact}"
        f" intact records missing (at most {worst:.0f} at once), {counted} of {lost} lost items counted at once,"
        f" opened in {slowest:.3f} s at most"
    )
    return missing <= 0.001 * intact and slowest < 1.0 and counted <= lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, help="how many")
    parser.add_argument("--corruptions", type=int, default=200, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of moments and places")
    arguments = parser.parse_args()
    logging.disable()
    print(f"seed {arguments.seed}", flush=True)
    rng = random.Random(arguments.seed)
    fine = [asyncio.run(kill(arguments.kills, rng))] if arguments.kills else []
    if arguments.corruptions:
        fine.append(asyncio.run(corrupt(arguments.corruptions, 8 << 20, rng, 1)))
        fine.append(asyncio.run(corrupt(arguments.corruptions, 64 << 20, rng, arguments.corruptions)))
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
