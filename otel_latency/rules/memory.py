"""The alerts' states on disk, so that a restart neither forgets an alert nor starts it anew.

One JSON file, replaced in one step: a crash leaves the old one or the new one. It is written when an alert changed its
state, not when only a value moved, so between incidents nothing is written. A file that cannot be read is set aside.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from otel_latency.records import Labels
from otel_latency.rules.state import AlertState, State

log = logging.getLogger(__name__)

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class RuleMemory:
    """The alerts of one rule; file, group, name and labels say which."""

    file: str
    group: str
    rule: str
    labels: Labels
    alerts: tuple[AlertState, ...]


class _Alert(msgspec.Struct):
    """`AlertState`, but for the value: JSON has no NaN and no infinity."""

    labels: dict[str, str]
    annotations: dict[str, str]
    value: str
    state: State
    active_at_ms: int
    fired_at_ms: int | None
    resolved_at_ms: int | None
    keep_firing_since_ms: int | None
    last_sent_ms: int | None


class _Rule(msgspec.Struct):
    file: str
    group: str
    rule: str
    labels: dict[str, str]
    alerts: list[_Alert]


class _Document(msgspec.Struct):
    version: int
    rules: list[_Rule]


class Memory:
    """The file at *path*; its directory exists."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: object = None

    def load(self) -> list[RuleMemory]:
        """What was saved last; nothing when there is no file, or when it is damaged, which is told in the log."""
        try:
            rules = _decode(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            self._set_aside(error)
            return []
        self._written = _transitions(rules)
        return rules

    def save(self, rules: Sequence[RuleMemory]) -> bool:
        """Write, if an alert has come, gone or changed its state since; whether that was so. May raise OSError."""
        transitions = _transitions(rules)
        if transitions == self._written:
            return False
        self._replace(msgspec.json.encode(_Document(_VERSION, [_plain_rule(rule) for rule in rules])))
        self._written = transitions
        return True

    def _replace(self, data: bytes) -> None:
        beside = self._path.with_name(self._path.name + ".new")
        with open(beside, "wb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _set_aside(self, error: Exception) -> None:
        aside = self._path.with_name(self._path.name + ".damaged")
        log.error("%s: alerts start anew, for their states cannot be read (%s): see %s", self._path, error, aside)
        try:
            self._path.replace(aside)
        except OSError as failure:
            log.warning("%s: cannot be set aside: %s", self._path, failure.strerror)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _decode(data: bytes) -> list[RuleMemory]:
    document = msgspec.json.decode(data, type=_Document)
    if document.version != _VERSION:
        raise ValueError(f"version {document.version} is not {_VERSION}")
    return [_rule(rule) for rule in document.rules]


def _transitions(rules: Sequence[RuleMemory]) -> object:
    """What of the alerts is worth a write."""
    return [
        (rule.file, rule.group, rule.rule, rule.labels, [_transition(alert) for alert in rule.alerts]) for rule in rules
    ]


def _transition(alert: AlertState) -> tuple[object, ...]:
    is_told = alert.resolved_at_ms is not None and (alert.last_sent_ms or 0) >= alert.resolved_at_ms
    times = alert.active_at_ms, alert.fired_at_ms, alert.resolved_at_ms, alert.keep_firing_since_ms
    return alert.labels, alert.state, times, is_told


def _plain_rule(rule: RuleMemory) -> _Rule:
    return _Rule(rule.file, rule.group, rule.rule, dict(rule.labels), [_plain(alert) for alert in rule.alerts])


def _plain(alert: AlertState) -> _Alert:
    return _Alert(
        labels=dict(alert.labels),
        annotations=dict(alert.annotations),
        value=repr(alert.value),
        state=alert.state,
        active_at_ms=alert.active_at_ms,
        fired_at_ms=alert.fired_at_ms,
        resolved_at_ms=alert.resolved_at_ms,
        keep_firing_since_ms=alert.keep_firing_since_ms,
        last_sent_ms=alert.last_sent_ms,
    )


def _rule(rule: _Rule) -> RuleMemory:
    alerts = tuple(_alert(alert) for alert in rule.alerts)
    return RuleMemory(rule.file, rule.group, rule.rule, tuple(sorted(rule.labels.items())), alerts)


def _alert(alert: _Alert) -> AlertState:
    if alert.state is State.FIRING and alert.fired_at_ms is None:
        raise ValueError("an alert fires since no time")
    return AlertState(
        labels=tuple(sorted(alert.labels.items())),
        annotations=tuple(alert.annotations.items()),
        value=float(alert.value),
        active_at_ms=alert.active_at_ms,
        state=alert.state,
        fired_at_ms=alert.fired_at_ms,
        resolved_at_ms=alert.resolved_at_ms,
        keep_firing_since_ms=alert.keep_firing_since_ms,
        last_sent_ms=alert.last_sent_ms,
    )
