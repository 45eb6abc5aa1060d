"""Alertmanager, API v2: hands alerts on, and leaves grouping, silences and receivers to it.

Alertmanager forgets what it does not hear of: so firing alerts are sent again every minute, with an end four minutes
ahead, and resolved ones for `KEEP_RESOLVED` more. Alerts that flap it damps itself, by its `group_interval`. `policy`
says so to the stages before this one.

A batch of which some alerts are refused counts as refused, for good; Alertmanager has taken the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from otel_latency.clock import Clock
from otel_latency.config.values import Secret
from otel_latency.notify.client import Client
from otel_latency.notify.dedup import Policy
from otel_latency.notify.model import Notification
from otel_latency.notify.webhook import rfc3339, to_json
from otel_latency.records import Alert

RESEND: Final = 60.0
KEEP_RESOLVED: Final = 6 * 60.0
_VALID: Final = 4 * RESEND
_BATCH: Final = 256
_PATH: Final = "/api/v2/alerts"


class Alertmanager:
    """*url* is the address that its web page has."""

    def __init__(self, name: str, client: Client, url: Secret, clock: Clock) -> None:
        self.name = name
        self._client = client
        self._url = Secret(url.reveal().rstrip("/") + _PATH)
        self._clock = clock

    async def notify(self, notification: Notification) -> None:
        for batch in _batches(notification.alerts):
            await self._client.post(self._url, to_json(body(batch, self._clock.time())))


def policy(group_wait: float) -> Policy:
    """How this notifier wants to be told, whatever else is configured."""
    return Policy(group_wait, RESEND, send_resolved=True, keep_resolved=KEEP_RESOLVED, flap_interval=0.0)


def body(alerts: Sequence[Alert], now: float) -> list[dict[str, object]]:
    return [_alert(alert, now) for alert in alerts]


def _alert(alert: Alert, now: float) -> dict[str, object]:
    source = alert.generator_url
    return {
        "labels": {name: value for name, value in alert.labels.items() if value},
        "annotations": {name: value for name, value in alert.annotations.items() if value},
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(now + _VALID if alert.is_firing else max(alert.ends_at, alert.starts_at + 0.001)),
        **({"generatorURL": source} if source.startswith(("http://", "https://")) else {}),
    }


def _batches(alerts: Sequence[Alert]) -> Iterator[Sequence[Alert]]:
    for start in range(0, len(alerts), _BATCH):
        yield alerts[start : start + _BATCH]
