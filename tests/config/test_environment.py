import pytest

from otel_latency.config.environment import expand, override
from otel_latency.config.tree import Text
from otel_latency.errors import ConfigError


def test_expand():
    """Variables are filled in once: what they hold is not looked at again."""
    environ = {"HOST": "example.com", "TOKEN": "${env:HOST}"}
    assert "https://example.com/${env:HOST}" == expand("https://${env:HOST}/${env:TOKEN}", environ)


@pytest.mark.parametrize("text", ["${HOST}", "${env:}", "${env:A-B}", "${env:HOST", "${"])
def test_expand_refuses_near_misses(text):
    """A `${` that begins no variable is an error, and the text is not repeated in it."""
    with pytest.raises(ValueError, match=r"^'\$\{' begins no variable here: write \$\{env:NAME\}$"):
        expand(f"c4n4ry {text}", {"HOST": "example.com"})


def test_override():
    """Two underscores separate keys; sections that the file leaves out are made."""
    tree = {"web": {"port": Text("8080"), "host": Text("localhost")}, "otlp": None}
    override(tree, {"OTEL_LATENCY_WEB__PORT": "9090", "OTEL_LATENCY_OTLP__HTTP__PORT": "1", "PATH": "/bin"})
    assert {
        "web": {"port": Text("9090", "OTEL_LATENCY_WEB__PORT"), "host": Text("localhost")},
        "otlp": {"http": {"port": Text("1", "OTEL_LATENCY_OTLP__HTTP__PORT")}},
    } == tree


def test_service_links_are_no_overrides():
    """What Kubernetes sets for a service called otel-latency changes nothing."""
    tree = {}
    override(
        tree,
        {
            "OTEL_LATENCY_PORT": "tcp://10.0.0.1:4318",
            "OTEL_LATENCY_SERVICE_HOST": "10.0.0.1",
            "OTEL_LATENCY_PORT_4318_TCP_ADDR": "10.0.0.1",
        },
    )
    assert {} == tree


def test_override_below_a_scalar():
    """A variable cannot turn a value of the file into a section."""
    expected = "OTEL_LATENCY_WEB__PORT__X: web.port: the file has no section here: write one, or unset the variable"
    with pytest.raises(ConfigError) as raised:
        override({"web": {"port": Text("c4n4ry")}}, {"OTEL_LATENCY_WEB__PORT__X": "c4n4ry"})
    assert expected == str(raised.value)
