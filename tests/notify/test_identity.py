import json
from pathlib import Path

import pytest
from notify.far_side import alert

from otel_latency.notify.identity import dedup_key, fingerprint, group_key, group_labels, in_order

CAPTURED = Path(__file__).parent / "testdata" / "alertmanager_0.25_captured_payloads.jsonl"
REQUESTS = [json.loads(line) for line in CAPTURED.read_text().splitlines()]


def test_fingerprint():
    """An alert has the fingerprint that Alertmanager gave it."""
    alerts = [each for request in REQUESTS if "alerts" in request["body"] for each in request["body"]["alerts"]]
    assert alerts
    assert [each["fingerprint"] for each in alerts] == [fingerprint(each["labels"]) for each in alerts]


def test_keys():
    """A group has the key, and PagerDuty's deduplication key, that Alertmanager gave it."""
    keys = {each["body"]["groupKey"]: each["body"]["groupLabels"] for each in REQUESTS if "groupKey" in each["body"]}
    assert list(keys) == [group_key(labels) for labels in keys.values()]
    dedup = {request["body"]["dedup_key"] for request in REQUESTS if "dedup_key" in request["body"]}
    assert dedup == {dedup_key(key) for key in keys}


QUOTED = {
    'a"b\\c': r'"a\"b\\c"',
    "line\nbreak\ttab\r": r'"line\nbreak\ttab\r"',
    "\x00\x1f\x7f": r'"\x00\x1f\x7f"',
    "é✓ ü": '"é✓ ü"',
    "\u200b\u202e\U000e0001": r'"\u200b\u202e\U000e0001"',
}


@pytest.mark.parametrize(("text", "expected"), QUOTED.items())
def test_quoting(text, expected):
    """Values in a key are quoted as Go's %q quotes them."""
    assert f"{{}}:{{a={expected}}}" == group_key({"a": text})


def test_group_labels():
    """A label that the alert lacks is left out, and `...` takes all."""
    labels = {"stage": "llm", "alertname": "A"}
    assert {"alertname": "A"} == group_labels(labels, ["alertname", "pod"])
    assert labels == group_labels(labels, ["..."])
    assert {} == group_labels(labels, [])


def test_order():
    """Alerts come by job and instance, those without last, then with few labels first, then by their labels."""
    expected = [
        alert(job="a", instance="1"),
        alert(job="a", instance="2"),
        alert(job="a", a="0"),
        alert(job="b", instance="1"),
        alert(),
        alert("Z"),
        alert(b="1"),
        alert(a="1"),
        alert(a="2"),
        alert(a="1", b="1"),
    ]
    assert expected == list(in_order(reversed(expected)))
