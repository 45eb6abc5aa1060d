"""What the tests of the library share."""

from __future__ import annotations

import pytest
from opentelemetry.context import Context, attach, get_current

from otel_latency.instrument.guard import guard
from otel_latency.testing import capture_spans


@pytest.fixture
def spans():
    """The spans that end during the test, in a context of its own; none of our faults may have been swallowed."""
    outside = get_current()
    attach(Context())
    guard.faults.clear()
    with capture_spans() as ended:
        yield ended
    attach(outside)
    assert dict(guard.faults) == {}
