"""The formulas of even and uneven flow, on stamps made by hand."""

from __future__ import annotations

import pytest

from otel_latency.instrument.gaps import Flow, flow, quantile

MS = 1_000_000


def test_even():
    """An even stream has one gap and no stall."""
    assert Flow(0.01, 0.01, 0.01, 0.01, 0.01, 0) == flow([0, 10 * MS, 20 * MS, 30 * MS])


def test_tokens_per_chunk():
    """With two tokens a chunk, a token takes half the distance; a silence is as long as it is."""
    assert Flow(0.005, 0.005, 0.005, 0.005, 0.01, 0) == flow([0, 10 * MS, 20 * MS], tokens_per_chunk=2.0)


def test_stall():
    """A gap of more than five medians is a stall."""
    stamps = [0, 10, 20, 30, 40, 91, 141]
    found = flow([stamp * MS for stamp in stamps])
    assert (1, 0.051, 0.01) == (found.stalls, found.longest_gap, found.gap_p50)


def test_first_wait():
    """The wait for the first token is none of it: only distances count."""
    assert flow([0, MS]) == flow([1_000 * MS, 1_001 * MS])


@pytest.mark.parametrize("stamps", [[], [5]])
def test_too_few(stamps):
    """One token has no gap."""
    assert flow(stamps) is None


@pytest.mark.parametrize(("q", "expected"), [(0, 1.0), (0.5, 2.5), (1, 4.0), (0.99, 3.97)])
def test_quantile(q, expected):
    """Quantiles lie on the line between neighbours."""
    assert expected == pytest.approx(quantile([1.0, 2.0, 3.0, 4.0], q))
