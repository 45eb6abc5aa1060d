"""A process that appends as fast as it can, and says what was acknowledged, until somebody kills it.

    python -m wal.writer FOLDER FIRST [--without-fsync]

Each line it prints is the position and the number of a body, which begins at FIRST and goes up. Eight requests are in
flight at a time. What it says has been acknowledged; what it does not say may be in the log all the same.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from otel_latency.clock import SystemClock
from otel_latency.wal.log import Log

ITEMS = 16
IN_FLIGHT = 8


def body(number: int) -> bytes:
    """Of 100 bytes to 20 kB."""
    return b"body %d of many " % number * (5 + number * 7919 % 1000)


async def main(folder: Path, first: int) -> None:
    log = Log(folder, clock=SystemClock(), max_bytes=256 << 20)
    await log.open({"reader": None})
    assert not log.fault, log.fault
    os.write(1, b"ready\n")
    numbers = count(first)

    async def send() -> None:
        for number in numbers:
            position = await log.append(1, body(number), items=ITEMS)
            os.write(1, b"%d %d\n" % (position, number))

    await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))


if __name__ == "__main__":
    if "--without-fsync" in sys.argv:
        os.fsync = os.fdatasync = lambda _: None
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
