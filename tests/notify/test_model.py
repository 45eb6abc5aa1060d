import math
from dataclasses import replace

from notify.far_side import alert, notification, resolved

from otel_latency.notify.model import decode, encode


def test_status():
    """A notification fires while any of its alerts does."""
    firing, over = alert(), resolved(alert(pod="b"))
    both = notification(firing, over)
    assert ("firing", [firing], [over]) == (both.status, both.firing, both.resolved)
    assert "resolved" == notification(over).status


def test_common():
    """Common is what every alert has, with the same value."""
    one = alert(stage="llm", pod="a")
    other = replace(alert(stage="llm", pod="b"), annotations={"summary": "p99 2s", "description": "d"})
    both = notification(one, other)
    assert {"alertname": "P99High", "stage": "llm"} == both.common_labels
    assert {"summary": "p99 2s"} == both.common_annotations


def test_head():
    """What is left out is counted, and 0 leaves nothing out."""
    three = notification(*(alert(pod=pod) for pod in "abc"))
    assert (three.alerts[:1], 2) == (three.head(1).alerts, three.head(1).truncated)
    assert [three, three] == [three.head(0), three.head(3)]


def test_disk_form():
    """What is written to disk comes back equal, also when a value is no number."""
    assert math.isnan(decode(encode(notification(replace(alert(), value=math.nan)))).alerts[0].value)
    one = replace(notification(replace(alert(pod="✓"), value=math.inf), resolved(alert())), truncated=3)
    back = decode(encode(one))
    assert one == replace(back, alerts=tuple(back.alerts))
