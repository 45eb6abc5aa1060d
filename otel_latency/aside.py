"""Damaged database files are put aside under a name that tells when, and the last two are kept.

Renamed and never deleted at once: somebody may want to look, or to save what can still be read.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

_KEPT: Final = 2


def put_aside(path: Path, now: float) -> Path:
    """Rename an SQLite file and its journal to `*.corrupt-NOW` (Unix seconds); returns its new place.

    Raises OSError when that cannot be done.
    """
    aside = path.with_name(f"{path.name}.corrupt-{now:.0f}")
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    _forget_older(path)
    return aside


def _forget_older(path: Path) -> None:
    def age(name: str) -> int:
        stamp = name.removeprefix(f"{path.name}.corrupt-").split("-")[0]
        return int(stamp) if stamp.isdigit() else 0

    aside = list(path.parent.glob(f"{path.name}.corrupt-*"))
    kept = sorted({age(each.name) for each in aside})[-_KEPT:]
    for each in aside:
        if age(each.name) not in kept:
            each.unlink()
