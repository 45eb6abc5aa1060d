"""When a group is worth telling about, and when not: pure, with the time as an argument.

Told are: the first alert, each that joins, each that resolves, and, while nothing changes, one repeat per interval. A
group of which all is resolved is told once and forgotten. With a `group_wait` the first notification waits for more
alerts, and an alert that comes and goes while it waits is never told; without one, every change is, but for flapping.

An alert flaps when it changes for a third time, or more, before it was quiet for `flap_interval`: its first fire and
its first resolve are told at once. What flaps is told once per interval, then once in two, four and so on up to
`MAX_FLAP_WAIT`, as it is at that moment and with the number of its changes. Once it has been quiet for an interval, it
is told if that is not what was told last; so a resolve always follows. Other alerts of its group are told as ever.

A resolve that was refused for good is repeated every `REFUSED_REPEAT`, for `OWED_FOR` after its end; what fires, for as
long as it does.

Waits compare wall clocks by distance, so a clock that is set back cannot hold anything up for longer than the wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from otel_latency.notify.identity import fingerprint
from otel_latency.notify.model import Reason
from otel_latency.records import Alert

CALM: Final = 2
"""So many changes are no flapping: an alert that fires and resolves."""
MAX_FLAP_WAIT: Final = 300.0
REFUSED_REPEAT: Final = 300.0
OWED_FOR: Final = 24 * 3600.0
FLAPPING: Final = "flapping"
"""The annotation that says how often an alert has changed since it was last told."""
_MAX_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class Policy:
    """How one notifier is told. `keep_resolved`: seconds for which a resolved alert is part of the repeats.

    A `flap_interval` of 0 tells every change.
    """

    group_wait: float = 0.0
    repeat_interval: float = 4 * 3600.0
    send_resolved: bool = True
    keep_resolved: float = 0.0
    flap_interval: float = 60.0


@dataclass(frozen=True, slots=True)
class Unrest:
    """How often an alert has changed since it was last quiet, how often since it was last told, and when last."""

    changes: int
    untold: int
    changed_at: float


@dataclass(frozen=True, slots=True)
class Group:
    """What is known of one group, and what of it has been told. Alerts are kept by fingerprint.

    `told` are the alerts last told as firing; `told_at` is None until there was a notification. `owed` are resolved
    alerts whose notification was refused. `unrest` has the alerts that changed lately, `spoken_at` is when a
    notification was last made, and `damped` how many in a row were held back before.
    """

    labels: Mapping[str, str]
    opened_at: float
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    told_at: float | None = None
    owed: frozenset[str] = frozenset()
    unrest: Mapping[str, Unrest] = field(default_factory=dict)
    spoken_at: float = 0.0
    damped: int = 0

    @property
    def firing(self) -> frozenset[str]:
        return frozenset(name for name, alert in self.alerts.items() if alert.is_firing)


def hear(group: Group, alerts: Mapping[str, Alert], policy: Policy, now: float) -> Group:
    """Take in news, at most one per alert."""
    known, unrest = dict(group.alerts), dict(group.unrest)
    for name, alert in alerts.items():
        before = known.get(name)
        was_firing = before is not None and before.is_firing
        is_late = before is not None and alert.ends_at < before.starts_at
        if not alert.is_firing and (not was_firing or is_late):
            continue
        known[name] = alert
        if was_firing is not alert.is_firing and policy.flap_interval:
            unrest[name] = _stirred(unrest.get(name), policy, now)
    if not group.alerts and group.told_at is not None:  # only its unrest was remembered: it begins anew
        group = replace(group, opened_at=now, told_at=None)
    return replace(group, alerts=known, unrest=unrest)


def reason(group: Group, policy: Policy, now: float) -> Reason | None:
    """Why the group is to be told now; None when it is not."""
    is_first = group.told_at is None
    if is_first and _is_within(policy.group_wait, group.opened_at, now):
        return None
    if changed := _untold(group, policy):
        return None if _is_held(group, changed, policy, now) else _reason_for_change(group)
    is_due = group.told_at is not None and not _is_within(policy.repeat_interval, group.told_at, now)
    return Reason.REPEAT if group.alerts and is_due else None


def is_settled(group: Group, policy: Policy, now: float) -> bool:
    """Whether nothing can be due without news: it was told, nothing is held back, and no repeat is due."""
    if group.told_at is None or not _is_within(policy.repeat_interval, group.told_at, now):
        return False
    return not group.unrest or (bool(group.alerts) and group.firing == group.told)


def tellable(group: Group, policy: Policy, why: Reason) -> list[Alert]:
    """The alerts that a notification made now holds: what resolved before is part of repeats alone."""
    news = group.alerts.keys() if why is Reason.REPEAT else group.told | group.owed
    return [
        _with_changes(alert, group.unrest.get(name))
        for name, alert in group.alerts.items()
        if alert.is_firing or (policy.send_resolved and name in news)
    ]


def after(group: Group, policy: Policy, now: float, *, is_told: bool) -> Group | None:
    """The group once it has, or has not, been told; None when nothing is left of it."""
    firing = group.firing
    held = frozenset() if is_told or not policy.send_resolved else group.told - firing
    owed = frozenset() if is_told else group.owed - firing
    kept = {
        name: alert
        for name, alert in group.alerts.items()
        if alert.is_firing or name in held or name in owed or now - alert.ends_at < policy.keep_resolved
    }
    unrest = {
        name: replace(one, untold=0) if is_told else one
        for name, one in group.unrest.items()
        if not _is_quiet(one, policy, now)
    }
    if not kept and not unrest:
        return None
    told = firing if is_told else group.told & (firing | held)
    group = replace(
        group, alerts=kept, told=told, owed=owed, unrest=unrest, damped=_damped(group, policy, now, is_told)
    )
    return replace(group, told_at=now, spoken_at=now) if is_told else group


def refused(group: Group, resolved: Iterable[Alert], policy: Policy, now: float) -> Group | None:
    """The group after a notification was refused for good, whose *resolved* alerts nobody else will tell."""
    owed = {
        name: alert
        for alert in resolved
        if now - alert.ends_at < OWED_FOR and (name := fingerprint(alert.labels)) not in group.firing
    }
    if not owed and not group.alerts and not group.unrest:
        return None
    # Its repeat is then due after REFUSED_REPEAT.
    told_at = group.told_at and now - max(policy.repeat_interval - REFUSED_REPEAT, 0.0)
    return replace(group, alerts={**group.alerts, **owed}, owed=group.owed | owed.keys(), told_at=told_at)


def _untold(group: Group, policy: Policy) -> frozenset[str]:
    """The alerts that are not as they were told."""
    firing = group.firing
    return firing ^ group.told if policy.send_resolved else firing - group.told


def _reason_for_change(group: Group) -> Reason:
    firing = group.firing
    if group.told_at is None:
        return Reason.FIRST
    if firing - group.told:
        return Reason.NEW_ALERTS
    return Reason.SOME_RESOLVED if firing else Reason.ALL_RESOLVED


def _is_held(group: Group, changed: Iterable[str], policy: Policy, now: float) -> bool:
    """Whether *changed* is flapping and nothing else, and it is not yet time to speak of it."""
    wait = min(policy.flap_interval * 2**group.damped, max(policy.flap_interval, MAX_FLAP_WAIT))
    return _is_within(wait, group.spoken_at, now) and all(_is_flapping(group, name, policy, now) for name in changed)


def _is_flapping(group: Group, name: str, policy: Policy, now: float) -> bool:
    unrest = group.unrest.get(name)
    return unrest is not None and unrest.changes > CALM and not _is_quiet(unrest, policy, now)


def _is_quiet(unrest: Unrest, policy: Policy, now: float) -> bool:
    return not _is_within(policy.flap_interval, unrest.changed_at, now)


def _stirred(unrest: Unrest | None, policy: Policy, now: float) -> Unrest:
    """After one change more."""
    if unrest is None or _is_quiet(unrest, policy, now):
        return Unrest(1, 1, now)
    return Unrest(unrest.changes + 1, unrest.untold + 1, now)


def _damped(group: Group, policy: Policy, now: float, is_told: bool) -> int:
    """How many notifications in a row told of flapping, with the one that was made now, if one was."""
    flapping = [name for name in group.unrest if _is_flapping(group, name, policy, now)]
    if not flapping:
        return 0
    is_late = is_told and not _untold(group, policy).isdisjoint(flapping)
    return min(group.damped + is_late, _MAX_DOUBLINGS)


def _with_changes(alert: Alert, unrest: Unrest | None) -> Alert:
    if unrest is None or unrest.untold <= 1:
        return alert
    text = f"{unrest.untold} changes since it was last told"
    return replace(alert, annotations={**alert.annotations, FLAPPING: text})


def _is_within(seconds: float, since: float, now: float) -> bool:
    return abs(now - since) < seconds
