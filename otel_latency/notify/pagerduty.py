"""PagerDuty, Events API v2: one incident per group, opened while any of its alerts fires and closed with the last one.

The deduplication key is made from the group, so whatever is sent twice is one incident.
"""

from __future__ import annotations

from typing import Final

from otel_latency.config.values import Secret
from otel_latency.notify.client import Client
from otel_latency.notify.identity import dedup_key
from otel_latency.notify.message import listing, plain, title
from otel_latency.notify.model import Notification
from otel_latency.notify.webhook import to_json

MAX_BODY: Final = 512_000
_MAX_DETAILS: Final = 20_000
_SEVERITIES: Final = {"critical": "critical", "page": "critical", "warning": "warning", "info": "info"}
_TOO_LARGE: Final = "Custom details have been removed because the original event exceeds the maximum size of 512KB"


class PagerDuty:
    def __init__(self, name: str, client: Client, routing_key: Secret, url: Secret, *, external_url: str = "") -> None:
        self.name = name
        self._client = client
        self._routing_key = routing_key
        self._url = url
        self._external_url = external_url

    async def notify(self, notification: Notification) -> None:
        event = body(notification, self._external_url)
        data = self._encoded(event)
        if len(data) > MAX_BODY:
            data = self._encoded(without_details(event))
        await self._client.post(self._url, data)

    def _encoded(self, event: dict[str, object]) -> bytes:
        return to_json({"routing_key": self._routing_key.reveal(), **event})


def body(notification: Notification, external_url: str) -> dict[str, object]:
    """All but the routing key, in Alertmanager's keys and order; `details` is ours."""
    labels = notification.common_labels
    payload = {
        "summary": title(notification),
        "source": labels.get("service") or "otel-latency",
        "severity": _SEVERITIES.get(labels.get("severity", ""), "error"),
        "custom_details": {
            "firing": listing(notification.firing),
            "num_firing": str(len(notification.firing)),
            "num_resolved": str(len(notification.resolved)),
            "resolved": listing(notification.resolved),
            "details": plain(notification, _MAX_DETAILS),
        },
    }
    return {
        "dedup_key": dedup_key(notification.group_key),
        "event_action": "trigger" if notification.firing else "resolve",
        "payload": payload,
        "client": "otel-latency",
        "client_url": external_url,
    }


def without_details(event: dict[str, object]) -> dict[str, object]:
    payload = event["payload"]
    assert isinstance(payload, dict)
    return {**event, "payload": {**payload, "custom_details": {"error": _TOO_LARGE}}}
