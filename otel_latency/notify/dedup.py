"""When a group is worth telling about, and when not: pure, with the time as an argument.

Told are: the first alert, each that joins, each that resolves, and, while nothing changes, one repeat per interval. A
group of which all is resolved is told once and forgotten. With a `group_wait` the first notification waits for more
alerts, and an alert that comes and goes while it waits is never told; without one, every change is.

Waits compare wall clocks by distance, so a clock that is set back cannot hold anything up for longer than the wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from otel_latency.notify.model import Reason
from otel_latency.records import Alert


@dataclass(frozen=True, slots=True)
class Policy:
    """How one notifier is told. `keep_resolved`: seconds for which a resolved alert is part of the repeats."""

    group_wait: float = 0.0
    repeat_interval: float = 4 * 3600.0
    send_resolved: bool = True
    keep_resolved: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """What is known of one group, and what of it has been told. Alerts are kept by fingerprint.

    `told` are the alerts last told as firing; `told_at` is None until there was a notification.
    """

    labels: Mapping[str, str]
    opened_at: float
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    told_at: float | None = None

    @property
    def firing(self) -> frozenset[str]:
        return frozenset(name for name, alert in self.alerts.items() if alert.is_firing)


def hear(group: Group, alerts: Mapping[str, Alert]) -> Group:
    """Take in news, at most one per alert."""
    known = dict(group.alerts)
    for name, alert in alerts.items():
        before = known.get(name)
        is_end = before is not None and before.is_firing and alert.ends_at >= before.starts_at
        if alert.is_firing or is_end:
            known[name] = alert
    return replace(group, alerts=known)


def reason(group: Group, policy: Policy, now: float) -> Reason | None:
    """Why the group is to be told now; None when it is not."""
    firing = group.firing
    if group.told_at is None:
        is_waiting = abs(now - group.opened_at) < policy.group_wait
        return Reason.FIRST if firing and not is_waiting else None
    if firing - group.told:
        return Reason.NEW_ALERTS
    if group.told - firing and policy.send_resolved:
        return Reason.SOME_RESOLVED if firing else Reason.ALL_RESOLVED
    is_due = abs(now - group.told_at) >= policy.repeat_interval
    return Reason.REPEAT if group.alerts and is_due else None


def is_settled(group: Group, policy: Policy, now: float) -> bool:
    """Whether nothing can be due without news: it was told, and no repeat is due."""
    return group.told_at is not None and abs(now - group.told_at) < policy.repeat_interval


def tellable(group: Group, policy: Policy, why: Reason) -> list[Alert]:
    """The alerts that a notification made now holds: what resolved before is part of repeats alone."""
    news = group.alerts.keys() if why is Reason.REPEAT else group.told
    return [alert for name, alert in group.alerts.items() if alert.is_firing or (policy.send_resolved and name in news)]


def after(group: Group, policy: Policy, now: float, *, is_told: bool) -> Group | None:
    """The group once it has, or has not, been told; None when nothing is left of it."""
    kept = {
        name: alert
        for name, alert in group.alerts.items()
        if alert.is_firing or now - alert.ends_at < policy.keep_resolved
    }
    if not kept:
        return None
    told = group.firing if is_told else group.told & group.firing
    return replace(group, alerts=kept, told=told, told_at=now if is_told else group.told_at)
