"""Alerting, connected: metrics --> rules --> notifiers, with what a person on call wants to know beside it.

    snapshot --> Runner --alerts--> annotated --> Pipeline --> webhook, Slack, PagerDuty, email, Alertmanager

States and notifications live in the store's directory. Where that cannot be written they live in memory, and `/status`
says so.

Without rules and notifiers nothing is written, nothing runs, and nothing of PromQL, templates or notifiers is loaded,
which saves 4 MiB: `NoRules` and `NoNotifiers` stand in. An expression can be asked all the same; the first question
loads what answers it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp.abc import AbstractResolver

from otel_latency.clock import Clock
from otel_latency.config.sections import Config, Rules
from otel_latency.listening import in_url
from otel_latency.records import Alert, Exemplar, Family, HistogramSeries

if TYPE_CHECKING:
    from otel_latency.notify.pipeline import Pipeline
    from otel_latency.rules.runner import Runner

STATES_FILE: Final = "alerts.json"
JOB: Final = "otel-latency"

_TRACED: Final = (
    ("otel_latency_llm_duration_seconds", ("provider", "model", "task")),
    ("otel_latency_stage_duration_seconds", ("stage",)),
    ("otel_latency_turn_duration_seconds", ("turn", "service")),
)
"""Where to look for a trace: the first family of which the alert has one of the labels."""

log = logging.getLogger(__name__)


class Alerting:
    """The rules and notifiers of *config*; relative paths begin at *directory*.

    *snapshot* gives what /metrics shows, on the event loop; *legal* drops what may not be shown, on any thread;
    *critical_path* tells of a trace where its time went, if that is known; *record* keeps what notifiers are told;
    *resolver* finds the notifiers' addresses.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        directory: Path,
        snapshot: Callable[[], Awaitable[list[Family]]],
        legal: Callable[[Iterable[Family]], list[Family]],
        critical_path: Callable[[str], str] = lambda _trace_id: "",
        record: Callable[[Sequence[Alert]], None] = lambda _alerts: None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """Raises ConfigError when a rule file is wrong, or when a secret cannot be read."""
        own_address = f"{in_url(config.web.host)}:{config.web.port}"
        self.external_url = (config.rules.external_url or f"http://{own_address}").rstrip("/")
        if config.notify and config.rules.external_url is None:
            log.warning("rules.external_url is not set: links in notifications lead to %s", self.external_url)
        self._trace_url = config.rules.trace_url or f"{self.external_url}/#/turn/{{trace_id}}"
        self._snapshot = snapshot
        self._legal = legal
        self._critical_path = critical_path
        self._record = record
        self._clock = clock
        self._target_labels = {"job": JOB, "instance": own_address}
        self.is_used = bool(config.rules.files or config.notify)
        self.fault = ""
        self.rules: Runner | NoRules = NoRules(partial(self._make_rules, config.rules, directory))
        self.pipeline: Pipeline | NoNotifiers = NoNotifiers()
        if self.is_used:
            from otel_latency.notify.build import build

            folder = directory / config.store.path
            self.fault = _make(folder)
            self.pipeline = build(config.notify, folder, clock, external_url=self.external_url, resolver=resolver)
            self.rules = self._make_rules(config.rules, directory, None if self.fault else folder / STATES_FILE)

    async def run(self) -> None:
        """Evaluate and notify until cancelled; there is no need to when `is_used` is false."""
        await self.pipeline.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pipeline.run(), name="notify")
            tasks.create_task(self.rules.run(), name="rules")
            tasks.create_task(self.rules.watch(), name="rules:watch")

    async def close(self) -> None:
        """Stop both; closing twice is harmless."""
        self.rules.close()
        await self.pipeline.close()

    def faults(self) -> list[str]:
        """What is wrong, one sentence each."""
        # Where there is no directory, that is the one thing to say of the disk.
        of_disk = [self.fault] if self.fault else [self.pipeline.fault, self.rules.memory_fault]
        return [fault for fault in (*of_disk, self.rules.reload_fault) if fault]

    def rules_status(self) -> dict[str, object]:
        """The section `rules` of /status."""
        return {**self.rules.figures, "faults": self.faults()}

    def _make_rules(self, config: Rules, directory: Path, states: Path | None = None) -> Runner:
        from otel_latency.rules.memory import Memory
        from otel_latency.rules.runner import Runner, Seams

        return Runner(
            config,
            Seams(snapshot=self._snapshot, legal=self._legal, tell=self._tell),
            clock=self._clock,
            directory=directory,
            memory=Memory(states) if states is not None else None,
            target_labels=self._target_labels,
            external_url=self.external_url,
        )

    async def _tell(self, alerts: Sequence[Alert]) -> None:
        families = await self._snapshot()
        annotated = [self._annotated(alert, families) for alert in alerts]
        self._record(annotated)
        await self.pipeline.accept(annotated)

    def _annotated(self, alert: Alert, families: Iterable[Family]) -> Alert:
        """With the slowest trace of what the alert is about, and where its time went; what the rule itself says is left
        as it is.
        """
        found = slowest_trace(families, alert.labels)
        if found is None:
            return alert
        more = {"slowest_trace": f"{found.trace_id} ({found.value:.3g} s)"}
        if critical_path := self._critical_path(found.trace_id):
            more["critical_path"] = critical_path
        more["trace_url"] = self._trace_url.replace("{trace_id}", found.trace_id)
        return replace(alert, annotations={**more, **alert.annotations})


class NoRules:
    """A `Runner` without rules: there is nothing to show, and *load* makes one that answers questions."""

    def __init__(self, load: Callable[[], Runner]) -> None:
        self._load = load
        self._loading = asyncio.Lock()
        self._runner: Runner | None = None
        self.families: list[Family] = []
        self.missed: dict[str, int] = {}
        self.figures: dict[str, Any] = {}
        self.reload_fault = ""
        self.memory_fault = ""

    async def run(self) -> None:
        """There is nothing to evaluate."""

    async def watch(self) -> None:
        """There are no files to look at."""

    async def reload(self) -> None:
        """There are no files to read."""

    def stalled(self) -> str:
        return ""

    async def rules(self) -> dict[str, Any]:
        return await (await self._loaded()).rules()

    async def alerts(self) -> dict[str, Any]:
        return await (await self._loaded()).alerts()

    async def query(self, expression: str, at: float | None) -> dict[str, Any]:
        return await (await self._loaded()).query(expression, at)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()

    async def _loaded(self) -> Runner:
        async with self._loading:
            if self._runner is None:
                self._runner = await asyncio.to_thread(self._load)  # on the loop it would hold up a tick
            return self._runner


class NoNotifiers:
    """A `Pipeline` that leads nowhere."""

    fault = ""

    async def start(self) -> None:
        """There is nothing to take up."""

    async def run(self) -> None:
        """There is nothing to deliver."""

    async def accept(self, alerts: Sequence[Alert]) -> None:
        """Nobody is to be told."""

    async def close(self) -> None:
        """Nothing is open."""

    def status(self) -> list[dict[str, object]]:
        return []

    def totals(self) -> dict[tuple[str, str], int]:
        return {}

    def queued(self) -> dict[str, int]:
        return {}


def slowest_trace(families: Iterable[Family], labels: Mapping[str, str]) -> Exemplar | None:
    """The slowest observation with a trace among the series that an alert of *labels* can be about."""
    by_name = {family.name: family for family in families}
    for name, distinctive in _TRACED:
        if name in by_name and any(label in labels for label in distinctive):
            exemplars = [
                series.exemplar
                for series in by_name[name].series
                if isinstance(series, HistogramSeries) and series.exemplar and _fits(series.labels, labels)
            ]
            return max(exemplars, key=lambda exemplar: exemplar.value, default=None)
    return None


def _fits(own: Iterable[tuple[str, str]], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name, value) == value for name, value in own)


def _make(folder: Path) -> str:
    """Make the store's directory; what is wrong with it, or nothing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fault = f"store.path: {folder} cannot be made ({error.strerror}): alerts do not survive a restart"
        log.error("%s", fault)  # noqa: TRY400 -- the disk's fault, not ours: no traceback
        return fault
    return ""
