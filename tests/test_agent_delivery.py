"""What the agent makes of accepted requests besides keeping them; `e2e.test_delivery` has the rest."""

from payload import Batch

from otel_latency.agent_delivery import Delivery, without_content
from otel_latency.config.sections import Config, Store
from otel_latency.records import MetricKind, MetricPoint, Resource, Signal
from otel_latency.testing import FakeClock

NOW_NS = 1_700_000_000_000_000_000


def point(**attributes):
    attributes = {key.replace("__", "."): value for key, value in attributes.items()}
    return MetricPoint("depth", "", "", MetricKind.GAUGE, Resource("shop", "", "", {}), attributes, 0, 1)


def test_without_content():
    """What was said becomes no label, under whatever key; everything else is as it was."""
    plain = point(queue="main", inputs=3)
    said = point(queue="main", input="hello", gen_ai__prompt__0__content=["hello"], lk__user_input="hello")
    shown = without_content([plain, said])
    assert plain is shown[0]
    assert point(queue="main") == shown[1]


async def test_is_pressed(tmp_path):
    """When a quarter of the log waits for the history to be written, that is told, until it was."""
    delivery = Delivery(Config(store=Store(log_bytes=4 << 20)), tmp_path, clock=FakeClock(), reached=lambda _: None)
    assert not delivery.is_pressed
    await delivery.start(0, lambda *_, **__: 0, lambda *_, **__: None)
    batch = Batch(spans=512)
    positions = []
    while not delivery.is_pressed:
        body = batch.fresh(NOW_NS + len(positions))
        positions.append(await delivery.keep(Signal.TRACES, body, is_json=False, items=512, then=lambda: None))
    assert 1 << 20 <= delivery.log.size_bytes <= (1 << 20) + len(body)
    delivery.written(positions[-1])
    assert not delivery.is_pressed
    await delivery.close()
