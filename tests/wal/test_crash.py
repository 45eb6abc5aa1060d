"""A process that appends is killed with SIGKILL at random moments, and its log opened each time."""

import random
import time

from wal.oracle import Oracle

KILLS = 20


async def test_kills(tmp_path):
    """Everything that was acknowledged is there, nothing else is, and the log does not take it for damage."""
    oracle, rng, acknowledged = Oracle(), random.Random(7), 0
    for _ in range(KILLS):
        writer = oracle.start(tmp_path)
        time.sleep(rng.uniform(0.0, 0.12))  # a random moment, not a wait for something
        writer.kill()
        oracle.note(writer.communicate()[0].split(b"\n")[:-1])
        checked = await oracle.check(tmp_path)
        assert ([], [], "") == (checked.lost, checked.invented, checked.fault)
        acknowledged += checked.acknowledged
    assert acknowledged > KILLS


async def test_the_oracle_sees_a_loss(tmp_path):
    """The control: an acknowledged record that is taken away is missed."""
    oracle = Oracle()
    writer = oracle.start(tmp_path)
    said = [writer.stdout.readline() for _ in range(20)]
    writer.kill()
    oracle.note([*said, *writer.communicate()[0].split(b"\n")[:-1]])
    last = max(tmp_path.glob("*.wal"))
    last.write_bytes(last.read_bytes()[:500])
    checked = await oracle.check(tmp_path)
    assert checked.lost
