"""Keeps rules going: samples the metrics, evaluates what is due, hands on what is to be told, and reloads files.

Sampling and evaluation are done on one thread, so a heavy rule holds up a tick or a probe by little more than the
interpreter's switch interval; only the snapshot of the metrics is taken on the event loop. A group is evaluated right
after the sample of its moment, so a breach is seen at the first evaluation after it.

Time goes on with the monotonic clock. When the wall clock was set, everything that is known is moved by the difference,
so that neither a `for` ends early nor a window is empty. Alerts are handed on before their states are saved; a crash
between the two tells an alert again, and never loses one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from otel_latency.clock import Clock
from otel_latency.config.sections import Rules
from otel_latency.records import Alert, Family, ValueSeries
from otel_latency.rules import api
from otel_latency.rules.demand import Retention, asked
from otel_latency.rules.engine import Engine, Options, RunningGroup
from otel_latency.rules.evaluation import ALERT_NAME, alert_series
from otel_latency.rules.files import RuleFiles
from otel_latency.rules.memory import Memory
from otel_latency.rules.promql.nodes import METRIC_NAME
from otel_latency.rules.query import answer, beside
from otel_latency.rules.resolved import figures
from otel_latency.rules.rule import AlertingRule, Rule, RuleGroup
from otel_latency.rules.sampling import Sampler
from otel_latency.rules.series import SeriesTable
from otel_latency.rules.state import State

log = logging.getLogger(__name__)

WATCH_INTERVAL: Final = 5.0
TRIM_MS: Final = 60_000
MAX_FAULTS: Final = 5
"""So many faults of rule files go into one line of the log."""

CLOCK_SET_MS: Final = 2000
"""Clocks that differ by more have been set; what is less will be slewed."""
STALLED: Final = 10.0

_HELP: Final = {
    "ALERTS": "Alerts that are pending or firing.",
    "ALERTS_FOR_STATE": "When each alert became active, in Unix seconds.",
}

T = TypeVar("T")
Json = dict[str, Any]
Tell = Callable[[Sequence[Alert]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What rules need of the rest of the agent."""

    snapshot: Callable[[], Awaitable[list[Family]]]
    """Everything /metrics would show; called on the event loop."""
    legal: Callable[[Iterable[Family]], list[Family]]
    """What of it may be shown; called on the thread."""
    tell: Tell
    """Takes alerts over; they are safe once it returns."""


class Runner:
    """The rules of *config*, whose files are found from *directory*; states are kept in *memory* if there is one."""

    def __init__(
        self,
        config: Rules,
        seams: Seams,
        *,
        clock: Clock,
        directory: Path,
        memory: Memory | None,
        target_labels: Mapping[str, str],
        external_url: str,
    ) -> None:
        """Raises ConfigError when a rule file is wrong."""
        self._clock = clock
        self._seams = seams
        self._memory = memory
        self._target_labels = {**target_labels, **config.target_labels}
        self._sample_ms = round(config.sample_interval * 1000)
        self._max_bytes = int(config.max_bytes)
        self._files = RuleFiles(config.files, directory, config.semantics)
        self._origin_ms = round(clock.time() * 1000)
        self._at_ms = self._origin_ms
        self._trimmed_ms = self._origin_ms
        self._stepped = clock.monotonic()
        self.families: list[Family] = []
        """ALERTS and ALERTS_FOR_STATE, for /metrics."""
        self.missed: dict[str, int] = {}
        """Evaluations left out, by group."""
        self.figures: Json = {}
        """How the rules fare, for /status."""
        self._options = Options(
            interval_ms=round(config.interval * 1000),
            sample_interval_ms=self._sample_ms,
            resend_delay_ms=round(config.resend_delay * 1000),
            semantics=config.semantics,
            external_labels=config.external_labels,
            external_url=external_url,
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rules")
        self.reload_fault = ""
        """Why the files were not taken when they were last looked at; the rules before them go on."""
        self.memory_fault = ""
        """Why the states of alerts would not survive a restart."""

        groups, faults = self._files.load()
        if faults:
            raise faults[0]
        for pattern in self._files.unmatched():
            log.warning("rules.files: %s: no file is there yet", pattern)
        self._read_state = self._files.state()
        self._retention = self._retain(groups)
        self._table = SeriesTable(self._retention, semantics=config.semantics)
        self._sampler = Sampler(self._table, self._retention.asks_for, self._target_labels)
        self.engine = Engine(self._table, self._options, refusal=self._refusal)
        self.engine.reload(groups, self._origin_ms)
        self._left = self.engine.restore(memory.load(), self._origin_ms) if memory is not None else []

    async def run(self) -> None:
        """Sample and evaluate until cancelled."""
        index, origin_ms = 0, self._origin_ms
        async for tick in self._clock.ticks(self._sample_ms / 1000):
            index += 1 + tick.folded
            try:
                set_by_ms = round(tick.now * 1000) - (origin_ms + index * self._sample_ms)
                if abs(set_by_ms) > max(CLOCK_SET_MS, 2 * self._sample_ms):
                    origin_ms += set_by_ms
                    await self._on_thread(self._shift, set_by_ms)
                await self.step(origin_ms + index * self._sample_ms)
            except Exception:
                # One step that fails must not be the last.
                log.exception("rules were not evaluated, next try in %g s", self._sample_ms / 1000)

    async def watch(self) -> None:
        """Read the files again once they have changed and are no longer being written, until cancelled."""
        before = self._read_state
        async for _ in self._clock.ticks(WATCH_INTERVAL):
            try:
                state = await self._on_thread(self._files.state)
                if state != self._read_state and state == before:
                    await self.reload()
                before = state
            except Exception:
                # A disk that is not well now may be later.
                log.exception("the rule files could not be looked at, next try in %g s", WATCH_INTERVAL)

    async def step(self, at_ms: int) -> None:
        """One sample, what is due at its moment, and the handing on of what came of it."""
        self._at_ms = at_ms
        families = await self._seams.snapshot() if self._files.patterns else []
        alerts = await self._on_thread(self._evaluate, families, at_ms)
        self._stepped = self._clock.monotonic()
        left, self._left = self._left, []  # what a process before this one told, and no rule knows any more
        await self._hand_on([*left, *alerts])

    async def reload(self) -> None:
        """Read the files again. If anything is wrong with them the rules stay as they are; `reload_fault` says why."""
        await self._hand_on(await self._on_thread(self._reload))

    async def rules(self) -> Json:
        """The `data` of `/api/v1/rules`."""
        return await self._on_thread(lambda: api.rules(self.engine.groups))

    async def alerts(self) -> Json:
        """The `data` of `/api/v1/alerts`."""
        return await self._on_thread(lambda: api.alerts(self.engine.groups))

    async def query(self, expression: str, at: float | None) -> Json:
        """The `data` of `/api/v1/query`, at Unix seconds or now. Raises ExpressionError and EvaluationError."""
        families = [*await self._seams.snapshot(), *self.families]
        return await self._on_thread(self._answer, expression, families, at)

    def stalled(self) -> str:
        """What is wrong when rules have not been evaluated for long; empty when they were."""
        seconds = self._clock.monotonic() - self._stepped
        is_late = self._files.patterns and seconds > max(STALLED, 10 * self._sample_ms / 1000)
        return f"no rule was evaluated for {seconds:.0f} s" if is_late else ""

    def close(self) -> None:
        """Let the thread end; harmless twice."""
        self._thread.shutdown(wait=False)

    async def _on_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _hand_on(self, alerts: Sequence[Alert]) -> None:
        if alerts:
            await self._seams.tell(alerts)
        if self._memory is not None:
            await self._on_thread(self._save, self._memory)

    def _shift(self, by_ms: int) -> None:
        log.warning("the clock was set by %+.1f s: rules go on as if it had not been", by_ms / 1000)
        self._trimmed_ms += by_ms
        self._sampler.shift(by_ms)
        self.engine.shift(by_ms)

    def _evaluate(self, families: list[Family], at_ms: int) -> list[Alert]:
        self._sampler.sample(self._seams.legal(families), at_ms)
        alerts = [alert for group, due_ms in self.engine.due(at_ms) for alert in self._evaluate_group(group, due_ms)]
        self.families = _alert_families(self.engine.groups)
        if at_ms - self._trimmed_ms >= TRIM_MS:
            self._trimmed_ms = at_ms
            self._table.trim(at_ms)
            self._retention.recount(self._table)
        self.missed = {_name(group): group.missed for group in self.engine.groups}
        self.figures = self._figures()
        return alerts

    def _evaluate_group(self, group: RuleGroup, at_ms: int) -> list[Alert]:
        try:
            return [self._with_figures(alert, group, at_ms) for alert in self.engine.evaluate(group, at_ms)]
        except Exception:
            # One broken group must not silence its neighbours.
            log.exception("the group %s of %s was not evaluated", group.name, group.file)
            return []

    def _with_figures(self, alert: Alert, group: RuleGroup, at_ms: int) -> Alert:
        """*alert* with value, threshold, and the value by the time it resolved; the rule's own words go first."""
        for rule in group.alerting():
            if rule.name == alert.labels[ALERT_NAME]:
                said = figures(rule.node, alert, lambda node: self.engine.query(node, at_ms))
                if said:
                    return replace(alert, annotations={**said, **alert.annotations})
        return alert

    def _reload(self) -> list[Alert]:
        self._read_state = self._files.state()
        groups, faults = self._files.load()
        if faults:
            self.reload_fault = str(faults[0])
            log.error("the rules stay as they were: %s", "; ".join(map(str, faults[:MAX_FAULTS])))
            return []
        self.reload_fault = ""
        self._retention = self._retain(groups)
        self._table.retain(self._retention, self._at_ms)
        self._sampler.retain(self._retention.asks_for)
        ended = self.engine.reload(groups, self._at_ms)
        log.info("%d rules in %d groups are evaluated", sum(len(group.rules) for group in groups), len(groups))
        return ended

    def _retain(self, groups: Iterable[RuleGroup]) -> Retention:
        """Keep what *groups* can ask: for its reach, and for the two newest samples of whoever makes the series."""
        interval_ms = self._options.interval_ms
        wanted = [one for group in groups for rule in group.rules for one in asked(rule, interval_ms=interval_ms)]
        intervals = [group.interval_ms or interval_ms for group in groups]
        return Retention(
            wanted,
            sample_ms=self._sample_ms,
            margin_ms=2 * max([self._sample_ms, *intervals]),
            max_bytes=self._max_bytes,
            semantics=self._options.semantics,
        )

    def _refusal(self, rule: Rule) -> str:
        """Why there is no room for what *rule* asks for; empty when there is."""
        refused = self._retention.refused
        if not refused:
            return ""
        wanted = asked(rule, interval_ms=self._options.interval_ms)
        return next((refused[demand] for demand in wanted if demand in refused), "")

    def _answer(self, expression: str, families: list[Family], at: float | None) -> Json:
        at_ms = self._at_ms if at is None else round(at * 1000)
        present = SeriesTable(lambda _: TRIM_MS, semantics=self._options.semantics)
        Sampler(present, lambda _: True, self._target_labels).sample(self._seams.legal(families), self._at_ms)
        return answer(
            expression,
            beside(self._table.find, present.find),
            at_ms,
            semantics=self._options.semantics,
            interval_ms=self._options.interval_ms,
        )

    def _save(self, memory: Memory) -> None:
        try:
            memory.save(self.engine.memory())
        except OSError as error:
            fault = f"the states of alerts cannot be saved, a restart begins anew: {error.strerror}"
            if fault != self.memory_fault:
                log.error("%s", fault)  # noqa: TRY400 -- the disk's fault, not ours: no traceback
            self.memory_fault = fault
        else:
            self.memory_fault = ""

    def _figures(self) -> Json:
        groups = self.engine.groups
        rules = [rule for group in groups for rule in group.rules]
        return {
            "groups": len(groups),
            "rules": len(rules),
            "failing": [
                {"group": _name(group), "rule": rule.rule.name, "error": rule.last_error}
                for group in groups
                for rule in group.rules
                if rule.last_error
            ],
            "pending": sum(alert.state is State.PENDING for rule in rules for alert in rule.active),
            "firing": sum(alert.state is State.FIRING for rule in rules for alert in rule.active),
            "missed_evaluations": self.missed,
            "evaluation_seconds": sum(group.seconds for group in groups),
            "series": len(self._table),
        }


def _name(running: RunningGroup) -> str:
    """As Prometheus calls a group in its own metrics."""
    return f"{running.group.file};{running.group.name}"


def _alert_families(groups: Iterable[RunningGroup]) -> list[Family]:
    """ALERTS and ALERTS_FOR_STATE as /metrics shows them."""
    found: dict[str, list[ValueSeries]] = {"ALERTS": [], "ALERTS_FOR_STATE": []}
    for rule in (running for group in groups for running in group.rules):
        if isinstance(rule.rule, AlertingRule):
            for labels, value in alert_series(rule.rule, rule.active).items():
                own = dict(labels)
                found[own.pop(METRIC_NAME)].append(ValueSeries(tuple(own.items()), value))
    return [Family(name, "gauge", _HELP[name], series) for name, series in found.items() if series]
