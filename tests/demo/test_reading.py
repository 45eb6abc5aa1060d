from otel_latency.demo.reading import LastMinute, Reading, TurnReading, read

PAGE = """\
# HELP otel_latency_turn_window_seconds Whole turns.
# TYPE otel_latency_turn_window_seconds summary
otel_latency_turn_window_seconds{service="bot",turn="a \\"b\\"",window="10s",quantile="0.5"} 9
otel_latency_turn_window_seconds{service="bot",turn="a \\"b\\"",window="1m",quantile="0.5"} 1.5
otel_latency_turn_window_seconds{service="bot",turn="a \\"b\\"",window="1m",quantile="0.95"} 2.5
otel_latency_turn_window_seconds_sum{service="bot",turn="a \\"b\\"",window="1m"} 40
otel_latency_turn_window_seconds_count{service="bot",turn="a \\"b\\"",window="1m"} 30
otel_latency_turn_window_seconds{service="bot",turn="idle",window="1m",quantile="0.5"} NaN
otel_latency_turn_time_to_first_audio_window_seconds{service="bot",turn="a \\"b\\"",window="1m",quantile="0.5"} 0.75
otel_latency_turns_total{service="bot",turn="a \\"b\\"",status="ok"} 26
otel_latency_turns_total{service="bot",turn="a \\"b\\"",status="error"} 2
otel_latency_turns_total{service="bot",turn="a \\"b\\"",status="timeout"} 1
otel_latency_turns_total{service="bot",turn="a \\"b\\"",status="interrupted"} 1
otel_latency_turns_total{service="bot",turn="idle",status="ok"} 4
otel_latency_operations_in_flight{service="bot",stage="llm"} 3
otel_latency_operations_in_flight{service="bot",stage="tts"} 2
otel_latency_host_load1 0.5
"""


def test_read():
    """Quantiles of the last minute by kind of turn; turns that failed, and stages that run."""
    expected = Reading(
        turns=(
            TurnReading("bot", 'a "b"', 30, {"0.5": 1.5, "0.95": 2.5}, {"0.5": 0.75}),
            TurnReading("bot", "idle", 4, {}, {}),
        ),
        finished=34,
        failed=3,
        running=5,
    )
    assert expected == read(PAGE)


def test_read_nothing():
    """Before the first turn there is nothing to read."""
    assert Reading((), 0, 0, 0) == read("otel_latency_host_load1 0.5\n")


def reading(finished, failed=0):
    return Reading((), finished, failed, 0)


def test_rates():
    """Rates are those since the last reading in which no turn had finished."""
    minute = LastMinute(100.0)
    assert (0.0, 0.0) == (minute.turns_per_second, minute.error_ratio)
    minute.add(reading(0), 102.0)
    minute.add(reading(8, 1), 104.0)
    minute.add(reading(20, 2), 107.0)
    assert (4.0, 0.1) == (minute.turns_per_second, minute.error_ratio)


def test_rates_forget():
    """What was more than a minute ago no longer counts."""
    minute = LastMinute(0.0)
    for second in range(1, 121):
        minute.add(reading(second * (1 if second <= 60 else 3), 10), float(second))
    assert 3.0 * 120 - 60 == minute.turns_per_second * 60
    assert 0.0 == minute.error_ratio
