"""Shared by the notifiers' tests."""

import pytest
from notify.far_side import NOW, Server, serving

from otel_latency.testing import FakeClock


@pytest.fixture
async def server():
    made = Server()
    async with serving(made.handle) as made.port:
        yield made


@pytest.fixture
def clock():
    return FakeClock(NOW)
