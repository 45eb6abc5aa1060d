"""A process that writes is killed with SIGKILL at random moments, and the history opened again each time."""

import asyncio
import random
import signal
import sys

from store.past import NOW, count

from otel_latency.store import states
from otel_latency.store.database import Database

WRITER = """
import os, sys
from pathlib import Path
from store.past import NOW, minute, span, turn
from otel_latency.store.database import Batch, Database

database = Database(Path(sys.argv[1]), detail=1e9, aggregate=1e9, max_bytes=64 << 20)
database.open(NOW)
assert not database.fault, database.fault
print("ready", flush=True)
number = database.answer(lambda one: one.execute("SELECT count(*) FROM operations").fetchone()[0])
while True:
    spans = [span(end=NOW + number * 1e-3, number=number + place) for place in range(50)]
    database.write(Batch(spans, [minute(number, [1.0])], turns=[turn(NOW + number, number=number)]), NOW)
    number += 50
    database.keep("number", str(number).encode(), NOW)
    os.write(1, b"%d\\n" % number)
"""
KILLS = 12


async def kill(path, after):
    """Let a process write for *after* seconds; how many operations it said to have written."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    )
    await process.stdout.readline()
    await asyncio.sleep(after)
    process.send_signal(signal.SIGKILL)
    said = (await process.stdout.read()).split(b"\n")[:-1]
    await process.wait()
    return int(said[-1]) if said else 0


async def test_kills(tmp_path):
    """What was said to be written is there, whole batches of it, and the file is sound."""
    path, rng, said, kept = tmp_path / "history.db", random.Random(7), 0, 0
    for _ in range(KILLS):
        said = max(said, await kill(path, rng.uniform(0.0, 0.2)))
        before = kept
        database = Database(path, detail=1e9, aggregate=1e9, max_bytes=64 << 20)
        database.open(NOW)
        kept = database.answer(lambda connection: count(connection, "operations"))
        minutes = database.answer(lambda connection: count(connection, "minutes"))
        turns = database.answer(lambda connection: count(connection, "turns"))
        state = int(database.answer(lambda connection: states.read(connection, "number")) or 0)
        database.close()
        assert ("", 50 * minutes, minutes) == (database.fault, kept, turns)
        assert said <= state <= kept <= max(said, before) + 50
    assert said
