import json

import pytest
from notify.far_side import alert, notification, resolved

from otel_latency.config.values import Secret
from otel_latency.notify.client import Client
from otel_latency.notify.pagerduty import MAX_BODY, PagerDuty, body

A, B = alert("A", pod="a"), alert("A", pod="b")


@pytest.fixture
async def pagerduty(clock, server):
    client = Client(clock)
    yield PagerDuty("pd", client, Secret("key"), server.url(), external_url="http://agent.example.com")
    await client.close()


def test_resolve_only_when_all_is_over():
    """An incident stays open while one alert of the group fires, under one key."""
    steps = [notification(A, B), notification(resolved(A), B), notification(resolved(A), resolved(B))]
    events = [body(step, "") for step in steps]
    assert ["trigger", "trigger", "resolve"] == [event["event_action"] for event in events]
    assert 1 == len({event["dedup_key"] for event in events})


SEVERITIES = {"critical": "critical", "page": "critical", "warning": "warning", "info": "info", "p1": "error"}


@pytest.mark.parametrize(("label", "expected"), SEVERITIES.items())
def test_severity(label, expected):
    """The severity follows the label, and is `error` where PagerDuty has no such word."""
    assert expected == body(notification(alert(severity=label)), "")["payload"]["severity"]


async def test_event(pagerduty, server):
    """The event holds the key, and where the agent is found."""
    await pagerduty.notify(notification(alert(service="bot")))
    event = server.requests[0][2]
    assert ("key", "bot", "http://agent.example.com") == (
        event["routing_key"],
        event["payload"]["source"],
        event["client_url"],
    )


async def test_large_event(pagerduty, server):
    """An event that PagerDuty would refuse for its size goes without details."""
    await pagerduty.notify(notification(*(alert("A", pod=str(pod), x="✓" * 200) for pod in range(1000))))
    event = server.requests[0][2]
    assert len(json.dumps(event)) < MAX_BODY
    assert list(event["payload"]["custom_details"]) == ["error"]
    assert "[FIRING:1000] A" in event["payload"]["summary"]
