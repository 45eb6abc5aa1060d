"""Errors that cross process boundaries and meet `except` clauses that were written without us."""

from __future__ import annotations

import pickle

import pytest

from otel_latency.errors import CircuitOpen, OtelLatencyError, StageTimeout

ERRORS = {
    "stage": (StageTimeout("stage tts", 1.5), TimeoutError, "stage tts took longer than its timeout of 1.5 s"),
    "circuit": (
        CircuitOpen("openai", 12.0),
        ConnectionError,
        "openai is not called: its circuit is open for another 12 s",
    ),
}


@pytest.mark.parametrize(("error", "builtin", "text"), ERRORS.values(), ids=ERRORS)
def test_what_a_caller_would_catch(error, builtin, text):
    """Each is the builtin that a caller expects, says what happened, and survives a process pool."""
    assert isinstance(error, builtin)
    assert isinstance(error, OtelLatencyError)
    assert text == str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(error), text, vars(error)) == (type(again), str(again), vars(again))
