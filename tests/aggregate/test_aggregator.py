"""Spans become the families of design §6, each counted once, none lost."""

from __future__ import annotations

import random

import pytest

from otel_latency.aggregate import aggregator
from otel_latency.aggregate.aggregator import Aggregator, joined
from otel_latency.aggregate.turn_view import EXPOSED, Observation
from otel_latency.records import HistogramSeries, LLMProfile, Profile, SummarySeries, ValueSeries

NOW = 1_800_000_000.0
STAGE = Profile("shop", stage="retrieve")
TURN = Profile("shop", turn="answer")
CALL = Profile("shop", stage="llm", llm=LLMProfile("openai", "gpt-4o", "draft", "chat"))


def row(profile: Profile, seconds: float, *, ago: float = 0.0, measures=None, number: int | None = None):
    end = int((NOW - ago) * 1e9)
    span_id = random.randbytes(8) if number is None else number.to_bytes(8, "big")
    return profile, b"trace of 16 byte", span_id, b"p" * 8, end - round(seconds * 1e9), end, measures


def found(agg: Aggregator, name: str, now: float = NOW) -> dict[tuple[str, ...], object]:
    """The series of a family by their label values."""
    families = {family.name: family for family in agg.families(now)}
    return {tuple(value for _, value in one.labels): one for one in families[name].series} if name in families else {}


def test_a_stage_is_counted_in_every_form():
    """Histogram, native buckets, sliding quantiles, and the count by status."""
    agg = Aggregator()
    agg.add([row(STAGE, seconds) for seconds in (0.1, 0.2, 0.3, 0.4)], NOW)
    (histogram,) = found(agg, "otel_latency_stage_duration_seconds").values()
    assert isinstance(histogram, HistogramSeries)
    assert histogram.labels == (("service", "shop"), ("stage", "retrieve"))
    assert (histogram.count, histogram.sum) == (4, pytest.approx(1.0))
    assert dict(histogram.buckets)[0.16] == 1
    assert dict(histogram.buckets)[0.32] == 3
    assert sum(histogram.native.values()) == 4
    windows = found(agg, "otel_latency_stage_window_seconds")
    assert set(windows) == {("shop", "retrieve", horizon) for horizon in ("10s", "1m", "5m")}
    one = windows["shop", "retrieve", "1m"]
    assert isinstance(one, SummarySeries)
    assert dict(one.quantiles) == pytest.approx({0.5: 0.2, 0.9: 0.4, 0.95: 0.4, 0.99: 0.4})
    (total,) = found(agg, "otel_latency_stages_total").values()
    assert isinstance(total, ValueSeries)
    assert (total.labels[-1], total.value) == (("status", "ok"), 4)


def test_a_turn_has_its_milestones():
    """First token, sentence, speech and audio, where the turn's span tells them."""
    agg = Aggregator()
    measures = {"ttft": 0.3, "ttfs": 0.5, "tts_start": 0.55, "ttfa": 0.7, "session": "s1"}
    agg.add([row(TURN, 2.0, measures=measures), row(Profile("shop", turn="answer", status="error"), 3.0)], NOW)
    sums = {
        milestone: one.sum
        for milestone in ("token", "sentence", "tts", "audio")
        for one in found(agg, f"otel_latency_turn_time_to_first_{milestone}_seconds").values()
    }
    assert sums == pytest.approx({"token": 0.3, "sentence": 0.5, "tts": 0.55, "audio": 0.7})
    assert found(agg, "otel_latency_turn_time_to_first_audio_window_seconds")
    statuses = {key[-1]: one.value for key, one in found(agg, "otel_latency_turns_total").items()}
    assert statuses == {"ok": 1, "error": 1}
    assert not found(agg, "otel_latency_stage_duration_seconds")


def test_what_whole_turns_tell_is_counted_beside_what_their_spans_do():
    """The shares of their stages, and milestones that only the stages told; a clock ahead counts as now."""
    agg = Aggregator()
    agg.fold(NOW)
    ids = b"trace of 16 byte", b"span of8"
    here = ("service", "shop"), ("turn", "answer")
    audio = "otel_latency_turn_time_to_first_audio_seconds"
    agg.observe(
        [
            Observation(EXPOSED, (*here, ("stage", "llm")), 0.7, int(NOW * 1e9), *ids),
            Observation(EXPOSED, (*here, ("stage", "llm")), 0.9, int(NOW * 1e9), *ids),
            Observation(EXPOSED, (*here, ("stage", "tts")), 0.2, int(NOW * 1e9), *ids),
            Observation(audio, here, 1.2, int((NOW + 3) * 1e9), *ids),
        ]
    )
    agg.add([row(TURN, 2.0, measures={"ttfa": 1.4})], NOW)
    exposed = found(agg, EXPOSED)
    assert {key: (one.count, one.sum) for key, one in exposed.items()} == {
        ("shop", "answer", "llm"): (2, pytest.approx(1.6)),
        ("shop", "answer", "tts"): (1, 0.2),
    }
    slowest = exposed["shop", "answer", "llm"].exemplar
    assert (slowest.value, slowest.trace_id) == (0.9, ids[0].hex())
    assert found(agg, audio)["shop", "answer"].sum == pytest.approx(2.6)
    windows = found(agg, audio.replace("_seconds", "_window_seconds"))
    assert windows["shop", "answer", "10s"].count == 2
    assert {key[-1] for key in found(agg, "otel_latency_turns_total")} == {"ok"}


def test_turns_alone_are_counted_at_the_next_tick():
    """Even if no span came with them."""
    agg = Aggregator()
    labels = ("service", "shop"), ("turn", "answer"), ("stage", "llm")
    agg.observe([Observation(EXPOSED, labels, 0.7, int(NOW * 1e9), b"t" * 16, b"s" * 8)])
    assert found(agg, EXPOSED)["shop", "answer", "llm"].count == 1


def test_an_llm_call_is_a_stage_and_a_client_operation_too():
    """One span counts in each family that it belongs to, with tokens and cost."""
    agg = Aggregator()
    measures = {"ttft": 0.4, "ttfc": 0.1, "tpot": 0.02, "input_tokens": 500, "output_tokens": 90, "cost_usd": 0.002}
    agg.add([row(CALL, 1.5, measures=measures), row(CALL, 2.5, measures={"input_tokens": 100})], NOW)
    call, client = ("shop", "openai", "gpt-4o", "draft"), ("shop", "chat", "openai", "gpt-4o", "")
    counts = {
        name: one.count
        for name in (
            "otel_latency_stage_duration_seconds",
            "otel_latency_llm_duration_seconds",
            "otel_latency_llm_time_to_first_token_seconds",
            "otel_latency_llm_time_per_output_token_seconds",
            "gen_ai_client_operation_duration_seconds",
            "gen_ai_client_operation_time_to_first_chunk_seconds",
        )
        for one in found(agg, name).values()
    }
    assert list(counts.values()) == [2, 2, 1, 1, 2, 1]
    assert set(found(agg, "otel_latency_llm_duration_seconds")) == {call}
    assert set(found(agg, "gen_ai_client_operation_duration_seconds")) == {client}
    tokens = {key[-1]: one.value for key, one in found(agg, "otel_latency_llm_tokens_total").items()}
    assert tokens == {"input": 600, "output": 90}
    assert found(agg, "otel_latency_llm_cost_usd_total")[call].value == pytest.approx(0.002)
    assert found(agg, "otel_latency_llm_calls_total")[(*call, "ok")].value == 2


def test_retries_are_counted_by_reason():
    """Each by its own; those whose reason the sender does not tell are unknown."""
    agg = Aggregator()
    call = Profile("shop", stage="llm", llm=LLMProfile("openai", "m"))
    mixed = {"retries": 3, "retries_rate_limit": 2, "retries_network": 1}
    agg.add([row(call, 1.0, measures=measures) for measures in (mixed, mixed, {"retries": 2})], NOW)
    counts = {key[-1]: one.value for key, one in found(agg, "otel_latency_llm_retries_total").items()}
    assert counts == {"rate_limit": 4, "network": 2, "unknown": 2}


def test_first_chunks_and_tokens_do_not_mix():
    """A call that tells only its first chunk adds nothing to the time of first tokens."""
    agg = Aggregator()
    agg.add([row(CALL, 1.0, measures={"ttfc": 0.02})], NOW)
    assert not found(agg, "otel_latency_llm_time_to_first_token_seconds")


def test_what_the_model_host_measured_is_no_client_operation():
    """A server's span counts as LLM call, not among the client's figures."""
    agg = Aggregator()
    agg.add([row(Profile("vllm", stage="llm", llm=LLMProfile("vllm", "m", origin="server")), 1.0)], NOW)
    assert found(agg, "otel_latency_llm_duration_seconds")
    assert not found(agg, "gen_ai_client_operation_duration_seconds")


def test_a_call_that_tells_its_duration_is_believed():
    """Some tools log a streamed call as a span without length when it is over, with its duration beside it."""
    agg = Aggregator()
    agg.add([row(CALL, 0.0, measures={"duration": 1.25})], NOW)
    assert found(agg, "otel_latency_llm_duration_seconds").popitem()[1].sum == pytest.approx(1.25)


def test_no_cost_is_no_sample():
    """An unknown price is not a price of zero."""
    agg = Aggregator()
    agg.add([row(CALL, 1.0, measures={"input_tokens": 5})], NOW)
    assert not found(agg, "otel_latency_llm_cost_usd_total")


def test_a_repeated_request_is_counted_once():
    """OTLP lets a sender send again; percentiles must not notice."""
    agg = Aggregator()
    batch = [row(STAGE, 0.1, number=n + 1) for n in range(50)]
    for _ in range(3):
        agg.add(agg.fresh(batch), NOW)
    assert found(agg, "otel_latency_stages_total")["shop", "retrieve", "ok"].value == 50
    assert agg.dropped["duplicate"] == 100


def test_a_span_that_ends_before_it_starts_lasts_zero():
    """Clocks step; the span is counted, corrected, and told of."""
    agg = Aggregator()
    agg.add([row(STAGE, -0.5), row(STAGE, 0.5)], NOW)
    (histogram,) = found(agg, "otel_latency_stage_duration_seconds").values()
    assert (histogram.count, histogram.sum, histogram.zero_count) == (2, pytest.approx(0.5), 1)
    assert agg.adjusted["negative_duration"] == 1


def test_the_future_counts_as_now():
    """A sender whose clock runs ahead shows in the present windows; one far ahead is told of."""
    agg = Aggregator()
    agg.add([row(STAGE, 0.5, ago=-2.0), row(STAGE, 0.7, ago=-86400.0 * 365 * 500)], NOW)
    window = found(agg, "otel_latency_stage_window_seconds")["shop", "retrieve", "10s"]
    assert dict(window.quantiles)[0.99] == pytest.approx(0.7)
    assert agg.adjusted["future"] == 1


def test_a_span_without_times_counts_without_a_duration():
    """Half a century would spoil every sum; the call itself took place."""
    agg = Aggregator()
    end = int(NOW * 1e9)
    agg.add([(STAGE, b"t" * 16, b"1" * 8, b"", 0, end, None), (STAGE, b"t" * 16, b"2" * 8, b"", end, 0, None)], NOW)
    assert found(agg, "otel_latency_stages_total")["shop", "retrieve", "ok"].value == 2
    assert not found(agg, "otel_latency_stage_duration_seconds")
    assert agg.adjusted["no_times"] == 2


def test_a_span_too_late_for_the_windows_is_told_of():
    """The histogram has it; the windows of its time are gone."""
    agg = Aggregator()
    agg.add([row(STAGE, 0.5), row(STAGE, 0.5, ago=4000.0)], NOW)
    (histogram,) = found(agg, "otel_latency_stage_duration_seconds").values()
    assert histogram.count == 2
    assert agg.adjusted["late"] == 1


def test_a_clock_that_is_set_forward_does_not_age_anything():
    """Twenty minutes at once are a step of the clock, and no silence of twenty minutes."""
    agg = Aggregator(expire_after=900.0)
    agg.add([row(STAGE, 0.5)], NOW)
    agg.fold(NOW)
    assert agg.expire(NOW + 1200.0) == 0


def test_a_clock_that_is_set_back_shows_in_the_windows_at_once():
    """What comes after the step is seen, not what comes when the clock has caught up."""
    agg = Aggregator()
    agg.fold(NOW + 3600.0)
    agg.add([row(STAGE, 0.5, ago=-3600.0)], NOW + 3600.0)
    agg.fold(NOW + 3600.0)
    agg.add([row(STAGE, 0.25)], NOW)
    window = found(agg, "otel_latency_stage_window_seconds")["shop", "retrieve", "10s"]
    assert dict(window.quantiles)[0.5] == pytest.approx(0.25)


def test_the_largest_times_that_fit_a_uint64_are_harmless():
    """A nonsense time is counted like any other."""
    agg = Aggregator()
    agg.add([(STAGE, b"t" * 16, b"s" * 8, b"", 1, (1 << 64) - 1, None)], NOW)
    (histogram,) = found(agg, "otel_latency_stage_duration_seconds").values()
    assert histogram.count == 1


def test_the_exemplar_is_the_slowest_span():
    """It leads from the histogram to the trace."""
    agg = Aggregator()
    agg.add([row(STAGE, s, number=int(s * 10)) for s in (0.1, 0.9, 0.4)], NOW)
    (histogram,) = found(agg, "otel_latency_stage_duration_seconds").values()
    assert histogram.exemplar.value == pytest.approx(0.9)
    assert histogram.exemplar.span_id == (9).to_bytes(8, "big").hex()
    assert histogram.exemplar.trace_id == b"trace of 16 byte".hex()


def test_label_sets_are_capped_and_the_overflow_is_exact():
    """Beyond the cap everything is still counted, in one label set per kind."""
    agg = Aggregator(max_series=50)
    for n in range(500):
        agg.add([row(Profile("shop", stage=f"stage {n}"), 0.5)], NOW)
    series = found(agg, "otel_latency_stage_duration_seconds")
    assert len(series) <= 50
    assert agg.series <= 50
    assert sum(one.count for one in series.values()) == 500
    assert sum(one.sum for one in series.values()) == pytest.approx(250)
    overflow = series[("true",)]
    assert overflow.labels == (("otel_metric_overflow", "true"),)
    assert overflow.count == 500 - (len(series) - 1)
    assert sum(one.value for one in found(agg, "otel_latency_stages_total").values()) == 500


def test_series_without_news_are_forgotten():
    """After `expire_after` a label set is gone, its room is free, and a newcomer starts from zero."""
    agg = Aggregator(max_series=10, expire_after=60.0)
    agg.add([row(STAGE, 0.5)], NOW)
    agg.fold(NOW)
    assert agg.expire(NOW + 60.0) == 0
    assert agg.expire(NOW + 61.0) == 1
    assert agg.expire(NOW + 61.5) == 0
    assert agg.series == 0
    later = [(*row(STAGE, 0.5)[:5], int((NOW + 62) * 1e9), None)]
    agg.add(later, NOW + 62.0)
    (histogram,) = found(agg, "otel_latency_stage_duration_seconds", NOW + 62.0).values()
    assert (histogram.count, histogram.created) == (1, NOW + 62.0)


def test_nothing_waits_for_the_next_tick_when_somebody_reads():
    """A reader sees what was added just before."""
    agg = Aggregator()
    agg.add([row(STAGE, 0.5)], NOW)
    assert found(agg, "otel_latency_stages_total")


def test_a_burst_is_folded_before_it_fills_the_memory(monkeypatch):
    """What is pending is bounded, whatever the rate."""
    monkeypatch.setattr(aggregator, "MAX_PENDING", 100)
    agg = Aggregator()
    waiting = []
    for _ in range(25):
        agg.add([row(STAGE, 0.1) for _ in range(10)], NOW)
        waiting.append(agg._pending_count)
    assert max(waiting) < 100
    assert found(agg, "otel_latency_stages_total")["shop", "retrieve", "ok"].value == 250


def test_a_profile_that_stands_for_no_work_counts_nowhere():
    """Neither turn nor stage nor call: no series."""
    agg = Aggregator()
    agg.add([row(Profile("shop"), 1.0)], NOW)
    assert agg.families(NOW) == []


def test_parts():
    """In parts of any size, put together again, they are the same families."""
    agg = Aggregator()
    agg.add([row(Profile("shop", stage=f"s{number}"), 1.0) for number in range(7)], NOW)
    whole = agg.families(NOW)
    for size in (1, 2, 7, 100):
        assert whole == joined(agg.parts(NOW, size))
    assert len(list(agg.parts(NOW, 2))) > len(whole)


def test_counters_go_on_from_a_former_run():
    """They are shown from the start, with a creation that nobody knows; the first count adds to them, once. Those that
    do not go on are forgotten in time.
    """
    agg = Aggregator()
    kept = (("service", "shop"), ("stage", "retrieve"), ("status", "ok"))
    agg.restore({("otel_latency_stages_total", kept): 40.0, ("otel_latency_agent_received_spans_total", ()): 7.0})
    agg.fold(NOW)
    assert [(f.name, s.labels, s.value, s.created) for f in agg.counters() for s in f.series] == [
        ("otel_latency_stages_total", kept, 40.0, 0.0)
    ]
    for _ in range(2):
        agg.add([row(STAGE, 0.1)], NOW)
        agg.fold(NOW)
    one = found(agg, "otel_latency_stages_total")["shop", "retrieve", "ok"]
    assert (one.value, one.created) == (42.0, 0.0)
    assert found(agg, "otel_latency_stage_duration_seconds")["shop", "retrieve"].count == 2
    forgetful = Aggregator(expire_after=90.0)
    forgetful.restore({("otel_latency_stages_total", kept): 40.0})
    for later in (0.0, 60.0, 120.0):
        forgetful.fold(NOW + later)
    assert forgetful.counters() == []


def test_a_cost_known_late_is_added():
    """The row was counted before its price was known."""
    agg = Aggregator()
    agg.add([row(CALL, 1.5, measures={"cost_usd": 0.25})], NOW)
    agg.fold(NOW)
    agg.add_cost(CALL, 0.5)
    (cost,) = found(agg, "otel_latency_llm_cost_usd_total").values()
    assert cost.value == 0.75


def test_minutes_that_changed_are_told_once():
    """Late spans add to former minutes, however old; what was told is not told again."""
    agg = Aggregator()
    slot = int(NOW) // 60

    def told():
        agg.fold(NOW)
        return {(name, labels[-1][1], at - slot): window.count for name, labels, at, window in agg.take_minutes()}

    agg.add([row(STAGE, 0.5), row(STAGE, 0.7), row(STAGE, 0.9, ago=60.0), row(TURN, 2.0)], NOW)
    stages = "otel_latency_stage_duration_seconds", "retrieve"
    turns = "otel_latency_turn_duration_seconds", "answer"
    assert told() == {(*stages, 0): 2, (*stages, -1): 1, (*turns, 0): 1}
    assert told() == {}
    agg.add([row(STAGE, 0.5, ago=400.0), row(STAGE, 0.5)], NOW)
    assert told() == {(*stages, 0): 1, (*stages, -7): 1}
    agg.add([row(STAGE, 0.5, ago=90_000.0)], NOW)
    assert told() == {(*stages, -1500): 1}


@pytest.mark.parametrize("step", [10.0, -10.0, 3600.0, -3600.0, 86400.0, -86400.0, 4e8])
def test_steps_of_the_clock_lose_no_minute(step):
    """Each span is counted once and told once in some minute, whether it was folded before or after the clock jumped,
    and back, and whether somebody took what was told or not.
    """
    agg = Aggregator()
    told = 0
    for number, now in enumerate([NOW, NOW + step, NOW + step + 1.0, NOW + 2.0, NOW + step + 3.0, NOW + 4.0]):
        for ago in (0.0, 0.4, 2.0):
            agg.add([row(STAGE, 0.5, ago=ago), row(STAGE, 0.7, ago=ago)], now)
        agg.fold(now)
        if number % 2:
            told += sum(window.count for _, _, _, window in agg.take_minutes())
    told += sum(window.count for _, _, _, window in agg.take_minutes())
    (counted,) = found(agg, "otel_latency_stage_duration_seconds", NOW + 4.0).values()
    assert (36, 36) == (counted.count, told)


def test_a_cheap_look_tells_the_same():
    """Counts and sums without buckets, counters, and one window, in parts or at once."""
    agg = Aggregator()
    for number in range(5):
        agg.add([row(Profile("shop", stage=f"s{number}"), 0.1 * n) for n in range(1, 4)], NOW)
    whole = {family.name: family for family in agg.families(NOW)}
    counts = {family.name: family for family in agg.counts()}
    assert counts["otel_latency_stages_total"] == whole["otel_latency_stages_total"]
    name = "otel_latency_stage_duration_seconds"
    of_all = [(one.labels, one.count, one.sum) for one in whole[name].series]
    assert [(one.labels, one.count, one.sum) for one in counts[name].series] == of_all
    (windows,) = joined(agg.recent("1m", 2))
    assert windows.series == [
        one for one in whole["otel_latency_stage_window_seconds"].series if one.labels[-1] == ("window", "1m")
    ]


def test_stages_that_are_calls_are_known():
    """Whatever they are called; their targets are those of calls."""
    agg = Aggregator()
    agg.add([row(CALL, 0.1), row(STAGE, 0.1)], NOW)
    agg.fold(NOW)
    assert agg.llm_stages == {("shop", "llm")}
