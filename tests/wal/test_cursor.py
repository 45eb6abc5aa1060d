"""A reader's arithmetic: done, queued and lost add up to what there was, whatever happens in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.wal import cursor
from otel_latency.wal.cursor import FILE, MAX_IN_FLIGHT, NOTE, Cursor
from otel_latency.wal.format import Place


def place(number):
    """Ten items a record, four of them spans."""
    return Place(number, 10 * number, 4 * number)


def read(one, until):
    """Read all up to there."""
    for number in range(one.read.number + 1, until + 1):
        one.take(place(number - 1), place(number), number)


def test_read_and_commit():
    """What is read is queued until it is committed."""
    one = Cursor()
    read(one, 5)
    assert (80, 1) == (one.queued(place(8)), one.oldest_ns)
    one.commit(3)
    assert (50, 4, place(3)) == (one.queued(place(8)), one.oldest_ns, one.done)
    one.commit(2)
    assert place(3) == one.done
    one.commit(99)
    assert (place(5), None) == (one.done, one.oldest_ns)


def test_overflow_behind_what_is_in_flight():
    """What goes to make room is lost at once, but for what a reader has in its hands."""
    one = Cursor()
    read(one, 3)
    one.lose(place(0), place(7))
    assert ({"overflow": 40}, place(7), 60) == (one.dropped, one.read, one.queued(place(10)))
    assert ({"overflow": 16}, 24) == (one.dropped_spans, one.queued_spans(place(10)))
    one.commit(3)
    assert (place(7), 30) == (one.done, one.queued(place(10)))


def test_overflow_ahead():
    """What goes from the middle is counted at once, and not again when the reader gets there."""
    one = Cursor()
    one.lose(place(4), place(6))
    assert ({"overflow": 20}, 80) == (one.dropped, one.queued(place(10)))
    read(one, 4)
    one.take(place(6), place(7), 7)
    one.commit(7)
    assert ({"overflow": 20}, 30) == (one.dropped, one.queued(place(10)))


def test_damage():
    """What is missing between two records is lost to the item, also around what was known to be lost."""
    one = Cursor()
    one.lose(place(2), place(3))
    one.take(place(5), place(6), 6)
    assert ({"overflow": 10, "corrupt": 40}, 50) == (one.dropped, one.queued(place(10)))
    one.reach(place(10))
    assert ({"overflow": 10, "corrupt": 80}, 10) == (one.dropped, one.queued(place(10)))
    one.commit(6)
    assert (place(10), 0) == (one.done, one.queued(place(10)))


def test_many_in_flight():
    """Who never commits takes no more memory for that, and what it commits late counts whole."""
    one = Cursor()
    read(one, 5 * MAX_IN_FLIGHT)
    assert (1, True) == (one.oldest_ns, len(one._in_flight) <= MAX_IN_FLIGHT)
    one.commit(100)
    assert 0 <= one.done.number <= 100
    one.commit(5 * MAX_IN_FLIGHT)
    assert 0 == one.queued(place(5 * MAX_IN_FLIGHT))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("read"), st.integers(1, 5)),
        st.tuples(st.just("skip"), st.integers(1, 3)),
        st.tuples(st.just("commit"), st.integers(0, 40)),
        st.tuples(st.just("drop_oldest"), st.integers(1, 40)),
        st.tuples(st.just("drop_middle"), st.integers(1, 40), st.integers(1, 5)),
    ),
    max_size=40,
)


@given(STEPS)
def test_conservation(steps):
    """Of all items each is committed, queued or dropped at any time, and in the end none is queued."""
    one, end, gone, committed, flying = Cursor(), 0, set(), 0, []
    for step, *amounts in steps:
        if step == "append":
            end += amounts[0]
        elif step in {"read", "skip"}:
            there = [number for number in range(one.read.number + 1, end + 1) if number not in gone]
            taken = there[amounts[0] :][:1] if step == "skip" else there[: amounts[0]]
            for number in taken:
                one.take(place(number - 1), place(number), 0)
                flying.append(number)
        elif step == "commit":
            one.commit(amounts[0])
            committed += sum(number <= amounts[0] for number in flying)
            flying = [number for number in flying if number > amounts[0]]
        else:
            start, stop = (0, amounts[0]) if step == "drop_oldest" else (amounts[0], amounts[0] + amounts[1])
            stop = min(stop, end)
            lost = set(range(start + 1, stop + 1)) - gone
            if lost and lost == set(range(start + 1, stop + 1)):
                gone |= lost
                one.lose(place(start), place(stop))
        assert 10 * end == 10 * committed + one.queued(place(end)) + one.dropped.total()
        assert 4 * end == 4 * committed + one.queued_spans(place(end)) + one.dropped_spans.total()
    one.reach(place(end))
    one.commit(end)
    committed += len(flying)
    assert (0, 10 * end) == (one.queued(place(end)), 10 * committed + one.dropped.total())


def test_file(tmp_path):
    """Places come back by name."""
    assert {} == cursor.load(tmp_path)
    for places in ({"a": place(1), "b": place(2)}, {"b": place(7)}):
        cursor.save(tmp_path, places)
        assert places == cursor.load(tmp_path)
    assert [FILE] == [path.name for path in tmp_path.iterdir()]


def test_note(tmp_path):
    """Of what was saved and what was noted that counts which is farther; a damaged note counts for nothing."""
    cursor.save(tmp_path, {"a": place(5), "b": place(5)})
    cursor.note(tmp_path, {"a": place(1000), "b": place(4), "c": place(3)})
    assert {"a": place(1000), "b": place(5), "c": place(3)} == cursor.load(tmp_path)
    cursor.note(tmp_path, {"a": place(6)})
    assert {"a": place(6), "b": place(5)} == cursor.load(tmp_path)
    whole = (tmp_path / NOTE).read_bytes()
    for damaged in (b"", whole[:4], whole[:20], whole.replace(b"6", b"7", 1), bytes(len(whole))):
        (tmp_path / NOTE).write_bytes(damaged)
        assert {"a": place(5), "b": place(5)} == cursor.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\0" * 30,
        '"a"',
        '{"a": [-1, 0]}',
        '{"a": ["1", 1]}',
        '{"a": [1, 2, 3]}',
        '{"a": [1, 2]}',
        '{"a": [1, 2, 1, 1]}',
        '{"a": 1}',
        '{"a": [1e30, 1]}',
        "\xff",
    ],
)
def test_damaged_file(tmp_path, text):
    """A file that is not ours tells nothing."""
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    assert {} == cursor.load(tmp_path)
