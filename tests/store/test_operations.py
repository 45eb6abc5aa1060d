from dataclasses import replace

import pytest
from store.past import CALL, FAILED, NOTHING, NOW, TURN, count, span, turn, write_spans, write_turns

from otel_latency.records import Profile
from otel_latency.store import operations
from otel_latency.store.operations import MAX_SHOWN, Filter


def ends(answer):
    return [one["start"] + one["duration_seconds"] - NOW for one in answer["operations"]]


def test_what_a_span_tells_is_kept(connection):
    """A call comes back with all that was known of it."""
    measures = {"ttft": 0.25, "input_tokens": 512.0, "output_tokens": 90.0, "retries": 1.0, "cost_usd": 0.002}
    write_spans(connection, [span(seconds=1.5, number=7, session="s1", ttfa=0.5, **measures)])
    labels = {"service": "bot", "turn": "", "stage": "llm", "is_llm": True, "operation": "chat"}
    labels |= {"provider": "openai", "model": "gpt-4o", "task": "draft", "status": "ok", "error_type": ""}
    numbers = {"first_token": 0.25, "first_audio": 0.5, "input_tokens": 512, "output_tokens": 90, "retries": 1}
    numbers |= {"cost_usd": 0.002, "start": NOW - 1.5, "duration_seconds": 1.5}
    expected = {**labels, **numbers, "session": "s1", "trace_id": "0" * 31 + "7", "span_id": "0" * 15 + "7"}
    assert {"operations": [expected]} == operations.operations(connection, Filter())


DURATIONS = {
    "from start to end": (span(seconds=2.0), 2.0),
    "as it is told": (span(seconds=2.0, duration=0.5), 0.5),
    "never negative": (span(seconds=-2.0), 0.0),
    "0 without a start": ((CALL, b"", b"", b"", 0, 10**18, None), 0.0),
}


@pytest.mark.parametrize(("one", "expected"), DURATIONS.values(), ids=DURATIONS)
def test_duration(connection, one, expected):
    """How long it took is what its span says, if anything."""
    write_spans(connection, [one])
    (shown,) = operations.operations(connection, Filter())["operations"]
    assert expected == shown["duration_seconds"]


@pytest.mark.parametrize(
    ("end", "expected"), [(NOW - 5000, NOW - 5000), (NOW + 4, NOW + 4), (NOW + 6, NOW), (0, NOW), (2**64 / 1e9, NOW)]
)
def test_end(connection, end, expected):
    """Clocks differ a little; an end beyond that, or none, is taken for now."""
    write_spans(connection, [span(end=end)])
    assert [expected - NOW] == ends(operations.operations(connection, Filter()))


def test_no_work(connection):
    """Spans that stand for no work are not kept."""
    write_spans(connection, [span(NOTHING)])
    assert 0 == count(connection, "operations")


FILTERS = {
    "everything, the newest first": (Filter(), [0, -1, -2]),
    "turns": (Filter(kind="turn"), [-2]),
    "calls": (Filter(kind="llm"), [0, -1]),
    "of a provider": (Filter({"provider": "groq"}), [-1]),
    "of a provider and status": (Filter({"provider": "groq", "status": "ok"}), []),
    "of a time": (Filter(since=NOW - 2, until=NOW), [-1, -2]),
    "of a trace": (Filter(trace_id=f"{3:032x}"), [-2]),
    "of a session": (Filter({"session": "s"}), [-2]),
}


@pytest.mark.parametrize(("which", "expected"), FILTERS.values(), ids=FILTERS)
def test_filters(connection, which, expected):
    """Operations are found by what they are, and by their time."""
    spans = [span(CALL, NOW, number=1), span(FAILED, NOW - 1, number=2), span(TURN, NOW - 2, number=3, session="s")]
    write_spans(connection, spans)
    assert expected == ends(operations.operations(connection, which))


def test_limit(connection):
    """The newest of them, and never more than a page can show."""
    write_spans(connection, [span(end=NOW - number) for number in range(5)])
    assert [0, -1] == ends(operations.operations(connection, Filter(), limit=2))
    write_spans(connection, [span(end=NOW - 9)] * MAX_SHOWN)
    assert MAX_SHOWN == len(ends(operations.operations(connection, Filter(), limit=10**9)))


BAD = {
    "no such column": lambda: Filter({"id; --": "1"}),
    "no such kind": lambda: Filter(kind="session"),
    "no trace id": lambda: Filter(trace_id="xyz").where(),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_bad_filters(make):
    """What operations have not is refused."""
    with pytest.raises(ValueError):
        make()


def test_summary(connection):
    """Count, mean, percentiles, success and retries of each provider and task (LM9), most frequent first."""
    good = [span(seconds=number / 10, ttft=0.1, input_tokens=10.0, cost_usd=0.5) for number in range(1, 100)]
    bad = [span(seconds=30.0, retries=2.0), span(FAILED, seconds=9.0, retries=3.0)]
    write_spans(connection, [*good, bad[0], bad[1]])
    answer = operations.summary(connection, Filter(kind="llm"))
    first, second = answer["summary"]
    assert ("openai", "draft", 100) == (first["provider"], first["task"], first["count"])
    assert (5.0, 9.0, 9.9, 30.0) == (first["p50"], first["p90"], first["p99"], first["max"])
    assert (5.25, 1.0, 0.02) == pytest.approx((first["mean"], first["success_ratio"], first["mean_retries"]))
    assert (99, 0.1) == (first["first_token"]["count"], first["first_token"]["p50"])
    assert (990, 0, pytest.approx(49.5)) == (first["input_tokens"], first["output_tokens"], first["cost_usd"])
    assert ("groq", 1, 0.0, 3.0) == tuple(second[key] for key in ("provider", "count", "success_ratio", "mean_retries"))
    assert (None, None) == (second["cost_usd"], second["first_token"]["p50"])
    assert NOW == answer["from"]


def test_errors(connection):
    """What did not end well is counted by its error type, or where none was told by how it ended."""
    slow, broken = Profile("bot", stage="llm", status="timeout"), replace(FAILED, llm=replace(FAILED.llm, model="m"))
    write_spans(connection, [span(), span(slow), *[span(broken)] * 2, span(FAILED)])
    (shown,) = operations.summary(connection, Filter(), by=("service",))["summary"]
    assert (5, 0.2, {"timeout": 4}) == (shown["count"], shown["success_ratio"], shown["errors"])
    failed = replace(FAILED, llm=replace(FAILED.llm, error_type="rate_limit"))
    write_spans(connection, [span(failed)])
    (shown,) = operations.summary(connection, Filter({"provider": "groq"}), by=("provider",))["summary"]
    assert [("timeout", 3), ("rate_limit", 1)] == list(shown["errors"].items())


COSTS = {
    "none is known": ([None, None], 0, None),
    "all are known": ([0.25, 0.5], 2, 0.75),
    "some are known": ([0.25, None], 1, 0.25),
    "it costs nothing": ([0.0], 1, 0.0),
}


@pytest.mark.parametrize(("costs", "priced", "expected"), COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("by", [("provider", "model"), ("provider", "model", "task", "session")])
def test_costs(connection, costs, priced, expected, by):
    """A cost is the sum of those that are known, which are counted; unknown where none is, and never 0 then."""
    write_spans(connection, [span(**({} if cost is None else {"cost_usd": cost})) for cost in costs])
    (shown,) = operations.summary(connection, Filter(kind="llm"), by)["summary"]
    assert (priced, expected) == (shown["priced"], shown["cost_usd"])
    assert dict(zip(by, ("openai", "gpt-4o", "draft", ""), strict=False)) == {name: shown[name] for name in by}


def test_by_session(connection):
    """Operations of no session are a group of their own."""
    write_spans(connection, [span(session="s1"), span(), span(session="s2"), span()])
    summary = operations.summary(connection, Filter(), by=("session",))["summary"]
    assert [("", 2), ("s1", 1), ("s2", 1)] == [(one["session"], one["count"]) for one in summary]
    assert {("",), ("s1",), ("s2",)} == set(operations.durations(connection, Filter(), by=("session",)).groups)


def test_the_session_of_a_call_is_its_turns(connection):
    """Calls of models seldom name one: it is found by their trace, to choose and to sum up by."""
    write_turns(connection, turn(number=1, session="s1"), turn(number=2))
    write_spans(
        connection, [span(number=1, cost_usd=0.5), span(number=1, cost_usd=0.25), span(number=2), span(number=3)]
    )
    write_spans(connection, [span(number=1, session="s2", cost_usd=4.0)])
    summary = operations.summary(connection, Filter(), by=("session",))["summary"]
    assert {"s1": 0.75, "s2": 4.0, "": None} == {one["session"]: one["cost_usd"] for one in summary}
    chosen = operations.operations(connection, Filter({"session": "s1"}))["operations"]
    assert ["s1"] * 2 == [one["session"] for one in chosen]


def test_summary_by(connection):
    """It is summed up by whatever operations have, and nothing else."""
    write_spans(connection, [span(), span(FAILED), span(TURN)])
    (shown,) = operations.summary(connection, Filter(), by=("service",))["summary"]
    assert ("bot", 3) == (shown["service"], shown["count"])
    with pytest.raises(ValueError, match="not summed up by 'duration'"):
        operations.summary(connection, Filter(), by=("duration",))
    assert {"from": None, "summary": []} == operations.summary(connection, Filter(until=1.0))


def test_durations(connection):
    """Of each provider and model the newest durations that ended well, for comparisons."""
    write_spans(connection, [span(end=NOW - number, seconds=number + 1.0) for number in range(4)])
    write_spans(connection, [span(FAILED)])
    found = operations.durations(connection, Filter(since=NOW - 10), limit=3)
    assert {("openai", "gpt-4o"): [1.0, 2.0, 3.0], ("groq", "llama"): []} == {
        key: pytest.approx(list(values)) for key, values in found.groups.items()
    }
    assert NOW - 3 < found.complete_from <= NOW - 2
    assert operations.durations(connection, Filter(since=NOW - 10), limit=4).complete_from == NOW - 10
