"""Webhook: Alertmanager's JSON, version 4, to any address; who reads Alertmanager's webhooks reads ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from otel_latency.config.values import Secret
from otel_latency.notify.client import Client
from otel_latency.notify.identity import fingerprint
from otel_latency.notify.model import Notification
from otel_latency.records import Alert

_NEVER: Final = "0001-01-01T00:00:00Z"


class Webhook:
    """Accepted is what is answered with a status from 200 to 299. *max_alerts* 0 sends all of a group."""

    def __init__(
        self,
        name: str,
        client: Client,
        url: Secret,
        *,
        headers: Mapping[str, Secret] | None = None,
        max_alerts: int = 0,
        external_url: str = "",
    ) -> None:
        self.name = name
        self._client = client
        self._url = url
        self._headers = headers or {}
        self._max_alerts = max_alerts
        self._external_url = external_url

    async def notify(self, notification: Notification) -> None:
        content = body(notification.head(self._max_alerts), self._external_url)
        await self._client.post(self._url, to_json(content), self._headers)


def body(notification: Notification, external_url: str) -> dict[str, object]:
    """The keys are in the order in which Alertmanager writes them."""
    return {
        "receiver": re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", notification.receiver),
        "status": notification.status,
        "alerts": [_alert(alert) for alert in notification.alerts],
        "groupLabels": dict(sorted(notification.group_labels.items())),
        "commonLabels": notification.common_labels,
        "commonAnnotations": notification.common_annotations,
        "externalURL": external_url,
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": notification.truncated,
    }


def to_json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def rfc3339(seconds: float) -> str:
    """UTC to the millisecond, without zeros at the end, as Go prints it."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    fraction = f".{milliseconds:03d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _alert(alert: Alert) -> dict[str, object]:
    return {
        "status": "firing" if alert.is_firing else "resolved",
        "labels": dict(sorted(alert.labels.items())),
        "annotations": dict(sorted(alert.annotations.items())),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": _NEVER if alert.is_firing else rfc3339(alert.ends_at),
        "generatorURL": alert.generator_url,
        "fingerprint": fingerprint(alert.labels),
    }
