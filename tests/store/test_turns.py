import pytest
from store.past import NOW, count, turn, write_turns

from otel_latency.store.operations import MAX_SHOWN
from otel_latency.store.turns import find, newest


def ends(found):
    return [round(one.ended - NOW) for one in found]


def whole(found):
    return [one.turn for one in found]


WAYS = {
    "everything, the newest first": ({}, [0, -1, -2]),
    "of a time": ({"since": NOW - 2, "until": NOW}, [-1, -2]),
    "of a session": ({"session": "s1"}, [0, -2]),
    "of a service": ({"service": "shop"}, [-1]),
    "that failed": ({"status": "error"}, [-2]),
    "of a session and a status": ({"session": "s1", "status": "ok"}, [0]),
    "that took longer": ({"slower_than": 3.0}, [-1]),
    "of nobody": ({"service": "nobody"}, []),
    "only so many": ({"limit": 2}, [0, -1]),
}


@pytest.mark.parametrize(("which", "expected"), WAYS.values(), ids=WAYS)
def test_newest(connection, which, expected):
    """Turns are found by when they ended, how long they took, and whose they are."""
    write_turns(
        connection,
        turn(NOW - 2, number=1, session="s1", changes={"status": "error"}),
        turn(NOW - 1, seconds=4.0, number=2, changes={"service": "shop"}),
        turn(NOW, number=3, session="s1"),
    )
    assert expected == ends(newest(connection, **which))


def test_everything_of_it(connection):
    """A turn comes back as it was, with its ids, session and request."""
    one = turn(number=7, session="s1", request_id="Request 7")
    write_turns(connection, one)
    assert [one] == whole(newest(connection))


IDENTITIES = {
    "by its trace id": (f"{2:032x}", "", 0),
    "in capitals": (f"{0xABCDEF:032X}", "", -3),
    "by trace and span id": (f"{2:032x}", f"{0xAA:016x}", -1),
    "by a request id": ("checkout 7", "", -2),
    "by a request id that looks like a trace id": ("f" * 32, "", -3),
    "by a request id and span": ("checkout 7", f"{4 * 3:016x}", -2),
    "nothing of that trace": (f"{99:032x}", "", None),
    "no such span in it": (f"{2:032x}", f"{99:016x}", None),
    "no such request": ("checkout 8", "", None),
    "no request": ("", "", None),
}


@pytest.mark.parametrize(("identity", "span_id", "expected"), IDENTITIES.values(), ids=IDENTITIES)
def test_find(connection, identity, span_id, expected):
    """One turn is found by its trace id, the newest of several, or by its request id."""
    write_turns(
        connection,
        turn(NOW, number=2),
        turn(NOW - 1, number=2, changes={"span_id": (0xAA).to_bytes(8, "big")}),
        turn(NOW - 2, number=3, request_id="checkout 7"),
        turn(NOW - 3, number=0xABCDEF, request_id="f" * 32),
    )
    found = find(connection, identity, span_id)
    assert expected == (None if found is None else round(found.end_ns / 1e9 - NOW))


@pytest.mark.parametrize("request_id", ["", "r1", "ab", "AB", "abc", "c0ffee" * 6, "héllo"])
def test_request_ids(connection, request_id):
    """A request id comes back letter by letter, and is found by them."""
    one = turn(request_id=request_id) if request_id else turn()
    write_turns(connection, one)
    assert [request_id] == [each.request_id for each in whole(newest(connection))]
    assert (one if request_id else None) == find(connection, request_id)


def test_a_request_by_default(connection):
    """A trace id that is the request id as well is not kept twice, and comes back as both."""
    one = turn(number=7, request_id=f"{7:032x}")
    write_turns(connection, one)
    assert ([one], one) == (whole(newest(connection)), find(connection, f"{7:032x}"))
    assert [(None,)] == connection.execute("SELECT request_id FROM turns").fetchall()


def test_a_bad_span_id(connection):
    """is told."""
    with pytest.raises(ValueError):
        find(connection, "0" * 32, "no hex")


def test_a_revision_replaces(connection):
    """A turn that is written again stands in place of the first, in one batch as well."""
    first, later = turn(number=1, session="s1"), turn(number=1, seconds=5.0, session="s2", changes={"revision": 1})
    write_turns(connection, first)
    write_turns(connection, first, later)
    assert ([later], 1) == (whole(newest(connection)), count(connection, "turns"))


def test_turns_of_one_trace(connection):
    """Several turns of one trace are kept apart."""
    write_turns(connection, turn(number=1), turn(number=1, changes={"span_id": b"another!"}))
    assert 2 == count(connection, "turns")


def test_a_clock_ahead(connection):
    """An end in the future counts as now, or it would be the newest for a long time; the turn stays as it was."""
    one = turn(NOW + 3600)
    write_turns(connection, one)
    assert [(NOW, one)] == list(newest(connection, until=NOW + 1))


def test_damaged_rows(connection):
    """cost themselves, not the list."""
    write_turns(connection, *(turn(NOW - number, number=number) for number in range(3)))
    connection.execute("UPDATE turns SET data = x'00ff' WHERE id = 2")
    assert [0, -2] == ends(newest(connection))
    assert find(connection, f"{1:032x}") is None


def test_a_page_is_bounded(connection):
    """No answer is longer than a page can show."""
    write_turns(connection, *(turn(NOW, number=number) for number in range(MAX_SHOWN + 2)))
    assert MAX_SHOWN == len(list(newest(connection, limit=10**9)))
