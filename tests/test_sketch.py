"""The sketch keeps its promise: exact while small, within 0.55 % beyond, and the same in any order of merging."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.sketch import EXACT_LIMIT, WRITTEN_EXACT, Sketch, bucket_bounds, bucket_index, nearest_rank

QUANTILES = (0.5, 0.9, 0.99, 0.999)
BOUND = 0.0055

DISTRIBUTIONS = {
    "lognormal": lambda r: r.lognormvariate(-0.9, 0.9),
    "bimodal": lambda r: r.gauss(0.008, 0.001) if r.random() < 0.6 else r.gauss(2.5, 0.3),
    "pareto": lambda r: r.paretovariate(1.2),
    "uniform": lambda r: r.uniform(1e-9, 1e-6),
    "constant": lambda _: 0.25,
    "huge": lambda r: 10 ** r.uniform(10, 200),
}


def sample(name: str, count: int) -> list[float]:
    draw, source = DISTRIBUTIONS[name], random.Random(name)
    return [abs(draw(source)) or 1e-9 for _ in range(count)]


def exact(values: list[float], q: float) -> float:
    return sorted(values)[max(1, math.ceil(round(q * len(values), 6))) - 1]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [251, 1_000, 30_000])
def test_quantiles_are_within_the_bound(name, count):
    """Every quantile of a large sketch is within 0.55 % of the exact nearest rank."""
    values = sample(name, count)
    sketch = Sketch(values)
    assert not sketch.is_exact
    for q in QUANTILES:
        assert sketch.quantile(q) == pytest.approx(exact(values, q), rel=BOUND)


@pytest.mark.parametrize("count", [1, 2, 99, EXACT_LIMIT])
def test_small_sketches_are_exact(count):
    """Up to the limit a quantile is one of the values."""
    values = sample("lognormal", count)
    assert [Sketch(values).quantile(q) for q in QUANTILES] == [exact(values, q) for q in QUANTILES]


@pytest.mark.parametrize("name", ["lognormal", "bimodal", "pareto"])
def test_merging_in_any_order_gives_the_same_buckets(name):
    """Merged parts, in any order and grouping, equal one sketch that saw everything."""
    values = sample(name, 20_000)
    source = random.Random(7)
    cuts = sorted(source.sample(range(len(values)), 60))
    parts = [Sketch(values[a:b]) for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
    source.shuffle(parts)
    while len(parts) > 1:
        taken = parts.pop(source.randrange(len(parts)))
        parts[source.randrange(len(parts))].merge(taken)
    whole = Sketch(values)
    assert parts[0].bucket_counts() == whole.bucket_counts()
    assert parts[0].count == whole.count
    assert parts[0].sum == pytest.approx(whole.sum)
    assert (parts[0].minimum, parts[0].maximum) == (whole.minimum, whole.maximum)
    assert [parts[0].quantile(q) for q in QUANTILES] == [whole.quantile(q) for q in QUANTILES]


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), max_size=700), st.integers(0, 700))
def test_adding_one_by_one_or_in_bulk_is_the_same(values, cut):
    """`add` and `extend` count alike, and a copy is independent."""
    one, bulk = Sketch(), Sketch(values[:cut])
    for value in values:
        one.add(value)
    before = bulk.copy()
    bulk.extend(values[cut:])
    assert one.bucket_counts() == bulk.bucket_counts()
    assert one.non_positive_count() == bulk.non_positive_count()
    assert one.count == bulk.count == len(values)
    assert before.count == len(values[:cut])


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_a_value_lies_within_its_bucket(value):
    """Bucket k holds the values above its lower and up to its upper bound."""
    low, high = bucket_bounds(bucket_index(value))
    assert low * (1 - 1e-12) < value <= high * (1 + 1e-12)


def test_packing_changes_nothing_but_the_room():
    """A packed sketch answers, merges and grows as before."""
    values = sample("lognormal", 2_000)
    packed, plain = Sketch(values), Sketch(values)
    packed.pack()
    assert packed.bucket_counts() == plain.bucket_counts()
    assert packed.quantile(0.9) == plain.quantile(0.9)
    for sketch in (packed, plain):
        sketch.merge(Sketch(values[:300]))
        sketch.add(1.5)
    assert packed.bucket_counts() == plain.bucket_counts()


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), max_size=400), st.booleans())
def test_written_and_read(values, is_packed):
    """A sketch comes back with the same counts, and answers within the bound."""
    sketch = Sketch(values)
    if is_packed:
        sketch.pack()
    twin = Sketch.from_bytes(sketch.to_bytes())
    assert sketch.bucket_counts() == twin.bucket_counts()
    assert sketch.non_positive_count() == twin.non_positive_count()
    assert (sketch.count, sketch.sum) == (twin.count, pytest.approx(twin.sum))
    assert (sketch.minimum, sketch.maximum) == (twin.minimum, twin.maximum)
    if len(values) <= WRITTEN_EXACT:
        assert sketch.values == twin.values


@pytest.mark.parametrize("more", [1, 30, 400])
def test_a_small_sketch_that_was_read_grows_as_any_other(more):
    """Merging with it, adding to it and packing it keep every value, though it is small and not exact."""
    values, others = sample("lognormal", 40), sample("pareto", more)
    read = Sketch.from_bytes(Sketch(values).to_bytes())
    read.pack()
    read.extend(others[:1])
    read.pack()
    for value in others[1:]:
        read.add(value)
    merged = Sketch(others)
    merged.merge(Sketch.from_bytes(Sketch(values).to_bytes()))
    whole = Sketch(values + others)
    assert whole.bucket_counts() == read.bucket_counts() == merged.copy().bucket_counts()
    assert whole.count == read.count == merged.count


def test_counts_of_any_size_are_written():
    """Counts beyond a byte take more of them, and few bytes at that."""
    sketch = Sketch([0.25] * 300 + [0.5])
    for _ in range(30):
        sketch.merge(sketch.copy())
    written = sketch.to_bytes()
    assert sketch.bucket_counts() == Sketch.from_bytes(written).bucket_counts()
    assert len(written) < 80


WRITTEN = Sketch(sample("bimodal", 900)).to_bytes()


@pytest.mark.parametrize(
    "bad", [b"", b"v123", b"x" + WRITTEN[1:], WRITTEN[:30], WRITTEN[:-9], WRITTEN[:41] + b"\xff" * 50]
)
def test_other_bytes_are_no_sketch(bad):
    """What `to_bytes` never wrote is refused."""
    with pytest.raises(ValueError):
        Sketch.from_bytes(bad)


def test_values_at_or_below_zero_share_a_bucket():
    """Durations of zero are counted, and rank below every other."""
    sketch = Sketch([0.0] * 300 + [-1.0] + [1.0] * 99)
    assert sketch.non_positive_count() == 301
    assert sketch.quantile(0.5) == 0.0
    assert sketch.quantile(0.99) == pytest.approx(1.0, rel=BOUND)


def test_an_empty_sketch_has_no_quantile():
    """Nothing seen, nothing claimed."""
    assert math.isnan(Sketch().quantile(0.5))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused(bad):
    """NaN and infinities raise, and leave the sketch as it was."""
    sketch = Sketch([1.0])
    with pytest.raises(ValueError, match="finite"):
        sketch.add(bad)
    with pytest.raises(ValueError, match="finite"):
        sketch.extend([2.0, bad])
    assert sketch.count == 1


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_quantiles_outside_0_to_1_are_refused(q):
    """A quantile is a share."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sketch([1.0]).quantile(q)


@pytest.mark.parametrize(
    ("q", "count", "rank"), [(0.5, 4, 2), (0.07, 100, 7), (0.99, 100, 99), (0.0, 5, 1), (1.0, 5, 5)]
)
def test_nearest_rank(q, count, rank):
    """The smallest rank whose share reaches q."""
    assert nearest_rank(q, count) == rank
