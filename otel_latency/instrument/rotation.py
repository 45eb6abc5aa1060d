"""When the event log is archived, and what becomes of archives: by size, by date (UTC), and expiry after some days.

Several processes may rotate one file: whoever gets the lock on it and still finds it in its place moves it; the others
see a new file on their next line. An archive stands beside the log, named for the moment it was closed
(`otel-latency-timing.20251127T143005.123456Z.jsonl`), and holds whole lines.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

DAY: Final = 86_400.0
_STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
_FIRST: Final = re.compile(rb'\{"timestamp":(\d+(?:\.\d+)?),')
_STAMP_PATTERN: Final = r"\d{8}T\d{6}\.\d{6}Z"


@dataclass(frozen=True, slots=True)
class Rotation:
    """Limits of one log file; None is no limit."""

    max_bytes: int | None = 64 * 1024 * 1024
    daily: bool = True
    keep_days: float | None = 30.0

    def is_due(self, size_bytes: int, began: float, incoming_bytes: int, now: float) -> bool:
        """Must a file that *began* then be archived before *incoming_bytes* more are written? An empty one never."""
        if size_bytes == 0:
            return False
        if self.max_bytes is not None and size_bytes + incoming_bytes > self.max_bytes:
            return True
        return self.daily and began // DAY < now // DAY


def archive(path: Path, rotation: Rotation, incoming_bytes: int, now: float) -> Path | None:
    """Move the log aside if it is still due, and delete expired archives. None when another process was first."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # A lock belongs to an opening of the file: processes that share one after a fork each need their own.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _move(path, descriptor, rotation, incoming_bytes, now)
        finally:
            os.close(descriptor)
    return None


def _move(path: Path, descriptor: int, rotation: Rotation, incoming_bytes: int, now: float) -> Path | None:
    held, found = os.fstat(descriptor), path.stat()
    is_ours = (held.st_ino, held.st_dev) == (found.st_ino, found.st_dev)
    if not is_ours or not rotation.is_due(found.st_size, first_written(path, now), incoming_bytes, now):
        return None
    target = archive_path(path, now)
    while target.exists():
        now += 1e-6
        target = archive_path(path, now)
    path.rename(target)
    expire(path, rotation, now)
    return target


def first_written(path: Path, now: float) -> float:
    """The Unix time of the log's first line; *now* where there is none to be read."""
    with path.open("rb") as file:
        said = _FIRST.match(file.read(64))
    # Not the file's own times: they come from another clock, which may see midnight later than the lines do.
    return float(said[1]) if said else now


def archive_path(path: Path, now: float) -> Path:
    stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP)
    return path.with_name(f"{path.stem}.{stamp}{path.suffix}")


def archives(path: Path) -> list[Path]:
    """The archives of a log, oldest first."""
    pattern = re.compile(rf"{re.escape(path.stem)}\.{_STAMP_PATTERN}{re.escape(path.suffix)}")
    return sorted(each for each in path.parent.iterdir() if pattern.fullmatch(each.name))


def expire(path: Path, rotation: Rotation, now: float) -> list[Path]:
    """Delete the archives closed more than `keep_days` ago; the answer names them. Nothing else is ever deleted."""
    if rotation.keep_days is None:
        return []
    kept_from = archive_path(path, now - rotation.keep_days * DAY).name
    expired = [each for each in archives(path) if each.name < kept_from]
    for each in expired:
        with contextlib.suppress(OSError):
            each.unlink()
    return expired
