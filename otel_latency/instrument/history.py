"""What LLM calls of this process took, and how they ended: bounded, by provider and task.

Memory: at most `MAX_KEYS` pairs of provider and task with `LENGTH` outcomes each, about 20 MB if all are full; the pair
unused for the longest time is forgotten first. What calls teach for estimates is learnt once somebody asks for one, so
that those who never do pay nothing for it; then it is up to 16 KiB a task and model.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_latency.instrument.agent_estimates import AgentEstimates, Question, agent_estimates
from otel_latency.instrument.guard import guard
from otel_latency.predict import Estimate, Predictor
from otel_latency.sketch import nearest_rank

if TYPE_CHECKING:
    from otel_latency.instrument.llm import LLMCall

LENGTH: Final = 200
MAX_KEYS: Final = 500
UNLEARNT: Final = 2000
ANY: Final = ""
"""Stands for the model where a task is estimated whatever its model."""


class Outcome(NamedTuple):
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
    """Safe to use from any thread. An *agent* is asked what it knows beside."""

    def __init__(self, *, length: int = LENGTH, max_keys: int = MAX_KEYS, agent: AgentEstimates | None = None) -> None:
        self._agent = agent
        self._length = length
        self._max_keys = max_keys
        self._outcomes: OrderedDict[tuple[str, str], deque[Outcome]] = OrderedDict()
        self._unlearnt: deque[Outcome] = deque(maxlen=UNLEARNT)
        self._predictor = Predictor(max_keys=max_keys)
        self._lock = threading.Lock()

    def record(self, outcome: Outcome) -> None:
        key = outcome.provider, outcome.task
        with self._lock:
            kept = self._outcomes.setdefault(key, deque(maxlen=self._length))
            kept.append(outcome)
            self._outcomes.move_to_end(key)
            while len(self._outcomes) > self._max_keys:
                self._outcomes.popitem(last=False)
            if outcome.status == "ok":
                self._unlearnt.append(outcome)

    def of(self, provider: str, task: str) -> list[Outcome]:
        """Oldest first."""
        with self._lock:
            return list(self._outcomes.get((provider, task), ()))

    def clear(self) -> None:
        with self._lock:
            self._outcomes.clear()
            self._unlearnt.clear()
            self._predictor = Predictor(max_keys=self._max_keys)

    def estimate(
        self,
        task: str,
        *,
        provider: str,
        model: str | None = None,
        input_tokens: int | None = None,
        wait: bool = False,
    ) -> Estimate:
        """From whoever has seen more such calls, this process or the agent; with *wait* the agent may take its time.

        Where neither has seen one, the agent knows the provider at least as well.
        """
        own = self._own(task, provider, model, input_tokens)
        if self._agent is None:
            return own
        try:
            agents = self._agent.estimate(Question(task, provider, model, input_tokens), wait=wait)
        except Exception as fault:
            guard.caught("estimate", fault)
            return own
        return agents if agents is not None and (agents.samples > own.samples or not own.samples) else own

    def _own(self, task: str, provider: str, model: str | None, input_tokens: int | None) -> Estimate:
        """From successful calls of the model; without any, of the task, of the provider, or LLM calls in general."""
        with self._lock:
            while self._unlearnt:
                self._learn(self._unlearnt.popleft())
            known = self._predictor.predict(provider, task, model, input_tokens=input_tokens)
            if known.samples or not model:
                return known
            of_task = self._predictor.predict(provider, task, ANY, input_tokens=input_tokens)
            return replace(of_task, samples=0) if of_task.samples else known

    def _learn(self, outcome: Outcome) -> None:
        """As a call of its model, and as one of the task whatever the model."""
        for model in {outcome.model, ANY}:
            expected = self._predictor.predict(
                outcome.provider, outcome.task, model, input_tokens=outcome.input_tokens, now=outcome.time
            )
            self._predictor.observe(expected, outcome.seconds, output_tokens=outcome.output_tokens, now=outcome.time)

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


_QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)


history: Final = History(agent=agent_estimates)


def remember(call: LLMCall, failure: BaseException | None) -> None:
    """Record a call that has ended by itself, or by *failure*."""
    history.record(outcome_of(call, failure, call.elapsed))


def outcome_of(call: LLMCall, failure: BaseException | None, seconds: float, retries: int = 0) -> Outcome:
    """How *call* ended, after *seconds*."""
    tokens = call.tokens
    return Outcome(
        provider=call.provider,
        task=call.task,
        seconds=seconds,
        status=call.status,
        model=call.model or "",
        input_tokens=_whole(tokens.get("input_tokens")),
        output_tokens=_whole(tokens.get("output_tokens")),
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
    """What a call would take: `.seconds .low .high .confidence .text .level`.

    From what this process has seen, or the agent where that has seen more; waits for it for 50 ms at most.
    """
    return history.estimate(task, provider=provider, model=model, input_tokens=input_tokens, wait=True)


def summary(task: str, *, provider: str) -> Summary:
    """The latest operations of a task: count, mean, percentiles, success rate, retries, errors by category."""
    return history.summary(task, provider=provider)
