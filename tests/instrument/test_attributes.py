"""What a span can carry is kept as it is; what it cannot is left out."""

from __future__ import annotations

import pytest

from otel_latency.instrument.attributes import MAX_ITEMS, carried, seconds
from otel_latency.instrument.guard import guard


class Untouchable:
    """An object that must be neither printed, compared nor measured."""

    def __repr__(self):
        raise AssertionError("printed")

    __str__ = __len__ = __eq__ = __repr__
    __hash__ = None


def test_scalars_and_lists_are_kept():
    """Text, numbers, booleans and lists of one of them."""
    values = {"a": "x", "b": 1, "c": 2.5, "d": True, "e": ["x", "y"], "f": (1, 2), "g": []}
    assert values == carried(values)


@pytest.mark.parametrize(
    "value", [Untouchable(), {"a": 1}, [1, "x"], [True, 1], [Untouchable()], [1] * (MAX_ITEMS + 1), b"x", 1j]
)
def test_others_are_left_out_and_counted(value):
    """An object is never asked for its text."""
    guard.faults.clear()
    assert {"kept": 1} == carried({"other": value, "kept": 1})
    assert {"attribute": 1} == guard.faults


def test_none_says_nothing():
    """A value that is not known is no fault."""
    guard.faults.clear()
    assert {} == carried({"model": None})
    assert {} == guard.faults


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), (0.5, 0.5), (None, None), ("soon", None)])
def test_seconds(value, expected):
    """Only a number is a limit."""
    assert expected == seconds(value)
