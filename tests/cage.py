"""A memory limit that kills, as a container has it: a cgroup of version 1 or 2, where this process may make one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
V1 = ROOT / "memory"
MIB = 1 << 20


class NoCageError(Exception):
    """There can be no cage here; the text says why."""


@dataclass(frozen=True)
class Cage:
    """A cgroup; `prefix` before a command puts it inside."""

    directory: Path

    @property
    def prefix(self) -> list[str]:
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.directory / "cgroup.procs")]

    def kills(self) -> int:
        """How many processes had to die for memory."""
        events = self.directory / ("memory.oom_control" if self.directory.parent == V1 else "memory.events")
        return int(dict(line.split() for line in events.read_text().splitlines())["oom_kill"])


@contextmanager
def memory_cage(limit: int) -> Iterator[Cage]:
    """A cage of *limit* bytes, swap included. Raises NoCageError where none can be made."""
    if os.geteuid() != 0:
        raise NoCageError("a memory limit needs root")
    directory = (V1 if V1.is_dir() else ROOT) / f"otel-latency-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        if not V1.is_dir():
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        directory.mkdir()
        _limit(directory, limit)
    except OSError as error:
        with suppress(OSError):
            directory.rmdir()
        raise NoCageError(f"no memory cgroup can be made: {error}") from error
    try:
        yield Cage(directory)
    finally:
        _remove(directory)


def _limit(directory: Path, limit: int) -> None:
    if directory.parent == V1:
        (directory / "memory.limit_in_bytes").write_text(str(limit))
        with suppress(OSError):  # kernels without swap accounting lack the file
            (directory / "memory.memsw.limit_in_bytes").write_text(str(limit))
    else:
        (directory / "memory.max").write_text(str(limit))
        with suppress(OSError):
            (directory / "memory.swap.max").write_text("0")


def _remove(directory: Path) -> None:
    """The kernel needs a moment after the last process has ended."""
    for _ in range(100):
        with suppress(OSError):
            directory.rmdir()
            return
        time.sleep(0.05)
    raise AssertionError(f"{directory} still holds processes")
