"""One file: what `append` returned for is in it, and reading finds it from anywhere."""

import random
import tracemalloc

import pytest
from wal.making import SALT, bodies_in, body, entry

from otel_latency.wal.format import SEGMENT_BYTES, Place, scan
from otel_latency.wal.segment import PIECE_BYTES, Segment, size_of

FIRST = Place(10, 30)


@pytest.fixture
def segment(tmp_path):
    one = Segment.create(tmp_path, FIRST, SALT)
    yield one
    one.close()


def numbers(segment, after=0, offset=0):
    return [found.after.number for found in segment.read(after, offset)]


def test_append(segment):
    """Groups stand one behind the other, and sizes are known before and after."""
    groups = [[entry(0), entry(1)], [entry(2)]]
    segment.append(groups[0], FIRST)
    assert (size_of(groups[0]), Place(12, 36)) == (segment.size, segment.end)
    segment.append(groups[1], segment.end)
    assert [body(0), body(1), body(2)] == bodies_in(segment.path.read_bytes())
    assert (segment.path.stat().st_size, 4096) == (segment.size, segment.disk_bytes)
    assert 0o600 == segment.path.stat().st_mode & 0o777


def test_read(segment):
    """From a number on, with or without knowing where it stands."""
    segment.append([entry(number) for number in range(5)], FIRST)
    assert [11, 12, 13, 14, 15] == numbers(segment)
    third = next(segment.read(12, 0))
    assert [13, 14, 15] == numbers(segment, 12)
    assert [14, 15] == numbers(segment, 12, third.end_offset)
    assert [third] == list(segment.read(12, third.offset))[:1]
    segment.close()
    assert [15] == numbers(segment, 14, SEGMENT_BYTES)


@pytest.mark.parametrize("seed", range(20))
def test_pieces(segment, seed):
    """What is longer than a piece, begins in one and ends in another, or is damaged there, makes no difference."""
    rng = random.Random(seed)
    sizes = [rng.choice([10, 90_000, PIECE_BYTES - 64, PIECE_BYTES, 3 * PIECE_BYTES]) for _ in range(12)]
    segment.append([entry(number, text=rng.randbytes(size)) for number, size in enumerate(sizes)], FIRST)
    data = bytearray(segment.path.read_bytes())
    for at in (PIECE_BYTES, 2 * PIECE_BYTES + SEGMENT_BYTES, rng.randrange(len(data)))[: seed % 4]:
        data[at : at + 9] = bytes(9)
    segment.path.write_bytes(data)
    whole = list(scan(bytes(data), SALT))
    assert 12 - 2 * (seed % 4) <= len(whole) <= 12
    assert whole == list(segment.read(0, 0))
    assert whole[4:] == list(segment.read(whole[3].after.number, whole[2].offset))


def test_a_piece_at_a_time(segment):
    """Whoever takes one record has read one piece of the file."""
    segment.append([entry(number, text=random.Random(number).randbytes(1 << 20)) for number in range(8)], FIRST)
    tracemalloc.start()
    first = next(segment.read(0, 0))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (11, True) == (first.after.number, most < 4 << 20)


def test_what_was_not_synced_is_not_read(segment):
    """Bytes behind the last group that was synced do not exist for readers, and are cut off at the end."""
    segment.append([entry(0)], FIRST)
    with segment.path.open("ab") as file:
        file.write(b"half a record")
    assert [11] == numbers(segment)
    segment.seal()
    assert segment.size == segment.path.stat().st_size


def test_removed(segment):
    """A file that somebody deletes while it is written takes nothing more: it would not survive."""
    segment.append([entry(0)], FIRST)
    segment.path.unlink()
    with pytest.raises(FileNotFoundError, match="removed"):
        segment.append([entry(1)], segment.end)
    assert ([11], Place(11, 33)) == (numbers(segment), segment.end)


def test_no_room(segment):
    """A disk that takes a part of a group raises, and what was there before is whole."""
    resource = pytest.importorskip("resource")
    segment.append([entry(0)], FIRST)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.size + 30, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            segment.append([entry(1)], segment.end)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert segment.size < segment.path.stat().st_size
    segment.seal()
    assert [body(0)] == bodies_in(segment.path.read_bytes())


def test_names_are_not_taken_twice(segment):
    """A file that is there is never written over."""
    with pytest.raises(FileExistsError):
        Segment.create(segment.path.parent, FIRST, SALT)


def test_closing_twice(segment):
    """Is harmless."""
    segment.close()
    segment.close()
    segment.seal()
