"""The bytes of a segment: what is written is read, and damage costs the records it hits and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wal.making import CODEC, SALT, bodies_in, body, entry, group, segment

from otel_latency.wal.format import (
    RECORD_BYTES,
    SEGMENT_BYTES,
    START,
    VERSION,
    Place,
    parse_header,
    parse_name,
    scan,
    segment_header,
    segment_name,
)

ENTRIES = [entry(number) for number in range(8)]


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1))),
    st.integers(0, 2**40),
)
def test_round_trip(given_records, number):
    """Bodies, kinds, flags, items and spans come back as they were given, each at its place."""
    entries = [
        entry(1, text=text, kind=kind, flags=flags, items=items)._replace(spans=items // 2)
        for text, kind, flags, items in given_records
    ]
    found = list(scan(group(entries, Place(number, 7, 5)), SALT))
    assert given_records == [
        (CODEC.expand(one.entry), one.entry.kind, one.entry.flags, one.entry.items) for one in found
    ]
    assert [number + place for place in range(len(entries))] == [one.before.number for one in found]
    assert [7 + sum(one.items for one in entries[:at]) for at in range(len(entries))] == [
        one.before.items for one in found
    ]
    assert [5 + sum(one.spans for one in entries[:at]) for at in range(len(entries))] == [
        one.before.spans for one in found
    ]
    assert [one.spans for one in entries] == [one.entry.spans for one in found]


def test_cut_anywhere():
    """Whatever is cut off at the end, the records before it are all there."""
    data = segment([ENTRIES])
    ends = [found.end_offset for found in scan(data, SALT)]
    for size in range(len(data)):
        assert [body(number) for number, end in enumerate(ends) if end <= size] == bodies_in(data[:size])


@given(st.integers(0, 10**9), st.integers(1, 255))
def test_one_byte(at, change):
    """A byte that changes costs one record, or none."""
    data = bytearray(segment([ENTRIES]))
    at %= len(data)
    data[at] ^= change
    hit = [
        number for number, found in enumerate(scan(segment([ENTRIES]), SALT)) if found.offset <= at < found.end_offset
    ]
    assert [body(number) for number in range(8) if number not in hit] == bodies_in(bytes(data))


@given(st.data())
def test_garbage(data):
    """Whatever is written over it, what is not hit is found, and nothing is found that was not written."""
    whole = segment([ENTRIES])
    start = data.draw(st.integers(0, len(whole)))
    garbage = data.draw(st.binary(max_size=200))
    damaged = whole[:start] + garbage + whole[start + len(garbage) :]
    intact = [
        body(number)
        for number, found in enumerate(scan(whole, SALT))
        if found.end_offset <= start or found.offset >= start + len(garbage)
    ]
    assert intact == [one for one in bodies_in(damaged) if one in intact]
    assert set(bodies_in(damaged)) <= {body(number) for number in range(8)}


@pytest.mark.parametrize(("salt", "expected"), {"guessed": (SALT, [b"forged"]), "unknown": (1, [])}.values())
def test_forged(salt, expected):
    """A record inside a body is not taken for one when damage hits what is around it, as its salt is not known."""
    forged = group([entry(1, text=b"forged")], Place(5, 5), salt)
    around = group([entry(1, text=forged)._replace(payload=forged)])
    damaged = b"\0" * RECORD_BYTES + around[RECORD_BYTES:]
    assert expected == bodies_in(damaged)


def test_groups():
    """The first record of each group is marked."""
    data = segment([ENTRIES[:3], ENTRIES[3:4], ENTRIES[4:]])
    assert [True, False, False, True, True, False, False, False] == [one.is_first for one in scan(data, SALT)]


def test_header():
    """A header tells version and place, and none where a bit of it is wrong."""
    header = segment_header(Place(41, 9, 8), SALT)
    assert (SEGMENT_BYTES, (VERSION, Place(41, 9, 8))) == (len(header), parse_header(header, SALT))
    for at in range(8 * len(header)):
        damaged = bytearray(header)
        damaged[at // 8] ^= 1 << at % 8
        assert None is parse_header(bytes(damaged), SALT)
    assert None is parse_header(header[:-1], SALT)
    assert None is parse_header(header, SALT + 1)


@given(st.integers(1, 2**62 - 1), st.integers(0, 2**32 - 1))
def test_name(number, salt):
    """A segment's name tells its first number and its salt, and names sort as numbers do."""
    assert (number, salt) == parse_name(segment_name(number, salt))
    assert segment_name(number, salt) < segment_name(number + 1, 0)


@pytest.mark.parametrize(
    "name",
    ["", "cursors.json", "1-5eed1234.wal", "0000000000000000000-5eed1234.wal", "9999999999999999999-5eed1234.wal"],
)
def test_other_names(name):
    """Other names are not ours."""
    assert None is parse_name(name)


def test_places_begin_at_nothing():
    """The log begins before record 1, with no items."""
    (found,) = scan(group([ENTRIES[0]]), SALT)
    assert (START, Place(1, 3)) == (found.before, found.after)
