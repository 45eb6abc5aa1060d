"""What is sent: a notification about one group of alerts, and its form on disk.

It is made once, when the group changed, and stays as it was then, however late it is delivered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

import msgspec

from otel_latency.notify.identity import group_key
from otel_latency.records import Alert


class Reason(Enum):
    """Why somebody is told; the words are Alertmanager's."""

    FIRST = "first notification"
    NEW_ALERTS = "new alerts added"
    SOME_RESOLVED = "some alerts resolved"
    ALL_RESOLVED = "all alerts resolved"
    REPEAT = "repeat interval elapsed"


@dataclass(frozen=True, slots=True)
class Notification:
    """The alerts of one group as they stood at *time*, in Alertmanager's order; never empty.

    `receiver` is the notifier's name. `truncated` counts the alerts that were left out.
    """

    receiver: str
    group_labels: Mapping[str, str]
    alerts: Sequence[Alert]
    reason: Reason
    time: float
    truncated: int = 0

    @property
    def group_key(self) -> str:
        return group_key(self.group_labels)

    @property
    def status(self) -> str:
        """`firing` while any of its alerts is, else `resolved`."""
        return "firing" if self.firing else "resolved"

    @property
    def firing(self) -> list[Alert]:
        return [alert for alert in self.alerts if alert.is_firing]

    @property
    def resolved(self) -> list[Alert]:
        return [alert for alert in self.alerts if not alert.is_firing]

    @property
    def common_labels(self) -> dict[str, str]:
        return _common([alert.labels for alert in self.alerts])

    @property
    def common_annotations(self) -> dict[str, str]:
        return _common([alert.annotations for alert in self.alerts])

    def head(self, limit: int) -> Notification:
        """The first *limit* alerts of it; all when *limit* is 0."""
        left_out = len(self.alerts) - limit
        if not limit or left_out <= 0:
            return self
        return replace(self, alerts=self.alerts[:limit], truncated=self.truncated + left_out)


class Notifier(Protocol):
    """Delivers notifications to one place."""

    name: str

    async def notify(self, notification: Notification) -> None:
        """Return once the far side accepted it, else raise `NotifyError`."""


def encode(notification: Notification) -> bytes:
    """MessagePack: unlike JSON it has NaN and infinity."""
    return msgspec.msgpack.encode(notification)


def decode(data: bytes) -> Notification:
    """Raises msgspec.DecodeError for anything but what `encode` makes."""
    return msgspec.msgpack.decode(data, type=Notification)


def _common(maps: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *others = maps
    return {name: first[name] for name in sorted(first) if all(each.get(name) == first[name] for each in others)}
