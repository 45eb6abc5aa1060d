"""Alerting, connected: metrics --> rules --> notifiers, with what a person on call wants to know beside it.

    snapshot --> Runner --alerts--> annotated --> Pipeline --> webhook, Slack, PagerDuty, email, Alertmanager

States and notifications live in the store's directory. Where that cannot be written they live in memory, and `/status`
says so. Without rules and notifiers nothing is written and nothing runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp.abc import AbstractResolver

from otel_latency.clock import Clock
from otel_latency.config.sections import Config
from otel_latency.listening import in_url
from otel_latency.notify.build import build
from otel_latency.records import Alert, Exemplar, Family, HistogramSeries
from otel_latency.rules.memory import Memory
from otel_latency.rules.runner import Runner, Seams

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
        resolver: AbstractResolver | None = None,
    ) -> None:
        """Raises ConfigError when a rule file is wrong, or when a secret cannot be read."""
        own_address = f"{in_url(config.web.host)}:{config.web.port}"
        self.external_url = (config.rules.external_url or f"http://{own_address}").rstrip("/")
        if config.notify and config.rules.external_url is None:
            log.warning("rules.external_url is not set: links in notifications lead to %s", self.external_url)
        self._trace_url = config.rules.trace_url
        self._snapshot = snapshot
        self.is_used = bool(config.rules.files or config.notify)
        folder = directory / config.store.path
        self.fault = _make(folder) if self.is_used else ""
        self.pipeline = build(config.notify, folder, clock, external_url=self.external_url, resolver=resolver)
        self.rules = Runner(
            config.rules,
            Seams(snapshot=snapshot, legal=legal, tell=self._tell),
            clock=clock,
            directory=directory,
            memory=Memory(folder / STATES_FILE) if self.is_used and not self.fault else None,
            target_labels={"job": JOB, "instance": own_address},
            external_url=self.external_url,
        )

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

    async def _tell(self, alerts: Sequence[Alert]) -> None:
        families = await self._snapshot()
        await self.pipeline.accept([self._annotated(alert, families) for alert in alerts])

    def _annotated(self, alert: Alert, families: Iterable[Family]) -> Alert:
        """With the slowest trace of what the alert is about; what the rule itself says is left as it is."""
        found = slowest_trace(families, alert.labels)
        if found is None:
            return alert
        more = {"slowest_trace": f"{found.trace_id} ({found.value:.3g} s)"}
        if self._trace_url:
            more["trace_url"] = self._trace_url.replace("{trace_id}", found.trace_id)
        return replace(alert, annotations={**more, **alert.annotations})


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
