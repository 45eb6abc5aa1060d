"""Evaluates rule groups over a table of series, and knows the state of every alert.

Pure of I/O: whoever runs it brings the time, samples the series, delivers the alerts and keeps `memory()` on disk. One
thread may use it, and the table, at a time. A rule that cannot be evaluated keeps its alerts as they are and does not
disturb its neighbours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from otel_latency.errors import EvaluationError
from otel_latency.records import Alert, Labels
from otel_latency.rules.demand import demands
from otel_latency.rules.evaluation import (
    AlertTexts,
    Outside,
    alert_series,
    breaches,
    link,
    recorded,
    sent_alert,
    vector,
)
from otel_latency.rules.memory import RuleMemory
from otel_latency.rules.promql.evaluate import Known, evaluate
from otel_latency.rules.promql.nodes import Node
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.values import Semantics, Vector
from otel_latency.rules.rule import AlertingRule, Rule, RuleGroup
from otel_latency.rules.schedule import Schedule
from otel_latency.rules.series import SeriesTable
from otel_latency.rules.state import AlertState, State, Timing, advance

log = logging.getLogger(__name__)

LONGEST_HOLD_MS: Final = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How rules are evaluated wherever they do not say it themselves."""

    interval_ms: int = 60_000
    sample_interval_ms: int = 1000
    resend_delay_ms: int = 60_000
    lookback_ms: int = 300_000
    semantics: Semantics = 3
    external_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""


@dataclass(slots=True, eq=False)
class RunningRule:
    """A rule and how it fares. `alerts` holds the resolved ones too, for as long as they are remembered."""

    rule: Rule
    texts: AlertTexts | None
    alerts: dict[Labels, AlertState] = field(default_factory=dict)
    series: set[Labels] = field(default_factory=set)
    held_until_ms: int = 0
    unheard_until_ms: int = 0
    health: str = "unknown"
    last_error: str = ""
    seconds: float = 0.0
    evaluated_at_ms: int | None = None

    @property
    def active(self) -> list[AlertState]:
        return [alert for alert in self.alerts.values() if alert.is_active]

    @property
    def key(self) -> tuple[str, Labels]:
        return self.rule.name, self.rule.labels


@dataclass(slots=True, eq=False)
class RunningGroup:
    group: RuleGroup
    interval_ms: int
    rules: Sequence[RunningRule]
    schedule: Schedule
    missed: int = 0
    seconds: float = 0.0
    evaluated_at_ms: int | None = None


class Engine:
    """The groups that are loaded.

    *refusal* says why a rule is not to be evaluated now, or nothing. *timer* measures how long evaluations take.
    """

    def __init__(
        self,
        table: SeriesTable,
        options: Options,
        *,
        refusal: Callable[[Rule], str] = lambda _: "",
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._table = table
        self._refusal = refusal
        self._options = options
        self._timer = timer
        self._outside = Outside(options.external_labels, options.external_url)
        self._groups: dict[tuple[str, str], RunningGroup] = {}
        self._known: dict[int, Known] = {}  # by the moment, until series change

    @property
    def groups(self) -> Sequence[RunningGroup]:
        """How the groups fare, in the order of their files."""
        return list(self._groups.values())

    def due(self, now_ms: int) -> list[tuple[RuleGroup, int]]:
        """The groups to evaluate now, each with the time to evaluate it for, oldest first."""
        found = []
        for running in self._groups.values():
            slot = running.schedule.take(now_ms)
            if slot is not None:
                running.missed += slot.missed
                found.append((running.group, slot.at_ms))
        return sorted(found, key=lambda due: due[1])

    def next_due_ms(self) -> int | None:
        """When the next group is due; None without groups."""
        return min((running.schedule.next_ms for running in self._groups.values()), default=None)

    def evaluate(self, group: RuleGroup, at_ms: int) -> list[Alert]:
        """Evaluate the rules of *group* in their order; what is to be told now. *at_ms* never goes back."""
        running = self._groups[group.key]
        start = self._timer()
        self._known = {}
        alerts: list[Alert] = []
        for rule in running.rules:
            alerts += self._evaluate(rule, running, at_ms)
        self._known = {}
        running.seconds = self._timer() - start
        running.evaluated_at_ms = at_ms
        return alerts

    def _evaluate(self, running: RunningRule, owner: RunningGroup, at_ms: int) -> list[Alert]:
        start = self._timer()
        fault: Exception | None = None
        try:
            series = self._series(running, owner.group, at_ms)
        except Exception as caught:  # noqa: BLE001 -- one broken rule must not silence its neighbours
            fault = caught
        else:
            self._write(running, series, at_ms - owner.group.query_offset_ms)
        self._note(running, fault, at_ms, self._timer() - start)
        return [] if fault else self._to_send(running, owner.interval_ms, at_ms)

    def _note(self, running: RunningRule, fault: Exception | None, at_ms: int, seconds: float) -> None:
        is_expected = isinstance(fault, EvaluationError)
        error = "" if fault is None else str(fault) if is_expected else f"{type(fault).__name__}: {fault}"
        if error and error != running.last_error:
            trace = None if is_expected else fault
            log.warning("rule %s cannot be evaluated: %s", running.rule.name, error, exc_info=trace)
        running.health = "err" if error else "ok"
        running.last_error = error
        running.evaluated_at_ms = at_ms
        running.seconds = seconds

    def _series(self, running: RunningRule, group: RuleGroup, at_ms: int) -> dict[Labels, float]:
        """Evaluate a rule, and bring its alerts up to date; the series that it makes."""
        rule = running.rule
        if reason := self._refusal(rule):
            raise EvaluationError(reason)
        elements = self.query(rule.node, at_ms - group.query_offset_ms)
        if isinstance(rule, AlertingRule):
            assert running.texts is not None
            found = breaches(running.texts, elements, at_ms, lambda text: self._answer(text, at_ms))
            timing = Timing(rule.hold_ms, rule.keep_firing_ms, self._options.semantics)
            running.alerts = advance(
                running.alerts, found, at_ms, timing, is_held=lambda alert: self._is_held(running, alert, at_ms)
            )
            self._check_limit(running, group.limit)
            return alert_series(rule, running.alerts.values())
        series = recorded(rule, elements)
        if 0 < group.limit < len(series):
            raise EvaluationError(f"exceeded limit of {group.limit} with {len(series)} series")
        return series

    def _is_held(self, running: RunningRule, alert: AlertState, at_ms: int) -> bool:
        """Whether an alert from before the restart may be missing only for want of samples.

        Its windows fill up first; and as long as no series of its labels has come at all, its application has just not
        spoken yet.
        """
        if at_ms < running.held_until_ms:
            return True
        if at_ms >= running.unheard_until_ms:
            return False
        wanted = list(demands(running.rule.node, interval_ms=self._options.interval_ms))
        found = (series for one in wanted for series in self._table.select(one.matchers))
        return bool(wanted) and not any(_agree(series.labels, alert.labels) for series in found)

    def _check_limit(self, running: RunningRule, limit: int) -> None:
        count = len(running.active)
        if 0 < limit < count:
            running.alerts = {}
            raise EvaluationError(f"exceeded limit of {limit} with {count} alerts")

    def _answer(self, text: str, at_ms: int) -> list[tuple[Mapping[str, str], float]]:
        """What a template asks for."""
        return [(dict(labels), value) for labels, value in self.query(parse(text), at_ms)]

    def query(self, node: Node, at_ms: int) -> Vector:
        """What *node* yields, as a rule would see it. Raises EvaluationError."""
        options = self._options
        return vector(
            evaluate(
                node,
                self._table.select,
                at_ms,
                semantics=options.semantics,
                interval_ms=options.interval_ms,
                lookback_ms=options.lookback_ms,
                known=self._known.setdefault(at_ms, {}),
            )
        )

    def _write(self, running: RunningRule, series: Mapping[Labels, float], at_ms: int) -> None:
        if series or running.series:
            self._known = {}  # the rules that follow see these series
        for labels, value in series.items():
            self._table.append(labels, at_ms, value)
        for labels in running.series - series.keys():
            self._table.end(labels, at_ms)
        running.series = set(series)

    def _to_send(self, running: RunningRule, interval_ms: int, at_ms: int) -> list[Alert]:
        if not isinstance(running.rule, AlertingRule):
            return []
        delay_ms = self._options.resend_delay_ms
        valid_ms = 4 * max(interval_ms, delay_ms)
        alerts = []
        for labels, alert in running.alerts.items():
            if alert.needs_sending(at_ms, delay_ms):
                running.alerts[labels] = replace(alert, last_sent_ms=at_ms)
                url = link(running.rule.node, self._outside)
                alerts.append(sent_alert(alert, self._outside, at_ms, valid_ms, url))
        return alerts

    def reload(self, groups: Iterable[RuleGroup], now_ms: int) -> list[Alert]:
        """Take *groups* in place of those loaded; what is to be told, for the firing alerts whose rules are gone.

        Groups that stayed as they are go on undisturbed; in others, rules of the same name and labels keep their
        alerts. The series of rules that are gone end.
        """
        before, after = dict(self._groups), {}
        for group in groups:
            known = before.pop(group.key, None)
            if known is not None and known.group == group:
                after[group.key] = known
                continue
            after[group.key] = self._start(group, now_ms)
            if known is not None:
                before[group.key] = known
                _hand_over(known.rules, after[group.key].rules)
        self._groups = after  # at once: others look at the groups while they are replaced
        return [alert for left in before.values() for rule in left.rules for alert in self._end(rule, left, now_ms)]

    def _start(self, group: RuleGroup, now_ms: int) -> RunningGroup:
        interval_ms = group.interval_ms or self._options.interval_ms
        rules = [RunningRule(rule, self._texts(rule)) for rule in group.rules]
        schedule = Schedule(group.key, interval_ms, now_ms, sample_ms=self._options.sample_interval_ms)
        return RunningGroup(group, interval_ms, rules, schedule)

    def _texts(self, rule: Rule) -> AlertTexts | None:
        if not isinstance(rule, AlertingRule):
            return None
        return AlertTexts(rule, self._outside, self._options.semantics)

    def _end(self, running: RunningRule, owner: RunningGroup, now_ms: int) -> list[Alert]:
        # An end has to be later than the newest sample.
        end_ms = now_ms if running.evaluated_at_ms is None else max(now_ms, running.evaluated_at_ms + 1)
        for labels in running.series:
            self._table.end(labels, end_ms)
        running.alerts = {
            labels: _resolved(alert, now_ms) for labels, alert in running.alerts.items() if alert.state is State.FIRING
        }
        return self._to_send(running, owner.interval_ms, now_ms)

    def shift(self, by_ms: int) -> None:
        """Move every time, the table's included, for the clock was set: no `for` ends early, no window is empty."""
        self._table.shift(by_ms)
        for owner in self._groups.values():
            owner.schedule.shift(by_ms)
            if owner.evaluated_at_ms is not None:
                owner.evaluated_at_ms += by_ms
            for running in owner.rules:
                running.alerts = {labels: _shifted(alert, by_ms) for labels, alert in running.alerts.items()}
                running.held_until_ms += by_ms
                running.unheard_until_ms += by_ms
                if running.evaluated_at_ms is not None:
                    running.evaluated_at_ms += by_ms

    def memory(self) -> list[RuleMemory]:
        """Every alert that is known, to be given to `restore` by the next process."""
        return [
            RuleMemory(owner.group.file, owner.group.name, *running.key, tuple(running.alerts.values()))
            for owner in self._groups.values()
            for running in owner.rules
            if running.alerts
        ]

    def restore(self, memory: Iterable[RuleMemory], now_ms: int) -> list[Alert]:
        """Go on from what another process knew; call it once, before the first evaluation.

        The table is still empty, so nothing that was active ends before a rule's windows have filled up again, which
        for windows of more than 5 minutes is not waited for. What fires is told again. The value says what is to be
        told now: the end of alerts whose rules are gone.
        """
        known: dict[tuple[str, str, str, Labels], list[RuleMemory]] = {}
        for one in memory:
            known.setdefault((one.file, one.group, one.rule, one.labels), []).append(one)
        for owner in self._groups.values():
            for running in owner.rules:
                remembered = known.get((*owner.group.key, *running.key))
                if remembered and isinstance(running.rule, AlertingRule):
                    self._resume(running, remembered.pop(0), now_ms)
        return [
            sent_alert(_resolved(alert, now_ms), self._outside, now_ms, 0)
            for left in known.values()
            for one in left
            for alert in one.alerts
            if alert.state is State.FIRING
        ]

    def _resume(self, running: RunningRule, remembered: RuleMemory, now_ms: int) -> None:
        running.alerts = {
            alert.labels: replace(alert, last_sent_ms=None) if alert.is_active else alert for alert in remembered.alerts
        }
        options = self._options
        wanted = demands(running.rule.node, interval_ms=options.interval_ms)
        reach_ms = max((one.reach_ms for one in wanted), default=0)
        running.held_until_ms = now_ms + min(reach_ms, LONGEST_HOLD_MS) + 2 * options.sample_interval_ms
        running.unheard_until_ms = now_ms + LONGEST_HOLD_MS + 2 * options.sample_interval_ms


def _agree(series: Labels, alert: Labels) -> bool:
    """Whether the labels that both have are the same."""
    known = dict(alert)
    return all(known.get(name, value) == value for name, value in series)


def _shifted(alert: AlertState, by_ms: int) -> AlertState:
    def moved(at_ms: int | None) -> int | None:
        return None if at_ms is None else at_ms + by_ms

    return replace(
        alert,
        active_at_ms=alert.active_at_ms + by_ms,
        fired_at_ms=moved(alert.fired_at_ms),
        resolved_at_ms=moved(alert.resolved_at_ms),
        keep_firing_since_ms=moved(alert.keep_firing_since_ms),
        last_sent_ms=moved(alert.last_sent_ms),
    )


def _resolved(alert: AlertState, at_ms: int) -> AlertState:
    return replace(alert, state=State.INACTIVE, resolved_at_ms=at_ms, last_sent_ms=None)


def _hand_over(old: Iterable[RunningRule], new: Iterable[RunningRule]) -> None:
    """Give each new rule what the first old one of its name and labels has; that one then has nothing left to end."""
    left: dict[tuple[str, Labels], list[RunningRule]] = {}
    for rule in old:
        left.setdefault(rule.key, []).append(rule)
    for rule in new:
        candidates = [one for one in left.get(rule.key, ()) if type(one.rule) is type(rule.rule)]
        if candidates:
            source = candidates[0]
            left[rule.key].remove(source)
            rule.alerts, source.alerts = source.alerts, {}
            rule.series, source.series = source.series, set()
            rule.held_until_ms = source.held_until_ms
            rule.unheard_until_ms = source.unheard_until_ms
