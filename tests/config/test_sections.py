import pytest

from otel_latency.config.sections import (
    DEFAULT_TARGETS,
    OTLP,
    Check,
    Collect,
    Config,
    Duration,
    GRPCReceiver,
    HTTPReceiver,
    LatencyTarget,
    Misfit,
    Web,
)


def test_listeners_may_share_port_zero():
    """Port 0 means any free port, and a listener that is off takes none."""
    zero = OTLP(http=HTTPReceiver(port=0), grpc=GRPCReceiver(port=0))
    assert (0, 0) == (Config(otlp=zero, web=Web(port=0)).otlp.http.port, zero.grpc.port)
    assert 4317 == Config(otlp=OTLP(grpc=GRPCReceiver(enabled=False)), web=Web(port=4317)).web.port


CLASHES = {
    "web.port": lambda: Config(web=Web(port=4318)),
    "otlp.grpc.port": lambda: Config(otlp=OTLP(grpc=GRPCReceiver(port=4318))),
    "checks[2].name": lambda: Collect(checks=[Check(name=name, tcp="db:5432") for name in ("a", "b", "a")]),
    "": lambda: Check(name="a"),
}


@pytest.mark.parametrize(("key", "make"), CLASHES.items())
def test_misfits(key, make):
    """What does not fit together names the key to change."""
    with pytest.raises(Misfit) as raised:
        make()
    assert key == raised.value.key


def test_targets_take_the_place_of_defaults():
    """An entry is all that holds for its name, an empty one takes the default away, and the others stay."""
    stt = LatencyTarget(critical=Duration(0.4))
    config = Config(targets={"stt": stt, "llm": LatencyTarget()})
    assert {**DEFAULT_TARGETS, "stt": stt, "llm": LatencyTarget()} == config.targets
