"""The table of running operations, from the reports about them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_latency.aggregate.operations import MAX_ENDED, Operations
from otel_latency.records import Operation

NOW = 1_700_000_000.0
TRACE = bytes(15) + b"\x01"


def report(event: str, number: int = 1, *, at: float = 0.0, stage: str = "llm", **rest) -> Operation:
    """What is said about operation *number*, *at* seconds after `NOW`."""
    return Operation(event, NOW + at, TRACE, number.to_bytes(8, "big"), "shop", stage, **rest)


def shown(operations: Operations, now: float) -> dict[str, dict[tuple[str, ...], float]]:
    """The families as {name: {label values: value}}."""
    return {
        family.name: {tuple(value for _, value in series.labels): series.value for series in family.series}
        for family in operations.families(now)
    }


def test_row():
    """A running operation is told with what its reports said, and with how long it has run."""
    operations = Operations()
    operations.add([report("start", task="draft", provider="openai", model="gpt-4o", estimate=4.0, timeout=15.0)])
    expected = {
        "trace_id": "00000000000000000000000000000001",
        "span_id": "0000000000000001",
        "service": "shop",
        "stage": "llm",
        "task": "draft",
        "provider": "openai",
        "model": "gpt-4o",
        "elapsed_seconds": 2.5,
        "estimate_seconds": 4.0,
        "timeout_seconds": 15.0,
        "is_warning": False,
    }
    assert [expected] == operations.running(NOW + 2.5)


def test_progress_refreshes():
    """Progress changes what it speaks of and leaves the rest; a warning stays one."""
    operations = Operations()
    operations.add([report("start", task="draft", estimate=4.0, timeout=15.0), report("warning", at=5)])
    operations.add([report("progress", at=6, estimate=9.0, elapsed=6.0)])
    (row,) = operations.running(NOW + 7)
    assert (7.0, 9.0, 15.0, "draft", True) == (
        row["elapsed_seconds"],
        row["estimate_seconds"],
        row["timeout_seconds"],
        row["task"],
        row["is_warning"],
    )


def test_start_that_comes_after_its_progress():
    """A late start adds what only it said and does not undo newer reports."""
    operations = Operations()
    operations.add([report("progress", at=6, estimate=9.0, elapsed=5.0), report("start", task="draft", estimate=4.0)])
    (row,) = operations.running(NOW + 7)
    assert (7.0, 9.0, "draft") == (row["elapsed_seconds"], row["estimate_seconds"], row["task"])


def test_progress_alone():
    """An operation whose start was lost began when its progress says."""
    operations = Operations()
    operations.add([report("progress", at=6, elapsed=5.0)])
    assert [6.0] == [row["elapsed_seconds"] for row in operations.running(NOW + 7)]


def test_oldest_first():
    """The operation that has run longest leads."""
    operations = Operations()
    operations.add([report("start", 1, at=3), report("start", 2, at=1), report("start", 3, at=2)])
    assert [9.0, 8.0, 7.0] == [row["elapsed_seconds"] for row in operations.running(NOW + 10)]


ENDINGS = {
    "its end is reported": lambda operations: operations.add([report("end", at=1)]),
    "its span arrives": lambda operations: operations.end(TRACE, (1).to_bytes(8, "big")),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("is_late", [False, True], ids=["in order", "before the start"])
def test_end(end, is_late):
    """An operation has ended once we know, even if we hear of its start later."""
    operations = Operations()
    if not is_late:
        operations.add([report("start")])
    end(operations)
    if is_late:
        operations.add([report("start"), report("progress")])
    operations.add([report("start", 2)])
    assert ["0000000000000002"] == [row["span_id"] for row in operations.running(NOW + 1)]


def test_ends_are_remembered_for_a_while():
    """The last 4,096 ended operations at least are remembered, and not twice as many."""
    operations = Operations()
    for number in range(1, 2 * MAX_ENDED + 1):
        operations.end(TRACE, number.to_bytes(8, "big"))
    operations.add([report("start", number) for number in (1, MAX_ENDED + 1, 2 * MAX_ENDED)])
    assert ["0000000000000001"] == [row["span_id"] for row in operations.running(NOW)]


SILENCES = {
    "no timeout": (None, 600),
    "a timeout": (15.0, 45),
    "no time at all": (0.0, 30),
    "a very long timeout": (1e18, 3600),
}


@pytest.mark.parametrize(("timeout", "limit"), SILENCES.values(), ids=SILENCES)
def test_silence(timeout, limit):
    """An operation of which nothing is heard when it must be over is dropped and counted."""
    operations = Operations()
    operations.add([report("start", timeout=timeout), report("progress", at=5)])
    still = len(operations.running(NOW + 5 + limit))
    gone = len(operations.running(NOW + 5 + limit + 1))
    assert (1, 0, {"silent": 1}) == (still, gone, operations.dropped)


def test_clock_ahead():
    """An operation from the future has run for no time, and is not kept for ever."""
    operations = Operations()
    operations.add([report("start", at=1e9)])
    assert [0.0] == [row["elapsed_seconds"] for row in operations.running(NOW)]
    assert [600.0] == [row["elapsed_seconds"] for row in operations.running(NOW + 600)]
    assert [] == operations.running(NOW + 601)


def test_table_is_bounded():
    """Beyond the limit new operations are not watched but counted; those watched stay."""
    operations = Operations(max_running=2)
    operations.add([report("start", number) for number in range(1, 6)])
    operations.add([report("progress", 2, at=1, estimate=3.0)])
    rows = operations.running(NOW + 1)
    assert ([None, 3.0], {"overflow": 3}) == ([row["estimate_seconds"] for row in rows], operations.dropped)


def test_families():
    """Metrics tell how many run and for how long the oldest has, by service and stage."""
    operations = Operations()
    operations.add([report("start", 1), report("start", 2, at=2), report("start", 3, at=4, stage="tts")])
    assert {
        "otel_latency_operations_in_flight": {("shop", "llm"): 2, ("shop", "tts"): 1},
        "otel_latency_oldest_operation_seconds": {("shop", "llm"): 5.0, ("shop", "tts"): 1.0},
    } == shown(operations, NOW + 5)


def test_families_show_zero_before_they_vanish():
    """A stage in which nothing runs any more shows zeros for ten minutes."""
    operations = Operations()
    operations.add([report("start")])
    shown(operations, NOW)
    operations.add([report("end", at=1)])
    zeros = {
        "otel_latency_operations_in_flight": {("shop", "llm"): 0},
        "otel_latency_oldest_operation_seconds": {("shop", "llm"): 0.0},
    }
    assert zeros == shown(operations, NOW + 600)
    assert {name: {} for name in zeros} == shown(operations, NOW + 601)


def test_stages_in_families_are_bounded():
    """Ever new names of stages do not pile up."""
    operations = Operations(max_running=10)
    for number in range(1, 200):
        operations.add([report("start", number, stage=f"stage {number}")])
        found = shown(operations, NOW)["otel_latency_operations_in_flight"]
        operations.end(TRACE, number.to_bytes(8, "big"))
        assert len(found) <= 12


@given(
    st.lists(st.tuples(st.sampled_from(["start", "progress", "warning", "end"]), st.integers(1, 4), st.floats(0, 9)))
)
@settings(max_examples=200, deadline=None)
def test_any_order(events):
    """Whatever the order, what has ended does not run and what was only begun does."""
    operations = Operations()
    operations.add([report(event, number, at=at) for event, number, at in events])
    seen, ended = {number for _, number, _ in events}, {number for event, number, _ in events if event == "end"}
    assert seen - ended == {int(row["span_id"], 16) for row in operations.running(NOW + 10)}
