"""The predictor keeps its promises on streams whose truth is known."""

import math
import random
from itertools import pairwise
from statistics import fmean, median

import pytest
from predict.streams import MEASURED, forecasts, hosted, interleaved, judged, measured, reasoning

from otel_latency.predict import Predictor

WARM = 30
DAY = 86_400.0
WHO = ("openai", "draft", "gpt-4o")


def taught(*seconds, who=WHO, predictor=None, **known):
    predictor = Predictor() if predictor is None else predictor
    for each in seconds:
        predictor.observe(predictor.predict(*who, **known), each)
    return predictor


def noisy(count, seed, *, center=4.0, spread=0.3):
    draw = random.Random(seed)
    return [center * math.exp(draw.gauss(0, spread)) for _ in range(count)]


@pytest.fixture(scope="module")
def said():
    """What was said of each call of hosted and of reasoning models, once there was some history."""
    sets = {"hosted": hosted(8, tasks=8), "reasoning": reasoning(2, tasks=5)}
    return {
        name: [each for stream in streams for each in forecasts(stream) if each.history >= WARM]
        for name, streams in sets.items()
    }


@pytest.mark.parametrize("name", ["hosted", "reasoning"])
def test_interval(said, name):
    """Eight of ten calls end between low and high."""
    hits = [each.estimate.low <= each.call.seconds <= each.estimate.high for each in said[name]]
    assert pytest.approx(0.8, abs=0.03) == fmean(hits)


@pytest.mark.parametrize("name", ["hosted", "reasoning"])
def test_confidence(said, name):
    """It is the share of calls that end within 25 % of the point, also where it is high."""
    ascending = sorted(said[name], key=lambda each: each.estimate.confidence)
    for part in (ascending, ascending[-len(ascending) // 3 :]):
        close = [abs(each.call.seconds / each.estimate.seconds - 1) <= 0.25 for each in part]
        assert pytest.approx(fmean(close), abs=0.06) == fmean(each.estimate.confidence for each in part)


@pytest.mark.parametrize("times", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("name", ["hosted", "reasoning"])
def test_remaining(said, name, times):
    """While a call runs, what is left lies in the conditional interval, and there is always something left."""
    running = [(each, times * each.estimate.seconds) for each in said[name]]
    running = [(each, elapsed) for each, elapsed in running if each.call.seconds > elapsed]
    left = [each.estimate.remaining(elapsed) for each, elapsed in running]
    hits = [
        rest.low <= each.call.seconds - elapsed <= rest.high
        for rest, (each, elapsed) in zip(left, running, strict=True)
    ]
    assert fmean(hits) >= 0.72
    assert all(rest.low > 0 and "0 seconds" not in rest.text.split() for rest in left)


@pytest.mark.parametrize("name", ["hosted", "reasoning"])
def test_flags(said, name):
    """Less than 1.5 % of calls are so late that one in a hundred should be."""
    assert 0.003 <= fmean(each.estimate.tail(each.call.seconds) < 0.01 for each in said[name]) <= 0.015


SIMULATED = {"reasoning": reasoning(3, tasks=6, seed=21), "hosted": hosted(4, tasks=8, seed=22)}


@pytest.mark.parametrize("streams", SIMULATED.values(), ids=SIMULATED)
def test_flags_given_the_tokens(streams):
    """Of calls that are not late at most 1.5 % are called slow when the answer's length is known, and some are."""
    flags = [
        each.slow is not None
        for stream in streams
        for each in judged(stream)
        if each.estimate.samples >= WARM and not each.call.is_late
    ]
    assert 0.001 <= fmean(flags) <= 0.015


def test_flags_of_few():
    """Ten calls are not enough to call every tenth of the next slow: a largest of ten is exceeded by one in eleven."""
    flags = [
        estimate.tail(coming) < 0.01
        for seed in range(60)
        for estimate in [taught(*noisy(12, seed)).predict(*WHO)]
        for coming in noisy(20, 1000 + seed)
    ]
    assert fmean(flags) <= 0.025


def test_known_length():
    """Told the answer's length, the error is a fraction of what it is without."""
    streams = reasoning(1, tasks=4)
    errors = [
        fmean(abs(each.call.seconds - each.estimate.seconds) for each in forecasts(streams[0], hint=hint)[WARM:])
        for hint in (False, True)
    ]
    assert errors[1] < 0.25 * errors[0]


def test_limit_is_no_length():
    """A hint that says nothing, as the same limit for all, does no harm."""
    draw = random.Random(5)
    predictor, off = Predictor(), ([], [])
    for _ in range(300):
        tokens = int(100 * draw.lognormvariate(0, 0.6))
        seconds = 0.3 + 0.02 * tokens
        plain = predictor.predict(*WHO)
        limited = predictor.predict(*WHO, output_tokens=4096)
        for errors, estimate in zip(off, (plain, limited), strict=True):
            errors.append(abs(seconds - estimate.seconds))
        predictor.observe(limited, seconds, output_tokens=tokens)
    assert fmean(off[1][150:]) < 1.15 * fmean(off[0][150:])


def test_size():
    """Where time grows with the prompt so does the estimate, and no more than it does."""
    draw, predictor = random.Random(6), Predictor()
    for _ in range(200):
        tokens = draw.choice((125, 500, 2000))
        estimate = predictor.predict(*WHO, input_tokens=tokens)
        predictor.observe(estimate, math.sqrt(tokens) * draw.lognormvariate(0, 0.1))
    assert pytest.approx([math.sqrt(125), math.sqrt(2000)], rel=0.1) == [
        predictor.predict(*WHO, input_tokens=tokens).seconds for tokens in (125, 2000)
    ]


def test_load():
    """Calls that start while many others run are expected to take as long as such calls did."""
    draw, predictor = random.Random(7), Predictor()
    for _ in range(400):
        running = draw.choice((0, 20))
        estimate = predictor.predict(*WHO, input_tokens=500, in_flight=running)
        predictor.observe(estimate, (2 if running else 1) * draw.lognormvariate(0, 0.1))
    assert pytest.approx([1.0, 2.0], rel=0.15) == [
        predictor.predict(*WHO, input_tokens=500, in_flight=running).seconds for running in (0, 20)
    ]


COLD = {
    "the same model": (("openai", "new", "gpt-4o"), 4.0),
    "another model of the provider": (("openai", "new", "o9"), 4.0),
    "another provider": (("anthropic", "new", "claude"), 4.0),
}


@pytest.mark.parametrize(("who", "expected"), COLD.values(), ids=COLD)
def test_cold_start(who, expected):
    """A new operation is expected to take what others do, broadly, and says that it has no history."""
    estimate = taught(*noisy(60, 8)).predict(*who)
    assert (pytest.approx(expected, rel=0.2), "low", True) == (
        estimate.seconds,
        estimate.level,
        estimate.high > 2 * estimate.low,
    )


def test_nothing_known():
    """Without any history it says what LLM calls take in general."""
    estimate = Predictor().predict(*WHO)
    assert (pytest.approx(8.0), 0) == (estimate.seconds, estimate.samples)
    assert estimate.text.startswith("estimated ")


def test_few_calls():
    """Nine calls and fewer: the range holds about eight in ten of those to come, and is not a point."""
    hits = [
        estimate.low <= coming <= estimate.high
        for seed in range(40)
        for known in (2, 5, 9)
        for estimate in [taught(*noisy(known, seed)).predict(*WHO)]
        for coming in noisy(10, 100 + seed)
    ]
    assert 0.72 <= fmean(hits) <= 0.9


def test_model_changes():
    """After a step it is where the new durations are within 60 calls."""
    predictor = taught(*noisy(200, 9), *noisy(60, 10, center=8.0))
    assert pytest.approx(8.0, rel=0.15) == predictor.predict(*WHO).seconds


def test_widens_after_days():
    """After a week's silence the range is wider, and a few calls later it follows them."""
    predictor, draw = Predictor(), random.Random(11)
    for hour in range(100):
        now = 1e9 + 3600 * hour
        predictor.observe(predictor.predict(*WHO, now=now), draw.lognormvariate(1, 0.1), now=now)
    later = now + 7 * DAY
    ratios = [(each.high / each.low) for each in (predictor.predict(*WHO, now=when) for when in (now + 60, later))]
    assert ratios[1] > 1.5 * ratios[0]
    for minute in range(15):
        now = later + 60 * minute
        predictor.observe(predictor.predict(*WHO, now=now), draw.lognormvariate(1.4, 0.1), now=now)
    assert pytest.approx(math.exp(1.4), rel=0.15) == predictor.predict(*WHO, now=now).seconds


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 0.0])
def test_what_teaches_nothing(seconds):
    """Impossible durations, and calls that failed."""
    predictor = taught(*[2.0] * 20)
    estimate = predictor.predict(*WHO)
    predictor.observe(estimate, seconds)
    predictor.observe(estimate, 500.0, ok=False)
    assert 20 == predictor.predict(*WHO).samples


def test_extremes():
    """Zero tokens, millions of them, nanoseconds and days: always finite, positive, ascending."""
    draw, predictor = random.Random(12), Predictor()
    for _ in range(500):
        known = {
            "input_tokens": draw.choice((None, 0, 1, 10**7)),
            "in_flight": draw.choice((0, 10**5)),
            "output_tokens": draw.choice((None, 0, 10**6)),
        }
        estimate = predictor.predict(*WHO, **known)
        assert all(0 < low <= high < math.inf for low, high in pairwise(estimate.quantiles))
        predictor.observe(estimate, draw.choice((1e-9, 1.0, 1e5)), output_tokens=draw.choice((None, 0, 10**6)))


def test_forgets_the_unused():
    """Only so many operations are kept: those used last."""
    predictor = Predictor(max_keys=3)
    for task in "abcd":
        taught(*[2.0] * 20, who=("p", task, "m"), predictor=predictor)
    assert (3, 0, 20) == (predictor.operations, *(predictor.predict("p", task, "m").samples for task in "ad"))


def test_questions_displace_nothing():
    """Asking for operations that were never seen leaves those that were where they are."""
    predictor = taught(*[2.0] * 20, predictor=Predictor(max_keys=2))
    for task in range(10):
        predictor.predict("p", f"unknown-{task}", "m")
    assert (1, 20) == (predictor.operations, predictor.predict(*WHO).samples)


def test_restart():
    """What was dumped and loaded says the same of the calls to come, and learns the same from them."""
    (stream,) = interleaved(hosted(1, tasks=3))
    first = Predictor()
    forecasts(stream[:300], predictor=first)
    second = Predictor().load(first.dump())
    quantiles = [
        [each.estimate.quantiles for each in forecasts(stream[300:], predictor=predictor)]
        for predictor in (first, second)
    ]
    for one, other in zip(*quantiles, strict=True):
        assert pytest.approx(one, rel=1e-6) == other


def test_size_of_the_state():
    """An operation with a full history takes less than 16 KiB."""
    predictor = Predictor()
    (stream,) = reasoning(1, tasks=4, calls=400)
    forecasts(stream, predictor=predictor)
    forecasts(stream, predictor=predictor)
    shared = Predictor()
    assert (len(predictor.dump()) - len(shared.dump())) / 4 < 16 * 1024


BROKEN = {
    "something else": b"{}",
    "an older version": taught(*[2.0] * 20).dump().replace(b"predictor 2", b"predictor 1", 1),
    "cut short": taught(*[2.0] * 20).dump()[:-5],
    "damaged": taught(*[2.0] * 20).dump().replace(b"[[", b"{[", 1),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_unreadable_state(data):
    """It is refused, and what was known stays."""
    predictor = taught(*[2.0] * 20)
    with pytest.raises(ValueError):
        predictor.load(data)
    assert 20 == predictor.predict(*WHO).samples


def test_half_speed_is_found():
    """Of calls of a reasoning model at half the speed, nine in ten are called slow, and why; of others 1.5 %."""
    draw, predictor = random.Random(13), Predictor()
    found, wrong, reasons = [], [], []
    (stream,) = reasoning(1, tasks=5, calls=300)
    for call in stream:
        estimate = predictor.predict(call.provider, call.task, call.model, input_tokens=call.input_tokens)
        is_slow = draw.random() < 0.02
        seconds = call.seconds * (2 if is_slow else 1)
        if estimate.samples >= WARM:
            slow = predictor.slow_call(estimate, seconds, output_tokens=call.output_tokens)
            (found if is_slow else wrong).append(slow is not None)
            reasons += [slow.reason] if slow and is_slow else []
        predictor.observe(estimate, seconds, output_tokens=call.output_tokens)
    assert (True, True, {"slower per token"}) == (fmean(found) >= 0.9, fmean(wrong) <= 0.015, set(reasons))


def test_shift():
    """A model whose calls take 1.25 times as long is announced within tens of calls, dated and sized."""
    (stream,) = interleaved(hosted(1, tasks=5, seed=14))
    predictor, shifts = Predictor(), []
    for index, call in enumerate(stream[:600]):
        now = 1e9 + index
        estimate = predictor.predict(call.provider, call.task, call.model, input_tokens=call.input_tokens, now=now)
        seconds = call.seconds * (1.25 if index >= 500 else 1)
        shift = predictor.observe(estimate, seconds, output_tokens=call.output_tokens, now=now)
        shifts += [(index, shift)] if shift else []
    ((found, shift),) = shifts
    assert (True, True, True) == (found - 500 <= 60, abs(shift.since - 1e9 - 500) <= 15, 1.1 <= shift.ratio <= 1.45)
    assert (1.0, "slower per token") == (predictor.anomaly("hosted", "hosted-0").value, shift.reason)


def test_no_shift_without_one():
    """Steady models are left alone: fewer than one alarm in 1,000 calls."""
    alarms = 0
    streams = interleaved(reasoning(4, tasks=4, seed=15))
    for stream in streams:
        predictor = Predictor()
        for call in stream:
            estimate = predictor.predict(call.provider, call.task, call.model, input_tokens=call.input_tokens)
            alarms += predictor.observe(estimate, call.seconds, output_tokens=call.output_tokens) is not None
    assert alarms <= sum(map(len, streams)) / 1000


@pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured streams (../shared/data/latency) are not here")
def test_measured():
    """On measured streams the interval covers eight in ten, and the error is well below that of the recent median."""
    ours, plain, hits = [], [], []
    for stream in measured("llmperf"):
        for index, each in enumerate(forecasts(stream)):
            if each.history >= WARM:
                usual = median(call.seconds for call in stream[max(0, index - 100) : index])
                ours.append(abs(each.call.seconds - each.estimate.seconds))
                plain.append(abs(each.call.seconds - usual))
                hits.append(each.estimate.low <= each.call.seconds <= each.estimate.high)
    assert fmean(ours) < 1.02 * fmean(plain)
    assert pytest.approx(0.8, abs=0.04) == fmean(hits)
