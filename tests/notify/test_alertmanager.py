import pytest
from notify.far_side import NOW, alert, notification, resolved

from otel_latency.config.values import Secret
from otel_latency.notify.alertmanager import Alertmanager, body
from otel_latency.notify.client import Client


@pytest.fixture
async def alertmanager(clock, server):
    client = Client(clock)
    yield Alertmanager("am", client, Secret(server.url("/am/").reveal()), clock)
    await client.close()


def test_body():
    """A firing alert ends four minutes from now, a resolved one when it did; what is empty is left out."""
    one = alert("A", stage="", starts_at=NOW)
    firing, over = body([one, resolved(one)], NOW + 100)
    assert {
        "labels": {"alertname": "A"},
        "annotations": {"summary": "p99 2s"},
        "startsAt": "2023-11-14T22:13:20Z",
        "endsAt": "2023-11-14T22:19:00Z",
        "generatorURL": "http://agent/rule",
    } == firing
    assert {**firing, "endsAt": "2023-11-14T22:13:53Z"} == over


def test_end_after_start():
    """An alert that resolves as it fires still ends after its start, or it would be refused."""
    (over,) = body([resolved(alert("A", starts_at=NOW), ends_at=NOW)], NOW)
    assert ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.001Z") == (over["startsAt"], over["endsAt"])


async def test_batches(alertmanager, server):
    """Alerts are sent to the API below the page's address, in batches of 256."""
    await alertmanager.notify(notification(*(alert("A", pod=str(pod)) for pod in range(600))))
    assert [256, 256, 88] == [len(sent) for _, _, sent in server.requests]
    assert {"/am/api/v2/alerts"} == {path for path, _, _ in server.requests}
