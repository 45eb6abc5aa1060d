"""What a notification says to the person on call: a title, and per alert the facts that are asked for first.

Which service and stage, the value against its threshold, since when, how it ended, where the time goes, the slowest
trace, the runbook. Labels give the place; the rest are annotations of the rule, under the names in `FACTS`.

All of it is data: a notifier turns it into its own markup and escapes every text. Texts are cut to `MAX_TEXT`, and
control characters become spaces, so that what somebody puts into a label makes neither lines nor a flood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from otel_latency.notify.model import Notification
from otel_latency.records import Alert

MAX_TITLE: Final = 1024
MAX_TEXT: Final = 300
_PLACE: Final = ("service", "stage")
FACTS: Final = {
    "resolved_value": "Value at resolve",
    "critical_path": "Critical path",
    "slowest_trace": "Slowest trace",
    "trace_url": "Slowest trace",
    "runbook_url": "Runbook",
    "dashboard_url": "Dashboard",
}
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about an alert; `is_link` says that the text is an address for browsers."""

    name: str
    text: str
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """One alert as it is told."""

    headline: str
    description: str
    facts: tuple[Fact, ...]
    is_firing: bool


def title(notification: Notification) -> str:
    """As Alertmanager puts it: `[FIRING:2] P99High llm (critical)`."""
    group, common = notification.group_labels, notification.common_labels
    count = f":{len(notification.firing)}" if notification.firing else ""
    others = {name: value for name, value in common.items() if name not in group}
    extra = f"({' '.join(_values(others))})" if others else ""
    parts = [f"[{notification.status.upper()}{count}]", *_values(group), extra]
    return cut(one_line(" ".join(filter(None, parts))), MAX_TITLE)


def stories(notification: Notification) -> Iterator[Story]:
    """Firing alerts first."""
    for alert in (*notification.firing, *notification.resolved):
        yield _story(alert, notification.time)


def listing(alerts: Iterable[Alert]) -> str:
    """Alerts as Alertmanager lists them in plain text."""
    return "".join(
        f"Labels:\n{_pairs(alert.labels)}Annotations:\n{_pairs(alert.annotations)}Source: {alert.generator_url}\n"
        for alert in alerts
    )


def plain(notification: Notification, limit: int) -> str:
    """All stories without any markup, in at most *limit* characters."""
    return fit((line for story in stories(notification) for line in _plain(story)), limit)


def fit(lines: Iterable[str], limit: int) -> str:
    """As many whole lines as *limit* characters hold; a last line says so when there are more."""
    more = "… and more"
    text = ""
    for line in lines:
        if len(text) + len(line) + len(more) + 2 > limit:
            return text + more
        text += line + "\n"
    return text.rstrip("\n")


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str) -> str:
    """*text* without control characters and line breaks, and without what would turn the reading direction."""
    return "".join(each if each.isprintable() else " " for each in text)


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(round(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """Two units at most: `1d 2h`, `5m 3s`, `0s`."""
    rest = max(round(seconds), 0)
    parts = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _story(alert: Alert, now: float) -> Story:
    headline = alert.annotations.get("summary") or alert.labels.get("alertname", "alert")
    return Story(
        _clean(headline),
        _clean(alert.annotations.get("description", "")),
        tuple(_facts(alert, now)),
        alert.is_firing,
    )


def _facts(alert: Alert, now: float) -> Iterator[Fact]:
    labels, annotations = alert.labels, alert.annotations
    for name in _PLACE:
        if name in labels:
            yield Fact(name.capitalize(), _clean(labels[name]))
    if value := _value(alert):
        yield Fact("Value", _clean(value))
    yield Fact("Since", _since(alert, now))
    for name, shown in FACTS.items():
        if name in annotations:
            text = _clean(annotations[name])
            yield Fact(shown, text, is_link=_is_link(text))
    rest = {name: value for name, value in labels.items() if name not in {"alertname", *_PLACE}}
    if rest:
        yield Fact("Labels", _clean(", ".join(f"{name}={value}" for name, value in sorted(rest.items()))))
    if alert.generator_url:
        yield Fact("Rule", _clean(alert.generator_url), is_link=_is_link(_clean(alert.generator_url)))


def _value(alert: Alert) -> str:
    """The value against its threshold, as the rule's author words them, else as a number."""
    value = alert.annotations.get("value") or (f"{alert.value:.4g}" if math.isfinite(alert.value) else "")
    threshold = alert.annotations.get("threshold")
    return f"{value} (threshold {threshold})" if value and threshold else value


def _since(alert: Alert, now: float) -> str:
    if alert.is_firing:
        return f"{utc(alert.starts_at)} (for {span(now - alert.starts_at)})"
    return f"{utc(alert.starts_at)} until {utc(alert.ends_at)} (lasted {span(alert.ends_at - alert.starts_at)})"


def _plain(story: Story) -> Iterator[str]:
    yield f"{'FIRING' if story.is_firing else 'RESOLVED'}: {story.headline}"
    if story.description:
        yield f"  {story.description}"
    for fact in story.facts:
        yield f"  {fact.name}: {fact.text}"
    yield ""


def _clean(text: str) -> str:
    return cut(one_line(text), MAX_TEXT)


def _is_link(text: str) -> bool:
    """Only addresses that are whole and harmless become links: one that was cut leads nowhere."""
    is_web = text.startswith(("https://", "http://"))
    return is_web and len(text) < MAX_TEXT and not set(text) & set(" <>\"'`|\\")


def _values(labels: Mapping[str, str]) -> list[str]:
    """The labels' values, the alert's name first, then by the names of the labels."""
    return [labels[name] for name in sorted(labels, key=lambda name: (name != "alertname", name))]


def _pairs(pairs: Mapping[str, str]) -> str:
    ordered = sorted(pairs, key=lambda name: (name != "alertname", name))
    return "".join(f" - {name} = {pairs[name]}\n" for name in ordered)
