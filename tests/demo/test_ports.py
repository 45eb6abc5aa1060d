import socket

import pytest

from otel_latency.demo.ports import Place, settle


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_free_port_is_kept(taken):
    """A port that is free is used as configured, and is free again for the agent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    place = settle({"web": ("127.0.0.1", free)})["web"]
    assert Place("web", "127.0.0.1", free, free) == place
    socket.create_server(("127.0.0.1", place.port)).close()


def test_taken_port_is_replaced(taken):
    """A port that is taken is replaced by a free one, with the reason and the variable that chooses another."""
    place = settle({"otlp.http": ("127.0.0.1", taken)})["otlp.http"]
    assert ("taken", taken) == (place.refusal, place.wanted)
    assert place.port not in (0, taken)
    assert "OTEL_LATENCY_OTLP__HTTP__PORT" == place.variable


def test_any_port():
    """Who wants any port gets one, without a word, and nobody gets the same."""
    places = settle(dict.fromkeys(("web", "otlp.http", "otlp.grpc"), ("127.0.0.1", 0)))
    assert {""} == {place.refusal for place in places.values()}
    assert 3 == len({place.port for place in places.values()} - {0})


def test_wrong_host():
    """A host that is not ours is left to the agent, which says what is wrong with it."""
    assert Place("web", "203.0.113.9", 8080, 8080) == settle({"web": ("203.0.113.9", 8080)})["web"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_url(host, url):
    """The address to open is one that can be opened."""
    assert url == Place("web", host, 80, 80).url
