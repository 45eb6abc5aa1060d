"""What Alertmanager 0.25 sent is what we send for the same alerts, key order included, but for who we are."""

import json
from pathlib import Path

import pytest

from otel_latency.notify import pagerduty, slack, webhook
from otel_latency.notify.message import listing
from otel_latency.notify.model import Notification, Reason
from otel_latency.records import Alert

CAPTURED = Path(__file__).parent / "testdata" / "alertmanager_0.25_captured_payloads.jsonl"
REQUESTS = [json.loads(line) for line in CAPTURED.read_text().splitlines()]
EXTERNAL_URL = "http://alertmanager.example:9093"


def captured(path):
    return [request["body"] for request in REQUESTS if request["path"] == path]


def seconds(text):
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def rebuilt(body, alerts=None):
    """The notification that a captured webhook tells of."""
    read = tuple(
        Alert(
            each["labels"],
            each["annotations"],
            seconds(each["startsAt"]),
            0.0 if each["status"] == "firing" else seconds(each["endsAt"]),
            each["status"] == "firing",
            2.0,
            each["generatorURL"],
        )
        for each in (alerts or body["alerts"])
    )
    time = max(seconds(each["startsAt"]) for each in body["alerts"])
    return Notification("all", body["groupLabels"], read, Reason.FIRST, time)


WEBHOOKS = captured("/webhook")


@pytest.mark.parametrize("expected", WEBHOOKS)
def test_webhook(expected):
    """Equal to the byte: keys, their order, and times."""
    ours = webhook.to_json(webhook.body(rebuilt(expected), EXTERNAL_URL))
    assert json.dumps(expected, separators=(",", ":")).encode() == ours


@pytest.mark.parametrize(("full", "expected"), list(zip(WEBHOOKS, captured("/webhook_max1"), strict=True)))
def test_webhook_cut_to_one(full, expected):
    """What `max_alerts` leaves out is counted, and what is common is common to the rest."""
    assert expected == webhook.body(rebuilt(full).head(1), EXTERNAL_URL)


@pytest.mark.parametrize(("source", "expected"), list(zip(WEBHOOKS, captured("/slack"), strict=True)))
def test_slack(source, expected):
    """The same but for the user name and the text."""
    link = f"{EXTERNAL_URL}/#/alerts?receiver=all"
    ours = slack.body(rebuilt(source), "#x", link)
    assert [list(expected), list(expected["attachments"][0])] == [list(ours), list(ours["attachments"][0])]
    (attachment,) = ours["attachments"]
    assert attachment["text"]
    assert expected == {**ours, "username": "Alertmanager", "attachments": [{**attachment, "text": ""}]}


@pytest.mark.parametrize(("source", "expected"), list(zip(WEBHOOKS, captured("/pagerduty"), strict=True)))
def test_pagerduty(source, expected):
    """The same but for source, severity (ours follows the label), client, and details of our own."""
    ours = {"routing_key": "rk", **pagerduty.body(rebuilt(source), "")}
    payload, details = ours["payload"], dict(ours["payload"]["custom_details"])
    assert (list(expected), "critical") == (list(ours), payload["severity"])
    assert details.pop("details")
    theirs = expected["payload"]
    assert theirs == {**payload, "source": "Alertmanager", "severity": "error", "custom_details": details}
    assert [expected[key] for key in ("dedup_key", "event_action")] == [
        ours[key] for key in ("dedup_key", "event_action")
    ]


def test_listing():
    """Alerts are listed as Alertmanager lists them, the alert's name first."""
    labels = {"a": "1", "alertname": "A"}
    alert = Alert(labels, {"summary": "s"}, 0.0, 0.0, True, 1.0, "http://agent/rule")
    expected = "Labels:\n - alertname = A\n - a = 1\nAnnotations:\n - summary = s\nSource: http://agent/rule\n"
    assert expected == listing([alert])


def test_receiver_is_quoted():
    """The receiver is quoted as a pattern, as Alertmanager does it."""
    one = rebuilt(WEBHOOKS[0])
    quoted = webhook.body(Notification("a.b-c (x)", {}, one.alerts, Reason.FIRST, 0.0), "")["receiver"]
    assert r"a\.b-c \(x\)" == quoted


TIMES = {1700000000.0: "2023-11-14T22:13:20Z", 1700000000.25: "2023-11-14T22:13:20.25Z", 0.9996: "1970-01-01T00:00:01Z"}


@pytest.mark.parametrize(("when", "expected"), TIMES.items())
def test_times(when, expected):
    """Times are written as Go writes them, to the millisecond."""
    assert expected == webhook.rfc3339(when)
