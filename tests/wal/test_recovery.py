"""What is found at the start: every intact record, whatever happened to the files."""

import random
from struct import pack_into
from zlib import crc32

import pytest
from wal.making import NOW, SALT, body, entry, segment

from otel_latency.wal.format import RECORD_BYTES, SEGMENT_BYTES, Codec, Place, scan, segment_name
from otel_latency.wal.recovery import recover

MAX_BYTES = 1 << 20
GROUPS = [[entry(0), entry(1)], [entry(2)], [entry(3), entry(4)]]
WHOLE = segment(GROUPS)
CODEC = Codec()


def write(folder, data, number=1, salt=SALT):
    path = folder / segment_name(number, salt)
    path.write_bytes(data)
    return path


def bodies(recovered):
    return [CODEC.expand(found.entry) for one in recovered.segments for found in one.read(0, 0)]


def found_in(folder):
    recovered = recover(folder, MAX_BYTES, NOW)
    return bodies(recovered), recovered


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing(tmp_path):
    """An empty folder is an empty log."""
    found, recovered = found_in(tmp_path)
    assert ([], Place(0, 0), []) == (found, recovered.end, recovered.faults)


def test_segments(tmp_path):
    """Segments follow each other, and the log goes on behind the last."""
    write(tmp_path, WHOLE)
    write(tmp_path, segment([[entry(5)]], Place(5, 15)), 6)
    found, recovered = found_in(tmp_path)
    assert ([body(number) for number in range(6)], Place(6, 18), []) == (found, recovered.end, recovered.faults)


def test_cut_anywhere(tmp_path):
    """A last segment that ends anywhere is a log that ended there: nobody complains, and no number comes again."""
    ends = [found.end_offset for found in scan(WHOLE, SALT)]
    for size in range(SEGMENT_BYTES, len(WHOLE)):
        path = write(tmp_path, WHOLE[:size])
        whole = sum(end <= size for end in ends)
        found, recovered = found_in(tmp_path)
        assert ([body(number) for number in range(whole)], []) == (found, recovered.faults)
        assert (3 * whole, True) == (recovered.end.items, whole <= recovered.end.number)
        if whole:
            assert (ends[whole - 1], size - ends[whole - 1]) == (path.stat().st_size, recovered.torn_bytes)
        else:
            assert [] == names(tmp_path)


def test_numbers_of_what_is_cut_off_are_not_given_again(tmp_path):
    """Damage at the end may have hit records whose positions somebody knows."""
    ends = [found.end_offset for found in scan(WHOLE, SALT)]
    damaged = bytearray(WHOLE)
    for end in ends[2:]:
        damaged[end - 1] ^= 1
    write(tmp_path, bytes(damaged))
    assert found_in(tmp_path)[1].end.number >= 5


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("at", [3, 9, 30, RECORD_BYTES + 2])
def test_a_damaged_record(tmp_path, number, at):
    """Damage in a record, in whatever part of it, costs that record, and is told."""
    damaged = bytearray(WHOLE)
    damaged[list(scan(WHOLE, SALT))[number].offset + at] ^= 0x40
    write(tmp_path, bytes(damaged))
    found, recovered = found_in(tmp_path)
    assert [body(other) for other in range(5) if other != number] == found
    assert ([f"the log's segment {segment_name(1, SALT)} is damaged: 4 records of it are intact"], True) == (
        recovered.faults,
        recovered.segments[0].is_damaged,
    )


def test_a_damaged_header(tmp_path):
    """Costs nothing but a complaint, for the name tells what the header did."""
    for at in range(SEGMENT_BYTES):
        damaged = bytearray(WHOLE)
        damaged[at] ^= 0x10
        write(tmp_path, bytes(damaged))
        found, recovered = found_in(tmp_path)
        assert ([body(number) for number in range(5)], 1) == (found, len(recovered.faults))


def test_written_again(tmp_path):
    """What a disk refused and was then written to the next segment counts once."""
    write(tmp_path, WHOLE)
    write(tmp_path, segment([[entry(13), entry(14)], [entry(15)]], Place(3, 9), SALT + 1), 4, SALT + 1)
    recovered = recover(tmp_path, MAX_BYTES, NOW)
    found = [(one.after.number, CODEC.expand(one.entry)) for each in recovered.segments for one in each.read(0, 0)]
    assert list(enumerate([body(number) for number in (0, 1, 2, 13, 14, 15)], 1)) == found
    assert ([], 0) == (recovered.faults, recovered.torn_bytes)


def test_a_damaged_end_that_is_not_the_last(tmp_path):
    """The end of a segment that others follow was acknowledged: it is missed."""
    write(tmp_path, WHOLE[:-4])
    write(tmp_path, segment([[entry(5)]], Place(5, 15)), 6)
    found, recovered = found_in(tmp_path)
    assert ([body(0), body(1), body(2), body(3), body(5)], 1) == (found, len(recovered.faults))


def test_unknown_version(tmp_path):
    """A segment of a later version is put aside, loudly, and its numbers stay taken."""
    data = bytearray(WHOLE)
    data[8] = 2
    pack_into("<I", data, SEGMENT_BYTES - 4, crc32(data[: SEGMENT_BYTES - 4], SALT))
    name = write(tmp_path, bytes(data), 77).name
    found, recovered = found_in(tmp_path)
    assert ([], [f"{name}.unknown-version"], 76) == (found, names(tmp_path), recovered.end.number)
    assert ["version 2" in fault for fault in recovered.faults] == [True]


STRANGE = {
    "empty": b"",
    "short": b"otlp",
    "text": b"It was a dark and stormy night; the rain fell in torrents.\n" * 50,
    "zeros": b"\0" * 10_000,
    "another program's": b"SQLite format 3\0" + bytes(range(256)) * 40,
    "marks": b"\xf5rec" * 10_000,
    "too large": b"\0" * (MAX_BYTES + 1),
    "another segment's": segment(GROUPS, salt=1),
}


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("number", [1, 6])
def test_strange_files(tmp_path, data, number):
    """A file that only has our name costs nothing, and is not in the way again."""
    write(tmp_path, WHOLE, 1, SALT) if number == 6 else write(tmp_path, segment([[entry(5)]], Place(5, 15)), 6)
    write(tmp_path, data, number, 0)
    expected = [body(at) for at in range(5)] if number == 6 else [body(5)]
    for _ in range(2):
        found, recovered = found_in(tmp_path)
        assert expected == found
        assert recovered.end.number >= 5
    assert [] == recovered.faults


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE)
def test_strange_files_in_between(tmp_path, data):
    """A file whose name lies among the records of another does not hide them."""
    write(tmp_path, WHOLE)
    write(tmp_path, data, 3, 0)
    assert [body(number) for number in range(5)] == found_in(tmp_path)[0]


def test_strange_names(tmp_path):
    """Folders and files that are not ours are let be."""
    (tmp_path / segment_name(3, 5)).mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, WHOLE)
    before = names(tmp_path)
    assert ([body(number) for number in range(5)], before) == (found_in(tmp_path)[0], names(tmp_path))


@pytest.mark.parametrize("seed", range(30))
def test_random_damage(tmp_path, seed):
    """Pages overwritten, files cut, bits flipped: every record that was not hit is there, in order, once."""
    rng = random.Random(seed)
    groups = [[entry(10 * at + each) for each in range(rng.randrange(1, 6))] for at in range(30)]
    place, expected = Place(0, 0), []
    for at in range(0, 30, 10):
        data = bytearray(segment(groups[at : at + 10], place))
        records = [(found, CODEC.expand(found.entry)) for found in scan(bytes(data), SALT)]
        hits = [(rng.randrange(len(data)), rng.choice((1, 1, 40, 300))) for _ in range(rng.randrange(4))]
        for start, size in hits:
            size = min(size, len(data) - start)
            data[start : start + size] = bytes(byte ^ 0xA5 for byte in data[start : start + size])
        for found, text in records:
            if not any(start < found.end_offset and found.offset < start + size for start, size in hits):
                expected.append((found.after.number, text))
        write(tmp_path, bytes(data), place.number + 1)
        place = records[-1][0].after
    recovered = recover(tmp_path, MAX_BYTES, NOW)
    found = [(one.after.number, CODEC.expand(one.entry)) for each in recovered.segments for one in each.read(0, 0)]
    assert expected == found
    assert recovered.end.number >= place.number
