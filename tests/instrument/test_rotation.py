"""When a log is archived, and when archives are deleted."""

import fcntl
import os

import pytest

from otel_latency.instrument.rotation import DAY, Rotation, archive, archive_path, archives, expire

NOON = 1_800_014_400.0
MIDNIGHT = NOON - NOON % DAY
DUE = {
    "small": (100, NOON, 100, NOON, False),
    "just fits": (900, NOON, 100, NOON, False),
    "would exceed": (901, NOON, 100, NOON, True),
    "yesterday's": (100, MIDNIGHT - 1, 100, MIDNIGHT, True),
    "empty": (0, MIDNIGHT - 1, 5000, MIDNIGHT, False),
}


@pytest.mark.parametrize(("size", "began", "incoming", "now", "expected"), DUE.values(), ids=DUE)
def test_due(size, began, incoming, now, expected):
    """Before the line that exceeds the size, and before the first line of a new day."""
    assert expected == Rotation(max_bytes=1000).is_due(size, began, incoming, now)


def test_archive(tmp_path):
    """The log moves to a name that says when; the next log of the same moment gets another."""
    path = tmp_path / "timing.jsonl"
    names = []
    for _ in range(2):
        path.write_bytes(b"x" * 10)
        names.append(archive(path, Rotation(max_bytes=10), 1, NOON).name)
    assert ["timing.20270115T120000.000000Z.jsonl", "timing.20270115T120000.000001Z.jsonl"] == names
    assert (False, names) == (path.exists(), [each.name for each in archives(path)])


def test_one_of_many(tmp_path):
    """Who finds another at it, or the log no longer due, leaves it alone."""
    path = tmp_path / "timing.jsonl"
    path.write_bytes(b"x" * 10)
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert None is archive(path, Rotation(max_bytes=10), 1, NOON)
    os.close(descriptor)
    assert None is archive(path, Rotation(max_bytes=100), 1, NOON)
    assert None is archive(tmp_path / "absent", Rotation(), 1, NOON)
    assert path.exists()


def test_expiry(tmp_path):
    """Archives older than the limit go; nothing else does, however similar its name."""
    path = tmp_path / "timing.jsonl"
    old, young = archive_path(path, NOON - 31 * DAY), archive_path(path, NOON - 29 * DAY)
    others = [path, tmp_path / "timing.jsonl.bak", tmp_path / "timing.2020.jsonl", tmp_path / f"my{old.name}"]
    for each in (old, young, *others):
        each.touch()
    assert [old] == expire(path, Rotation(keep_days=30), NOON)
    assert sorted([young, *others]) == sorted(tmp_path.iterdir())
    assert [] == expire(path, Rotation(keep_days=None), NOON + 1000 * DAY)
