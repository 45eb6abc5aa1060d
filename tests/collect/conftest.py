"""Shared by the collectors' tests."""

import pytest

from otel_latency.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def by_series():
    """Samples as a dict from `name` or `name{label values}` to value, without our prefix."""

    def convert(samples):
        return {
            sample.name.removeprefix("otel_latency_")
            + ("{" + ",".join(sample.labels.values()) + "}" if sample.labels else ""): sample.value
            for sample in samples
        }

    return convert
