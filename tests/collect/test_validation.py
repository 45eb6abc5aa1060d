"""What of a collector's samples goes on."""

from decimal import Decimal

import pytest

from otel_latency.collect.validation import validate
from otel_latency.records import Sample


def check(*samples, limit=10, is_ours=False):
    return validate(samples, limit=limit, is_ours=is_ours)


def test_good_samples_pass():
    """A good sample comes through with its value as a float and its help; nothing is wrong."""
    sample = Sample("queue_depth", Decimal("2.5"), {"queue": "new"}, help="Waiting orders.")
    assert ([Sample("queue_depth", 2.5, {"queue": "new"}, help="Waiting orders.")], "") == check(sample)


BAD = {
    "not a sample": (("a", 1), "a tuple is no Sample"),
    "name": (Sample("queue-depth", 1), "'queue-depth' is not a metric name: use letters, digits and _"),
    "recording rule": (Sample("queue:depth", 1), "'queue:depth' is not a metric name: use letters, digits and _"),
    "ours": (
        Sample("otel_latency_up", 1),
        "otel_latency_up begins with otel_latency_, which is the agent's: choose another name",
    ),
    "nan": (Sample("a", float("nan")), "a is nan"),
    "infinite": (Sample("a", float("-inf")), "a is -inf"),
    "text": (Sample("a", "many"), "a has a str for a value"),
    "nothing": (Sample("a", None), "a has a NoneType for a value"),
    "too large": (Sample("a", 10**400), "a has a int for a value"),
    "label": (Sample("a", 1, {"le-x": "1"}), "a has the label 'le-x': use letters, digits and _"),
    "reserved label": (Sample("a", 1, {"__name__": "b"}), "a has the label '__name__': use letters, digits and _"),
    "counter": (Sample("a", 1, is_counter=True), "a is a counter: let its name end in _total"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_a_bad_sample_costs_itself(bad, reason):
    """What cannot be exported is dropped with a reason that names it; its neighbours pass."""
    good = Sample("good", 1.0)
    assert ([good, good], reason) == check(good, bad, good)


def test_our_own_names():
    """Our own collectors may use our prefix."""
    sample = Sample("otel_latency_host_load1", 1.0)
    assert ([sample], "") == check(sample, is_ours=True)


def test_several_faults():
    """The first fault is told, the others are counted."""
    assert ([], "a is nan (and 1 more)") == check(Sample("a", float("nan")), Sample("b", float("nan")))


def test_endless_samples():
    """A collector that never stops yielding is cut at the limit."""

    def endless():
        while True:
            yield Sample("a", 1.0)

    samples, fault = validate(endless(), limit=10, is_ours=False)
    assert (10, "more than 10 samples: the rest is dropped") == (len(samples), fault)


LABELS = {
    "number": (7, "7"),
    "lone surrogate": ("a\ud800b", "a?b"),
    "NUL": ("a\0b", "a\ufffdb"),
    "long": ("é" * 1000, "é" * 200),
}


@pytest.mark.parametrize(("value", "expected"), LABELS.values(), ids=LABELS)
def test_label_values_are_made_clean(value, expected):
    """A label value becomes text that UTF-8 can carry, of 200 characters at most."""
    [sample], fault = check(Sample("a", 1.0, {"label": value}))
    assert ({"label": expected}, "") == (sample.labels, fault)
