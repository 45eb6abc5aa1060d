"""What a stage's seconds mean against its target, and what to check where it is too slow.

Too slow is what is over the critical limit, or over the target where that is all there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from otel_latency.config.sections import LatencyTarget

CHECKS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "stt": ("send audio while the user speaks, not after", "check that the recogniser runs on the GPU"),
        "classification": ("check that the model stays loaded", "consider a GPU for it"),
        "retrieval": (
            "check that the vector index exists and is used",
            "check the connection to the database: is it pooled?",
            "retrieve fewer chunks",
        ),
        "llm": (
            "use a smaller or quantized model",
            "check that the KV cache is reused: `otel-latency sessions` shows it",
            "watch CPU and GPU while it generates",
        ),
        "tts": (
            "check that synthesis runs on the GPU",
            "convert the model to FP16",
            "start with the first sentence instead of the whole answer",
        ),
    }
)


class Judgement(NamedTuple):
    """Of a stage or milestone; unknown is one without targets, or that was not measured."""

    target: float | None
    critical: float | None
    verdict: Literal["ok", "slow", "critical", "unknown"]
    advice: tuple[str, ...]


class Advice(NamedTuple):
    """A stage that took longer than its limit, both in seconds."""

    stage: str
    seconds: float
    limit: float
    checks: tuple[str, ...]


def judge(stage: str, seconds: float | None, targets: Mapping[str, LatencyTarget]) -> Judgement:
    """The verdict on *seconds*, and what to check."""
    target, critical = _levels(targets.get(stage))
    if seconds is None or target is critical is None:
        return Judgement(target, critical, "unknown", ())
    if critical is not None and seconds > critical:
        return Judgement(target, critical, "critical", CHECKS.get(stage, ()))
    if target is None or seconds <= target:
        return Judgement(target, critical, "ok", ())
    return Judgement(target, critical, "slow", CHECKS.get(stage, ()) if critical is None else ())


def advise(durations: Iterable[tuple[str, float]], targets: Mapping[str, LatencyTarget]) -> list[Advice]:
    """The stages that are too slow, each by the longest of its *durations*."""
    worst: dict[str, float] = {}
    for stage, seconds in durations:
        worst[stage] = max(seconds, worst.get(stage, 0.0))
    found = []
    for stage, seconds in worst.items():
        target, critical = _levels(targets.get(stage))
        limit = target if critical is None else critical
        if limit is not None and seconds > limit:
            found.append(Advice(stage, seconds, limit, judge(stage, seconds, targets).advice))
    return found


def _levels(target: LatencyTarget | None) -> tuple[float | None, float | None]:
    """Target and critical as plain numbers."""
    if target is None:
        return None, None
    target_seconds, critical = (None if each is None else float(each) for each in (target.target, target.critical))
    return target_seconds, critical
