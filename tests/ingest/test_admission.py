import pytest

from otel_latency.errors import Overloaded
from otel_latency.ingest.admission import Admission, Connections


def test_budget():
    """Requests share the budget; what does not fit is refused and what is given back fits again."""
    admission = Admission(100)
    with admission.share() as first, admission.share() as second:
        first.grow(60)
        second.grow(40)
        with pytest.raises(Overloaded):
            second.grow(1)
        assert admission.in_flight == 100
        first.shrink_to(10)
        second.grow(50)
    assert admission.in_flight == 0


def test_announced():
    """Announcing a size holds nothing."""
    admission = Admission(100)
    with admission.share() as first, admission.share() as second:
        first.check(100)
        second.grow(80)
        with pytest.raises(Overloaded):
            first.check(21)
    assert admission.in_flight == 0


def test_alone():
    """A request that is alone is admitted at any size, or it would be refused for ever."""
    admission = Admission(100)
    with admission.share() as share:
        share.grow(60)
        share.grow(60)
        assert admission.in_flight == 120


def test_released_on_error():
    """A request that fails gives back what it held."""
    admission = Admission(100)

    def fail():
        with admission.share() as share:
            share.grow(60)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert admission.in_flight == 0


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)])
def test_retry_after(random, seconds):
    """The refused come back after one to two seconds, spread at random."""
    assert Admission(1, jitter=lambda: random).overloaded("full").retry_after == seconds


def test_oldest_is_replaced():
    """When all places are taken, a newcomer gets that of the connection longest without a completed request."""
    connections = Connections(limit=2, patience=1.0)
    connections.add("a", "127.0.0.1", now=0.0)
    connections.add("b", "127.0.0.1", now=1.0)
    connections.completed("a", now=2.0)
    assert connections.add("c", "127.0.0.1", now=3.0) == "b"
    assert connections.add("d", "127.0.0.1", now=3.5) == "a"
    assert len(connections) == 2


def test_flood():
    """Newcomers cannot push out a connection that was busy within the last second."""
    connections = Connections(limit=1, patience=1.0)
    connections.add("a", "127.0.0.1", now=0.0)
    with pytest.raises(Overloaded):
        connections.add("b", "127.0.0.1", now=0.9)
    assert connections.add("b", "127.0.0.1", now=1.0) == "a"


def test_per_peer():
    """One remote address has a few places; loopback, where all processes of a pod meet, has them all."""
    connections = Connections(limit=10, per_peer=2)
    for number in range(2):
        connections.add(number, "192.0.2.1", now=0.0)
    with pytest.raises(Overloaded):
        connections.add(2, "192.0.2.1", now=5.0)
    connections.add(3, "192.0.2.2", now=5.0)
    for number in range(10, 16):
        connections.add(number, "127.0.0.1", now=5.0)
    connections.remove(0)
    connections.remove(0)
    connections.add(4, "192.0.2.1", now=5.0)
    assert len(connections) == 9


def test_completed_after_close():
    """An answer on a connection that is gone does not bring it back."""
    connections = Connections()
    connections.completed("gone", now=1.0)
    assert len(connections) == 0
