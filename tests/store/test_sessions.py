"""Sessions of the history are those of memory, as far back as turns are kept."""

import pytest
from store.past import CALL, NOW, TURN, turn, write_turns

from otel_latency.aggregate.sessions import Sessions, session_json
from otel_latency.aggregate.stages import build
from otel_latency.store.sessions import sessions


def found(connection, *columns, **which):
    return [tuple(row[column] for column in columns) for row in sessions(connection, **which)["sessions"]]


def conversation(number, start, llm_seconds, *, session="s1", **measures):
    """A turn with a call of a model; *number* is in its ids, and its calls name no session."""
    trace, root, call = number.to_bytes(16, "big"), *((2 * number + n).to_bytes(8, "big") for n in range(2))
    start_ns, length_ns = round(start * 1e9), round(llm_seconds * 1e9)
    rows = [
        (CALL, trace, call, root, start_ns, start_ns + length_ns, measures | {"ttft": 0.25}),
        (TURN, trace, root, b"", start_ns, start_ns + length_ns + 10**9, {"session": session}),
    ]
    return build(rows[-1], rows)


def test_a_row_is_that_of_memory(connection):
    """Same keys, same figures: cost, tokens, the first call against the later ones, prompt size, trend."""
    turns = [
        conversation(
            number,
            NOW - 100 + 4 * number,
            2.0 if number == 0 else 0.5 + number / 16,
            input_tokens=100 + 50 * number,
            output_tokens=10,
            cost_usd=0.25,
        )
        for number in range(12)
    ]
    turns[3] = turns[3]._replace(status="timeout")
    live = Sessions()
    for one in turns:
        live.add(one, 0.0)
    write_turns(connection, *reversed(turns))
    (row,) = sessions(connection)["sessions"]
    (expected,) = map(session_json, live.active())
    assert expected == {name: pytest.approx(value) for name, value in row.items()}
    assert (12, 1, 12, 4500, 120, 3.0) == tuple(
        row[name] for name in ("turns", "failed_turns", "llm_calls", "input_tokens", "output_tokens", "cost_usd")
    )
    assert (0.25, 2.0, "slower") == (row["mean_first_token_seconds"], row["first_llm_seconds"], row["trend"])


def test_what_nobody_told(connection):
    """A cost that is not known is None, and so is the time to a milestone that no turn reached."""
    write_turns(connection, turn(session="s1"), build_alone(2))
    columns = "turns", "llm_calls", "cost_usd", "mean_first_audio_seconds", "kv_cache_speedup", "trend"
    assert [(1, 1, None, 0.7, None, "unknown")] == found(connection, *columns, session="s1")
    assert [(1, 0, None, None, None, "unknown")] == found(connection, *columns, session="s2")


def build_alone(number):
    """A turn without stages."""
    ends = round(NOW * 1e9)
    row = TURN, number.to_bytes(16, "big"), b"12345678", b"", ends - 10**9, ends, {"session": "s2"}
    return build(row, [row])


WAYS = {
    "the latest first": ({}, [("s2", "bot", 1), ("s1", "bot", 2), ("s1", "shop", 1)]),
    "only so many": ({"limit": 1}, [("s2", "bot", 1)]),
    "of a session": ({"session": "s1"}, [("s1", "bot", 2), ("s1", "shop", 1)]),
    "of a service": ({"service": "shop"}, [("s1", "shop", 1)]),
    "of nobody": ({"session": "nobody"}, []),
    "what ended since": ({"since": NOW - 3}, [("s2", "bot", 1), ("s1", "bot", 1)]),
    "what ended until then": ({"until": NOW - 2}, [("s1", "shop", 1), ("s1", "bot", 1)]),
}


@pytest.mark.parametrize(("which", "expected"), WAYS.values(), ids=WAYS)
def test_which(connection, which, expected):
    """A session of two services is two, a turn without one is of none; a time limits the turns that are looked at."""
    write_turns(
        connection,
        turn(NOW, number=1, session="s2"),
        turn(NOW - 2, number=2, session="s1"),
        turn(NOW - 5, number=3, session="s1"),
        turn(NOW - 4, number=4, session="s1", changes={"service": "shop"}),
        turn(NOW, number=5),
    )
    assert expected == found(connection, "session", "service", "turns", **which)


def test_a_turn_that_was_written_again(connection):
    """counts once, as it is now."""
    first = conversation(1, NOW - 9, 1.0, input_tokens=100, cost_usd=0.25)
    write_turns(connection, first)
    write_turns(connection, conversation(1, NOW - 9, 1.0, input_tokens=100, cost_usd=0.5)._replace(revision=1))
    assert [(1, 0.5)] == found(connection, "turns", "cost_usd")
