"""On a disk that is really full the history keeps what is newest, and opens again."""

import shutil
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from store.past import NOW, count, finish, span, turn
from otel_latency.store import states
from otel_latency.store.database import Batch, Database

def opened():
    database = Database(Path(sys.argv[1]) / "history.db", detail=1e9, aggregate=1e9, max_bytes=64 << 20)
    database.open(NOW)
    assert not database.fault, database.fault
    return database

database = opened()
for number in range(0, 80_000, 500):
    spans = [span(end=NOW + number, number=number + place) for place in range(500)]
    database.write(Batch(spans, turns=[turn(NOW + number, number=number + place) for place in range(50)]), NOW + number)
    if number % 10_000 == 0:
        database.keep("predictor", str(number).encode() * 10_000, NOW + number)
        finish(database.maintain(NOW))
database.close()
database = opened()
kept = database.answer(lambda connection: count(connection, "operations"))
newest = database.answer(lambda connection: connection.execute("SELECT max(span_id) FROM operations").fetchone()[0])
turns = database.answer(lambda connection: count(connection, "turns"))
state = database.answer(lambda connection: states.read(connection, "predictor"))
print(kept, int.from_bytes(newest, "big"), turns, state[:5].decode())
database.close()
"""
MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def test_full_disk(tmp_path):
    """Eighty thousand operations pass through a disk of six MiB: no write fails, the oldest make room."""
    mount = f"mount -t tmpfs -o size=6m tmpfs {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*MOUNT, mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    run = subprocess.run(
        [*MOUNT, f'{mount} && exec "$0" -c "$1" {tmp_path}', sys.executable, SCRIPT],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert "" == run.stderr
    kept, newest, turns, state = map(int, run.stdout.split())
    assert (79_999, 70_000) == (newest, state)
    assert (5_000 < kept < 60_000, 500 < turns < 6_000) == (True, True)
