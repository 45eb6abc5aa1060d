"""Segments in their folder: rolled, deleted when read, dropped when there is no room, replaced when the disk fails."""

import random
import shutil

import pytest
from wal.making import NOW, all_of, body, new_disk, put

from otel_latency.errors import Overloaded
from otel_latency.wal.disk import Mark
from otel_latency.wal.format import Place, parse_name


def opened(folder, readers=None, **options):
    disk = new_disk(folder, **options)
    return disk, disk.open({"a": 0} if readers is None else readers, NOW)


def segments(folder):
    return sorted(path.name for path in folder.iterdir() if parse_name(path.name))


def positions(disk, after=0):
    return [record.position for record in all_of(disk, after)]


def disk_bytes(folder):
    return sum(512 * path.stat().st_blocks for path in folder.iterdir())


def test_records(tmp_path):
    """What is appended is read, with all that was given, in this run and in the next."""
    disk, _ = opened(tmp_path / "log")
    assert [1, 2, 3] == [put(disk, number, items=number).end.number for number in range(3)]
    disk.close()
    for one in (disk, opened(tmp_path / "log")[0]):
        assert [(1, 1, 0, 0, body(0)), (2, 1, 0, 1, body(1)), (3, 1, 0, 2, body(2))] == [
            (record.position, record.kind, record.flags, record.items, record.body) for record in all_of(one)
        ]
        assert Place(3, 3) == one.end


def test_segments_are_rolled_and_released(tmp_path):
    """Segments that all have read are deleted; the newest stays, so that numbers go on."""
    disk, _ = opened(tmp_path, segment_bytes=500)
    for number in range(40):
        put(disk, number)
    assert len(segments(tmp_path)) > 5
    disk.release(20)
    assert (True, list(range(21, 41))) == (positions(disk)[0] <= 21, positions(disk, 20))
    disk.release(40)
    assert 1 == len(segments(tmp_path))
    disk.close()
    assert 41 == put(opened(tmp_path)[0], 40).end.number


def test_the_newest_stay(tmp_path):
    """What all have read stays as long as there is not as much as a segment behind it, also in small segments."""
    for start in range(0, 60, 6):  # each run begins a segment
        disk, _ = opened(tmp_path, segment_bytes=64 << 10)
        for number in range(start, start + 6):
            put(disk, number, text=random.Random(number).randbytes(2000))
        disk.release(start + 6)
        disk.close()
    assert (60, True) == (positions(disk)[-1], 64 << 10 <= disk.size_bytes < 80 << 10)


def test_portions(tmp_path):
    """A read ends after about as many bytes as were asked for, and goes on from there, over segments."""
    disk, _ = opened(tmp_path, segment_bytes=500)
    for number in range(30):
        put(disk, number)
    first = disk.read(Mark(0), 1)
    assert [1] == [record.position for _, record in first.records]
    assert [2] == [record.position for _, record in disk.read(first.mark, 1).records]
    assert list(range(1, 31)) == positions(disk)


def test_cap(tmp_path):
    """There is never more on disk than allowed: the oldest segment goes whole, and who dropped what is told."""
    disk, _ = opened(tmp_path, max_bytes=64 << 10, segment_bytes=8 << 10)
    dropped = []
    rng = random.Random(1)
    disk.save({"a": Place(0, 0)})
    for number in range(100):
        dropped += put(disk, number, text=rng.randbytes(1500)).dropped
        assert disk_bytes(tmp_path) <= 64 << 10
    kept = positions(disk)
    assert (list(range(kept[0], 101)), Place(0, 0)) == (kept, dropped[0][0])
    assert kept[0] - 1 == dropped[-1][1].number
    assert [stop for _, stop in dropped[:-1]] == [start for start, _ in dropped[1:]]


def test_cursors(tmp_path):
    """Readers begin where they say, or where they were; a new one with the oldest record."""
    disk, places = opened(tmp_path, {"own": 0, "ours": None})
    assert {"own": Place(0, 0), "ours": Place(0, 0)} == places
    for number in range(10):
        put(disk, number)
    disk.save({"ours": Place(7, 21)})
    disk.close()
    _, places = opened(tmp_path, {"own": 4, "ours": None, "new": None})
    assert {"own": Place(4, 12), "ours": Place(7, 21), "new": Place(0, 0)} == places


def test_a_cursor_beyond_the_log(tmp_path):
    """A position that a reader knows is never given again, even if the log has lost it."""
    disk, places = opened(tmp_path, {"own": 1000})
    assert {"own": Place(1000, 0)} == places
    assert 1001 == put(disk, 0).end.number


def test_damage_while_running(tmp_path):
    """A record that the disk does not give back is passed over, and one in a deleted file as well."""
    disk, _ = opened(tmp_path, segment_bytes=400)
    for number in range(30):
        put(disk, number)
    names = segments(tmp_path)
    data = bytearray((tmp_path / names[1]).read_bytes())
    data[60] ^= 1
    (tmp_path / names[1]).write_bytes(data)
    hit, gone = parse_name(names[1]).number, parse_name(names[3]).number
    until = parse_name(names[4]).number
    (tmp_path / names[3]).unlink()
    expected = [number for number in range(1, 31) if number != hit and not gone <= number < until]
    assert expected == positions(disk)
    assert "a segment of the log cannot be read (No such file or directory): its records are lost" == disk.fault


def test_damaged_segments_are_kept_for_a_look(tmp_path):
    """A damaged segment is put aside once it was read, two of them at most, and goes first when room is needed."""
    disk, _ = opened(tmp_path, segment_bytes=400)
    for number in range(30):
        put(disk, number)
    disk.close()
    for name in segments(tmp_path)[:3]:
        data = bytearray((tmp_path / name).read_bytes())
        data[60] ^= 1
        (tmp_path / name).write_bytes(data)
    disk, _ = opened(tmp_path, max_bytes=64 << 10)
    assert ("damaged" in disk.fault, 27) == (True, len(positions(disk)))
    disk.release(30)
    assert 1 == len(list(tmp_path.glob("damaged.wal.corrupt-*")))
    for number in range(50):
        put(disk, number, text=random.Random(number).randbytes(2000))
    assert [] == list(tmp_path.glob("damaged.wal.corrupt-*"))


def test_a_folder_that_is_no_folder(tmp_path):
    """Where no folder can be, records are kept in memory, loudly, and come to disk when there is one."""
    (tmp_path / "log").write_text("in the way")
    disk, _ = opened(tmp_path / "log")
    assert (False, [1]) == (put(disk, 0).is_durable, positions(disk))
    assert "the log cannot be written (File exists): records are kept in memory until it can" == disk.fault
    disk.retry(NOW)
    assert disk.fault
    (tmp_path / "log").unlink()
    disk.retry(NOW)
    assert ("", True, [1, 2]) == (disk.fault, put(disk, 1).is_durable, positions(disk))
    disk.close()
    assert [1, 2] == positions(opened(tmp_path / "log")[0])


def test_a_folder_that_comes_back_with_records(tmp_path):
    """A disk that is mounted late keeps its records for the next start: now they would come in the wrong order."""
    disk, _ = opened(tmp_path / "log")
    put(disk, 0)
    disk.close()
    (tmp_path / "log").rename(tmp_path / "away")
    (tmp_path / "log").write_text("in the way")
    disk, _ = opened(tmp_path / "log")
    put(disk, 1)
    (tmp_path / "log").unlink()
    (tmp_path / "away").rename(tmp_path / "log")
    disk.retry(NOW)
    assert ("delivered after a restart" in disk.fault, [1]) == (True, positions(disk))
    assert [body(0)] == [record.body for record in all_of(opened(tmp_path / "log")[0])]


def test_a_removed_folder(tmp_path):
    """When the folder is deleted under it, the log makes a new one, and what is acknowledged then is there."""
    disk, _ = opened(tmp_path / "log")
    put(disk, 0)
    shutil.rmtree(tmp_path / "log")
    assert put(disk, 1).is_durable
    disk.close()
    assert [(2, body(1))] == [(record.position, record.body) for record in all_of(opened(tmp_path / "log")[0])]


def test_refuse(tmp_path):
    """Where memory is not to stand in, a record is refused, and its position goes to the next."""
    (tmp_path / "log").write_text("in the way")
    disk, _ = opened(tmp_path / "log", keep_in_memory=False)
    for _ in range(2):
        with pytest.raises(Overloaded, match="requests are refused"):
            put(disk, 0)
    (tmp_path / "log").unlink()
    disk.retry(NOW)
    assert (1, "") == (put(disk, 1).end.number, disk.fault)


def test_memory_is_bounded():
    """Without a disk the oldest go from memory, and that is told."""
    disk, _ = opened(None)
    dropped, rng = [], random.Random(1)
    for number in range(20):
        dropped += put(disk, number, text=rng.randbytes(1 << 20)).dropped
    kept = positions(disk)
    assert (list(range(14, 21)), 13) == (kept, dropped[-1][1].number)
    assert (True, "") == (disk.size_bytes <= 8 << 20, disk.fault)
    disk.release(20)
    assert ([], 0) == (positions(disk), disk.size_bytes)


def test_age(tmp_path):
    """When the first record behind a number came is known, on disk and in memory."""
    for folder in (tmp_path, None):
        disk, _ = opened(folder)
        for number in range(3):
            put(disk, number)
        assert [int(NOW * 1e9) + 1, None] == [disk.oldest_ns(1), disk.oldest_ns(3)]
