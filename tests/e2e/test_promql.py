"""Random expressions over random series: the values and refusals of Debian's promtool."""

import pytest
from fuzz.promql import compare

pytestmark = pytest.mark.e2e


def test_parity(require):
    """What promtool 2.42 answers is what we answer with the semantics of version 2."""
    report = compare(1500, seed=42, promtool=require("promtool", package="prometheus"))
    assert [] == report.differences
    assert report.with_elements > 600
    assert report.refusals > 50
