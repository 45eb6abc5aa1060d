"""What the agent makes of accepted requests besides keeping them; `e2e.test_delivery` has the rest."""

from otel_latency.agent_delivery import without_content
from otel_latency.records import MetricKind, MetricPoint, Resource


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
