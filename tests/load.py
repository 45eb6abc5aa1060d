"""A client that keeps a receiver busy with fresh OTLP/HTTP requests and counts what was acknowledged.

In the folder `tests`, `python -m load PORT --seconds 10` prints a `Sent` as JSON.

Each connection sends its next request when the last one was answered, so the receiver sets the pace.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from payload import Batch
from running import pin


@dataclass
class Sent:
    """What came of it: `refused` are requests answered by anything but a plain 200."""

    requests: int = 0
    spans: int = 0
    refused: int = 0
    seconds: float = 0.0


async def load(
    port: int, *, until: Callable[[], bool], connections: int = 4, batch: Callable[[int], Batch] = Batch
) -> Sent:
    """Send until *until* says so or the receiver goes away."""
    sent = Sent()
    begun = time.monotonic()
    await asyncio.gather(*(_connection(port, batch(seed), until, sent) for seed in range(connections)))
    sent.seconds = time.monotonic() - begun
    return sent


async def _connection(port: int, batch: Batch, until: Callable[[], bool], sent: Sent) -> None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return
    try:
        while not until():
            body = batch.fresh(time.time_ns())
            writer.write(_HEAD % (port, len(body)) + body)
            await writer.drain()
            if await _is_accepted(reader):
                sent.requests += 1
                sent.spans += batch.count
            else:
                sent.refused += 1
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


async def _is_accepted(reader: asyncio.StreamReader) -> bool:
    """Whether the next answer is 200 without a partial success."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return head.startswith(b"http/1.1 200") and length == 0


_HEAD = (
    b"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
    b"Content-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"
)


def load_from_beside(port: int, seconds: float, connections: int = 4) -> Sent:
    """`load` from a process of its own, which keeps off the first core."""
    command = [sys.executable, "-m", "load", str(port), f"--seconds={seconds}", f"--connections={connections}"]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE) as process:
        pin(process.pid, 1)
        output, _ = process.communicate()
    return Sent(**json.loads(output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=4)
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    sent = load(arguments.port, until=lambda: time.monotonic() >= end, connections=arguments.connections)
    print(json.dumps(asdict(asyncio.run(sent))))


if __name__ == "__main__":
    main()
