"""The state as bytes: what goes in comes out."""

from array import array

import pytest

from otel_latency.predict import state
from otel_latency.predict.pool import Pool
from otel_latency.predict.windows import Neighbours


def test_round_trip():
    """Names of any script, numbers to the last bit, windows in single precision."""
    pool = Pool()
    for each in range(30):
        pool.add(each / 7, 1.0, 0.3)
        pool.heed(each / 3)
    ((names, numbers, arrays),) = state.unpack(state.pack([(["model", "名前", "a/b"], pool)]))
    assert (["model", "名前", "a/b"], pool.numbers(), pool.arrays()) == (names, numbers, arrays)


def test_neighbours():
    """Restored neighbours answer the same, and forget in the same order."""
    first, second = Neighbours(20, 5, 1.0), Neighbours(20, 5, 1.0)
    for each in range(50):
        first.add(each % 7, 0.0, 0.0, float(each))
    second.restore([array("f", column) for column in first.arrays()])
    for each in range(50, 60):
        assert first.at_levels(3.0, 0.0, 0.0) == second.at_levels(3.0, 0.0, 0.0)
        for neighbours in (first, second):
            neighbours.add(each % 7, 0.0, 0.0, float(each))
    assert list(first.values) == list(second.values)


def test_where_it_is_damaged():
    """The message tells the place."""
    data = state.pack([(["everything"], Pool())])
    with pytest.raises(ValueError, match=r"damaged at byte \d+"):
        list(state.unpack(data + b"\xff\xff"))
