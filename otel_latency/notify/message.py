"""What a notification says to the person on call: a title, and per alert the facts that are asked for first.

Which service and stage, the value against its threshold, since when it has been breached, whether it flaps, how it
ended, where the time goes, the slowest trace, the runbook. Labels give the place; the rest are annotations: `value`,
`threshold` and `resolved_value`, which are numbers or the words of the rule's author, and those named in `_FACTS`.

All of it is data: a notifier turns it into its own markup and escapes every text. Texts are cut to `MAX_TEXT`, and
control characters become spaces, so that what somebody puts into a label makes neither lines nor a flood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from otel_latency.notify.dedup import FLAPPING
from otel_latency.notify.model import Notification
from otel_latency.records import Alert

MAX_TITLE: Final = 1024
MAX_TEXT: Final = 300
_PLACE: Final = ("service", "stage")
_FACTS: Final = (
    ("Flaps", FLAPPING, ""),
    ("Critical path", "critical_path", ""),
    ("Slowest trace", "slowest_trace", "trace_url"),
    ("Runbook", "", "runbook_url"),
    ("Dashboard", "", "dashboard_url"),
)
"""How a fact is called, and the annotations with its text and with its address."""
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about an alert; `link`, which follows the text, is an address that browsers may be sent to."""

    name: str
    text: str
    link: str = ""


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
    if "resolved_value" in annotations:
        yield Fact("Value at resolve", _clean(_number(annotations["resolved_value"])))
    for name, text, address in _FACTS:
        if text in annotations or address in annotations:
            yield _fact(name, annotations.get(text, ""), annotations.get(address, ""))
    rest = {name: value for name, value in labels.items() if name not in {"alertname", *_PLACE}}
    if rest:
        yield Fact("Labels", _clean(", ".join(f"{name}={value}" for name, value in sorted(rest.items()))))
    if alert.generator_url:
        yield _fact("Rule", "", alert.generator_url)


def _fact(name: str, text: str, address: str) -> Fact:
    """What is no address for browsers is shown as text."""
    text, address = _clean(text), _clean(address)
    if _is_link(address):
        return Fact(name, text, address)
    return Fact(name, " ".join(filter(None, (text, address))))


def _value(alert: Alert) -> str:
    """The value against its threshold, as the rule's author words them, else as numbers."""
    value = _number(alert.annotations.get("value") or str(alert.value))
    threshold = _number(alert.annotations.get("threshold", ""))
    if value == "nan":
        return ""
    return f"{value} (threshold {threshold})" if threshold else value


def _number(text: str) -> str:
    """A number with four digits or all those before the point, `2.1` or `268,435,456`; other texts as they are."""
    try:
        number = float(text)
    except ValueError:
        return text
    is_large = 1e4 <= abs(number) < 1e15
    return f"{number:,.0f}" if is_large else f"{number:.4g}"


def _since(alert: Alert, now: float) -> str:
    began = alert.active_at or alert.starts_at
    if alert.is_firing:
        return f"{utc(began)} (for {span(now - began)})"
    return f"{utc(began)} until {utc(alert.ends_at)} (lasted {span(alert.ends_at - began)})"


def _plain(story: Story) -> Iterator[str]:
    yield f"{'FIRING' if story.is_firing else 'RESOLVED'}: {story.headline}"
    if story.description:
        yield f"  {story.description}"
    for fact in story.facts:
        yield f"  {fact.name}: {' '.join(filter(None, (fact.text, fact.link)))}"
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
