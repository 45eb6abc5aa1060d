from store.past import CALL, NOW, count, span, turn, write_turns

from otel_latency.store import operations
from otel_latency.store.names import NOTED_EVERY, Names, forget_unused


def noted(connection, table="sessions"):
    return dict(connection.execute(f"SELECT {'session' if table == 'sessions' else 'stage'}, seen FROM {table}"))


def test_written_once(connection):
    """However many rows share a profile and a session, each of these is one row, for later runs too."""
    for _ in range(2):
        names = Names()
        for number in range(10):
            operations.insert(connection, names, [span(session="s", number=number)], NOW)
    write_turns(connection, turn(session="s"))
    assert (20, 2, 1) == tuple(count(connection, table) for table in ("operations", "profiles", "sessions"))


def test_no_session(connection):
    """None, an empty one, and what is no text are no session."""
    names = Names()
    assert [None] * 3 == [names.session(connection, one, NOW) for one in (None, "", 7.0)]
    assert 0 == count(connection, "sessions")


def test_noted_now_and_then(connection):
    """The time when one was last met is written every hour, and never goes back."""
    names = Names()
    seen = []
    for seconds in (0, NOTED_EVERY - 1, NOTED_EVERY, 0):
        names.session(connection, "s", NOW + seconds)
        names.session(connection, "s", NOW + seconds)
        seen.append(noted(connection)["s"] - int(NOW))
    assert [0, 0, NOTED_EVERY, NOTED_EVERY] == seen


def test_unused_ones_go(connection):
    """What was last met before the oldest operation or turn is forgotten, and all of it when there is neither."""
    names = Names()
    for hours in range(10):
        now = NOW + 3600 * hours
        operations.insert(connection, names, [span(CALL, now, session=f"s{hours}")], now)
    connection.execute("DELETE FROM operations WHERE ended < ?", (NOW + 5 * 3600,))
    assert 3 == forget_unused(connection)
    assert {f"s{hours}" for hours in range(3, 10)} == set(noted(connection))
    assert {"llm"} == set(noted(connection, "profiles"))
    connection.execute("DELETE FROM operations")
    assert 8 == forget_unused(connection)


def test_turns_mean_them_as_well(connection):
    """A session without operations stays while a turn means it."""
    write_turns(connection, turn(session="s"))
    assert 0 == forget_unused(connection)


def test_late_spans_keep_theirs(connection):
    """An old operation that came late has a session that was met when it came."""
    names = Names()
    operations.insert(connection, names, [span(end=NOW - 80_000, session="s")], NOW)
    operations.insert(connection, names, [span(end=NOW, session="s")], NOW)
    assert 0 == forget_unused(connection)
