import pytest

from otel_latency.store.schema import connect, prepare


@pytest.fixture
def connection():
    """An empty history in memory."""
    opened = connect(":memory:")
    prepare(opened)
    yield opened
    opened.close()
