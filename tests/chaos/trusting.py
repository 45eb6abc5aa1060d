"""An agent that believes what is on its disk: the control of `corruption`.

    python tests/chaos/trusting.py python -m otel_latency agent

It stands before an agent's command, as strace does, and runs that in its own process, with two guards off. Checksums of
the log are computed and written as ever, but any will do. The history is not checked when it is opened, and an error
that tells of damage, met later, is taken for one that passes.
"""

from __future__ import annotations

import runpy
import sys
import zlib
from types import SimpleNamespace

from otel_latency.store import schema
from otel_latency.store.database import Database
from otel_latency.wal import cursor
from otel_latency.wal import format as segments


class Unchecked(int):
    """A checksum that equals every other."""

    __hash__ = int.__hash__

    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False


def crc32(data: bytes, value: int = 0) -> Unchecked:
    return Unchecked(zlib.crc32(data, value))


def trust() -> None:
    """From here on, in this process."""
    segments.crc32 = crc32
    cursor.zlib = SimpleNamespace(crc32=crc32)
    schema.check = lambda _connection: None
    Database._look_at = lambda _database, _error: None


if __name__ == "__main__":
    trust()
    _, module, *sys.argv[1:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
