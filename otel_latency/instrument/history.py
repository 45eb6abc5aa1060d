"""What LLM calls of this process took, and how they ended: bounded, by provider and task.

Memory: at most `MAX_KEYS` pairs of provider and task with `LENGTH` outcomes each, about 20 MB if all are full; the pair
unused for the longest time is forgotten first.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

from otel_latency.predict.estimate import Estimate
from otel_latency.predict.robust import Past, estimate_from
from otel_latency.sketch import nearest_rank

if TYPE_CHECKING:
    from otel_latency.instrument.llm import LLMCall

LENGTH: Final = 200
MAX_KEYS: Final = 500
KIN: Final = 50
"""Calls of the provider's other tasks that stand in for a task without any history."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One LLM operation as it ended, at the Unix time `time`; `category` is a failure's (network, api, ...)."""

    provider: str
    task: str
    seconds: float
    status: str = "ok"
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    retries: int = 0
    category: str = ""
    error_type: str = ""
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """The latest operations of one provider and task. Seconds are those of the successful ones, None without any."""

    provider: str
    task: str
    count: int
    success_rate: float | None
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    mean_retries: float | None
    errors: Mapping[str, int]

    def __str__(self) -> str:
        if not self.count:
            return f"{self.provider} {self.task}: no operations yet"
        times = (
            f"mean {self.mean:.2f} s, p50 {self.p50:.2f} s, p95 {self.p95:.2f} s, p99 {self.p99:.2f} s, "
            if self.mean is not None
            else ""
        )
        errors = "".join(f", {count} {category} errors" for category, count in sorted(self.errors.items()))
        return (
            f"{self.provider} {self.task}: {self.count} operations, {times}{self.success_rate:.0%} successful, "
            f"{self.mean_retries:.2f} retries each{errors}"
        )


class History:
    """Safe to use from any thread."""

    def __init__(self, *, length: int = LENGTH, max_keys: int = MAX_KEYS) -> None:
        self._length = length
        self._max_keys = max_keys
        self._outcomes: OrderedDict[tuple[str, str], deque[Outcome]] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, outcome: Outcome) -> None:
        key = outcome.provider, outcome.task
        with self._lock:
            kept = self._outcomes.setdefault(key, deque(maxlen=self._length))
            kept.append(outcome)
            self._outcomes.move_to_end(key)
            while len(self._outcomes) > self._max_keys:
                self._outcomes.popitem(last=False)

    def of(self, provider: str, task: str) -> list[Outcome]:
        """Oldest first."""
        with self._lock:
            return list(self._outcomes.get((provider, task), ()))

    def clear(self) -> None:
        with self._lock:
            self._outcomes.clear()

    def estimate(
        self, task: str, *, provider: str, model: str | None = None, input_tokens: int | None = None
    ) -> Estimate:
        """From successful calls of the model; without any, of the task, of the provider, or LLM calls in general."""
        of_task = [each for each in self.of(provider, task) if each.status == "ok"]
        of_model = [each for each in of_task if model is None or each.model == model]
        kin = of_task or self._of_provider(provider)
        return estimate_from(_past(of_model), input_tokens=input_tokens, kin=_past(kin))

    def summary(self, task: str, *, provider: str) -> Summary:
        outcomes = self.of(provider, task)
        seconds = sorted(each.seconds for each in outcomes if each.status == "ok")
        p50, p90, p95, p99 = (seconds[nearest_rank(q, len(seconds)) - 1] if seconds else None for q in _QUANTILES)
        return Summary(
            provider=provider,
            task=task,
            count=len(outcomes),
            success_rate=len(seconds) / len(outcomes) if outcomes else None,
            mean=fmean(seconds) if seconds else None,
            p50=p50,
            p90=p90,
            p95=p95,
            p99=p99,
            mean_retries=fmean(each.retries for each in outcomes) if outcomes else None,
            errors=dict(Counter(each.category for each in outcomes if each.category)),
        )

    def _of_provider(self, provider: str) -> list[Outcome]:
        with self._lock:
            found = [each for (of, _), kept in self._outcomes.items() if of == provider for each in kept]
        return [each for each in found if each.status == "ok"][-KIN:]


_QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)


def _past(outcomes: Sequence[Outcome]) -> list[Past]:
    return [Past(each.seconds, each.input_tokens) for each in outcomes]


history: Final = History()


def remember(call: LLMCall, failure: BaseException | None) -> None:
    """Record a call that has ended by itself, or by *failure*."""
    history.record(outcome_of(call, failure, call.elapsed))


def outcome_of(call: LLMCall, failure: BaseException | None, seconds: float, retries: int = 0) -> Outcome:
    """How *call* ended, after *seconds*."""
    return Outcome(
        provider=call.provider,
        task=call.task,
        seconds=seconds,
        status=call.status,
        model=call.model or "",
        input_tokens=_whole(call.tokens.get("input_tokens")),
        output_tokens=_whole(call.tokens.get("output_tokens")),
        retries=retries,
        category=_category(failure),
        error_type="" if failure is None else type(failure).__name__,
        time=time.time(),
    )


def _whole(tokens: float | None) -> int | None:
    return None if tokens is None else int(tokens)


def _category(failure: BaseException | None) -> str:
    if not isinstance(failure, Exception):
        return ""
    from otel_latency.instrument.failures import classify  # late: most calls succeed, and it loads ssl

    return classify(failure, 0.0).category


def estimate(task: str, *, provider: str, model: str | None = None, input_tokens: int | None = None) -> Estimate:
    """What a call would take, from what this process has seen: `.seconds .low .high .confidence .text .level`."""
    return history.estimate(task, provider=provider, model=model, input_tokens=input_tokens)


def summary(task: str, *, provider: str) -> Summary:
    """The latest operations of a task: count, mean, percentiles, success rate, retries, errors by category."""
    return history.summary(task, provider=provider)
