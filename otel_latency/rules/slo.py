"""Service level objectives as plain Prometheus rules: multi-window, multi-burn-rate alerts.

After chapter 5 of Google's "The Site Reliability Workbook" (Alerting on SLOs, approach 6). An objective of 99 % over 30
days leaves a budget of 1 % of failures. Whoever spends a fraction f of it within a long window burns it at a rate of

    burn = f * period / long window        2 % in 1 h of 30 d: 14.4; 5 % in 6 h: 6; 10 % in 1 d: 3; 10 % in 3 d: 1

and fires when the share of failures exceeds burn * budget over the long window and over one twelfth of it, so that the
alert ends soon after the failures do. A burn below 1 is within the budget, and no alert. Below `min_events` in the long
window nothing fires: one failure at night is no trend. What is written is text for `rules.files`, promtool and
Prometheus alike; nothing of it needs us any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isclose
from typing import Annotated, Final

from msgspec import Meta
from msgspec.inspect import type_info

from otel_latency.aggregate import aggregator
from otel_latency.aggregate.aggregator import Latency, Total
from otel_latency.aggregate.distribution import DURATION_BOUNDS
from otel_latency.config.document import parse
from otel_latency.config.schema import Reader
from otel_latency.config.sections import Misfit, Section
from otel_latency.config.values import Duration
from otel_latency.errors import ConfigError
from otel_latency.rules.promql.durations import format_duration

Identifier = Annotated[
    str, Meta(pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}", description="a short name", examples=["answers-in-time"])
]
LabelValue = Annotated[
    str,
    Meta(
        pattern=r'[^"\\{}\s\x85\u2028\u2029]+( [^"\\{}\s\x85\u2028\u2029]+)*',
        description="a name without quotes, braces and line breaks",
        examples=["support-bot"],
    ),
]
Percentage = Annotated[str, Meta(pattern=r"\d{1,2}(\.\d{1,4})?", description="a percentage", examples=["99", "99.9"])]
Period = Annotated[Duration, Meta(extra={"at_least": "1d", "at_most": "90d"})]
Threshold = Annotated[Duration, Meta(extra={"at_least": "5ms", "at_most": "12m"})]
Count = Annotated[int, Meta(ge=1, description="a count")]

_MILESTONES: Final = {
    "first_token": aggregator.TURN_MEASURES["ttft"],
    "first_sentence": aggregator.TURN_MEASURES["ttfs"],
    "tts_start": aggregator.TURN_MEASURES["tts_start"],
    "first_audio": aggregator.TURN_MEASURES["ttfa"],
}


class SLO(Section):
    """So many percent of the turns or of a stage's runs are good: fast enough with `latency`, else without failure."""

    name: Identifier
    objective: Percentage
    service: LabelValue | None = None
    """One service; without it every service has this objective by itself."""
    turn: LabelValue | None = None
    stage: LabelValue | None = None
    milestone: LabelValue | None = None
    """With `latency`: counts from the start of the turn to this moment, instead of to its end."""
    latency: Threshold | None = None
    window: Period = Duration(30 * 86_400)
    min_events: Count = 20

    def __post_init__(self) -> None:
        if not Decimal(self.objective):
            raise Misfit("objective", "0 promises nothing: write 99 or 99.9")
        if self.stage is not None and (self.turn or self.milestone):
            raise Misfit("stage", "a stage belongs to no single turn or milestone here: remove stage, or the others")
        if self.milestone is not None and self.milestone not in _MILESTONES:
            raise Misfit("milestone", f"this milestone has no histogram: write {', '.join(_MILESTONES)}")
        if self.milestone is not None and self.latency is None:
            raise Misfit("latency", "a milestone is good if it comes soon enough: add latency: 1280ms")
        if self.latency is not None and not any(isclose(self.latency, bound) for bound in DURATION_BOUNDS):
            raise Misfit(
                "latency", f"no bucket of the histogram ends at {self.latency:g} s: write {_near(self.latency)}"
            )

    @property
    def budget(self) -> Decimal:
        """The share that may fail."""
        return 1 - Decimal(self.objective) / 100


class File(Section):
    slos: list[SLO]


def read(place: str, text: str, environ: Mapping[str, str]) -> list[SLO]:
    """The objectives in *text*, a file that messages call *place*. Raises ConfigError for the first fault."""
    tree = parse(text, place)
    reader = Reader(place, environ)
    file = reader.read(tree if tree is not None else {}, type_info(File))
    if reader.faults:
        raise reader.faults[0]
    names = [slo.name for slo in file.slos]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(f"{place}: slos[{index}].name: {name} is there already: choose another")
    return list(file.slos)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two windows (in seconds) and the fraction of the budget that may be spent within the long one."""

    severity: str
    spent: Decimal
    long: int
    short: int

    def burn(self, period: float) -> Decimal:
        """How many times faster than allowed: spent * period / long window."""
        return self.spent * Decimal(round(period)) / self.long

    def __str__(self) -> str:
        return f"{_text(self.short)} and {_text(self.long)}"


_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
PAIRS: Final = (
    Pair("critical", Decimal("0.02"), _HOUR, 5 * _MINUTE),
    Pair("critical", Decimal("0.05"), 6 * _HOUR, 30 * _MINUTE),
    Pair("warning", Decimal("0.10"), _DAY, 2 * _HOUR),
    Pair("warning", Decimal("0.10"), 3 * _DAY, 6 * _HOUR),
)
_ALERTS: Final = {"critical": "SLOBudgetBurnsFast", "warning": "SLOBudgetBurnsSlowly"}


_GROUP: Final = """\
  # Of %(subject)s in %(service)s, %(objective)s%% %(promise)s, over %(period)s.
%(left_out)s  - name: slo-%(name)s
    rules:%(none)s
"""
_RECORDING: Final = """\
      - record: %(record)s
        expr: |
          %(part)s
            / %(whole)s
        labels:
          slo: '%(name)s'
"""
_BURNING: Final = """\
(
            %(short)s{slo="%(name)s"} > %(threshold)s
              and %(long)s{slo="%(name)s"} > %(threshold)s
              and on (service) %(events)s >= %(min_events)s
          )
"""
_ALERT: Final = """\
      - alert: %(alert)s
        expr: |
          %(burning)s\
        labels:
          severity: %(severity)s
          slo: '%(name)s'
        annotations:
          summary: '{{ $labels.service }} spends its error budget for %(name)s too fast'
          description: >-
            Of %(subject)s in {{ $labels.service }}, {{ $value | humanizePercentage }} failed within %(windows)s.
            The objective is that %(objective)s%% %(promise)s, over %(period)s: the budget does not last at this rate.
          runbook_url: alerts/README.md#service-level-objectives
"""


def rules(slos: Sequence[SLO], *, max_window: float | None = 6 * _HOUR) -> str:
    """A rule file for *slos*; pairs whose long window exceeds *max_window* seconds are left out, and a comment says so.

    The agent keeps every sample of the longest window: 6 h at one a second are 0.4 MiB for each series.
    """
    return "groups:\n" + "".join(part for slo in slos for part in _group(slo, max_window))


def _group(slo: SLO, max_window: float | None) -> Iterator[str]:
    words = {
        "name": slo.name,
        "subject": _subject(slo),
        "service": slo.service or "every service",
        "objective": slo.objective,
        "promise": _promise(slo),
        "period": _text(slo.window),
        "min_events": slo.min_events,
    }
    reasons = {pair: _left_out(slo, pair, max_window) for pair in PAIRS}
    pairs = [pair for pair, reason in reasons.items() if not reason]
    left_out = "".join(f"  # Left out: {pair}, {reason}.\n" for pair, reason in reasons.items() if reason)
    yield _GROUP % {**words, "left_out": left_out, "none": "" if pairs else " []"}
    for seconds in sorted({window for pair in pairs for window in (pair.short, pair.long)}):
        part, whole = _failed(slo, _text(seconds))
        yield _RECORDING % {**words, "record": _recorded(seconds), "part": part, "whole": whole}
    for severity, alert in _ALERTS.items():
        ours = [pair for pair in pairs if pair.severity == severity]
        burning = "          or ".join(_BURNING % {**words, **_burning(slo, pair)} for pair in ours)
        windows = ", or within ".join(map(str, ours))
        if ours:
            yield _ALERT % {**words, "alert": alert, "severity": severity, "burning": burning, "windows": windows}


def _left_out(slo: SLO, pair: Pair, max_window: float | None) -> str:
    """Why there is no alert on *pair*; empty if there is one."""
    if max_window is not None and pair.long > max_window:
        return f"as windows may be {_text(max_window)} long"
    burn = pair.burn(slo.window)
    if burn < 1:
        return "for that may be spent within them"
    return "for no failure can be large enough" if burn * slo.budget >= 1 else ""


def _burning(slo: SLO, pair: Pair) -> dict[str, str]:
    return {
        "short": _recorded(pair.short),
        "long": _recorded(pair.long),
        "threshold": f"{pair.burn(slo.window).normalize():f} * {slo.budget.normalize():f}",
        "events": _events(slo, _text(pair.long)),
    }


def _recorded(seconds: int) -> str:
    return f"slo:sli_error:ratio_rate{_text(seconds)}"


def _failed(slo: SLO, window: str) -> tuple[str, str]:
    """The share of events within *window* that were not good, as a fraction; NaN, and so no alert, without any."""
    if slo.latency is None:
        total = _total(slo).name
        failed = _matchers(slo, 'status=~"error|timeout"')
        return _rate(f"{total}{failed}", window), _rate(f"{total}{_matchers(slo)}", window)
    histogram = _histogram(slo).name
    good = _matchers(slo, f'le="{slo.latency:g}"')
    every = _rate(f"{histogram}_count{_matchers(slo)}", window)
    return f"1 - {_rate(f'{histogram}_bucket{good}', window)}", every


def _rate(selector: str, window: str) -> str:
    return f"sum by (service) (rate({selector}[{window}]))"


def _events(slo: SLO, window: str) -> str:
    counter = _total(slo).name if slo.latency is None else f"{_histogram(slo).name}_count"
    return f"sum by (service) (increase({counter}{_matchers(slo)}[{window}]))"


def _total(slo: SLO) -> Total:
    return aggregator.TURNS if slo.stage is None else aggregator.STAGES


def _histogram(slo: SLO) -> Latency:
    if slo.milestone is not None:
        return _MILESTONES[slo.milestone]
    return aggregator.TURN_DURATION if slo.stage is None else aggregator.STAGE_DURATION


def _matchers(slo: SLO, *more: str) -> str:
    named = ((name, getattr(slo, name)) for name in ("service", "turn", "stage"))
    found = [*(f'{name}="{value}"' for name, value in named if value is not None), *more]
    return f"{{{', '.join(found)}}}" if found else ""


def _subject(slo: SLO) -> str:
    return f"stage {slo.stage}" if slo.stage else f"turn {slo.turn}" if slo.turn else "the turns"


def _promise(slo: SLO) -> str:
    if slo.latency is None:
        return "end without failure"
    return f"{f'reach {slo.milestone}' if slo.milestone else 'end'} within {slo.latency:g} s"


def _near(seconds: float) -> str:
    """The bounds on both sides of *seconds*."""
    around = [bound for bound in DURATION_BOUNDS if bound < seconds][-1:]
    around += [bound for bound in DURATION_BOUNDS if bound > seconds][:1]
    return " or ".join(f"{round(bound * 1000)}ms" for bound in around)


def _text(seconds: float) -> str:
    return format_duration(round(seconds * 1000))
