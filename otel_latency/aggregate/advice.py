"""What a stage's seconds mean against its target, and what to check where it is too slow.

Too slow is what is over the critical limit, or over the target where that is all there is. An LLM call, whatever its
stage is called, is held against the target of `llm` unless its stage has one of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from otel_latency.config.sections import LatencyTarget

LLM: Final = "llm"

CHECKS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "stt": ("send audio while the user speaks, not after", "check that the recogniser runs on the GPU"),
        "classification": ("check that the model stays loaded", "consider a GPU for it"),
        "retrieval": (
            "check that the vector index exists and is used",
            "check the connection to the database: is it pooled?",
            "retrieve fewer chunks",
        ),
        LLM: (
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


def judge(
    stage: str, seconds: float | None, targets: Mapping[str, LatencyTarget], *, is_llm: bool = False
) -> Judgement:
    """The verdict on *seconds*, and what to check."""
    target, critical = _levels(stage, targets, is_llm=is_llm)
    checks = CHECKS.get(LLM if is_llm and stage not in CHECKS else stage, ())
    if seconds is None or target is critical is None:
        return Judgement(target, critical, "unknown", ())
    if critical is not None and seconds > critical:
        return Judgement(target, critical, "critical", checks)
    if target is None or seconds <= target:
        return Judgement(target, critical, "ok", ())
    return Judgement(target, critical, "slow", checks if critical is None else ())


def advise(
    durations: Iterable[tuple[str, float]], targets: Mapping[str, LatencyTarget], *, llm_stages: Collection[str] = ()
) -> list[Advice]:
    """The stages that are too slow, each by the longest of its *durations*. *llm_stages* are those of LLM calls."""
    worst: dict[str, float] = {}
    for stage, seconds in durations:
        worst[stage] = max(seconds, worst.get(stage, 0.0))
    found = []
    for stage, seconds in worst.items():
        judged = judge(stage, seconds, targets, is_llm=stage in llm_stages)
        limit = judged.target if judged.critical is None else judged.critical
        if limit is not None and seconds > limit:
            found.append(Advice(stage, seconds, limit, judged.advice))
    return found


def _levels(stage: str, targets: Mapping[str, LatencyTarget], *, is_llm: bool) -> tuple[float | None, float | None]:
    """Target and critical as plain numbers."""
    target = targets.get(LLM if is_llm and stage not in targets else stage)
    if target is None:
        return None, None
    target_seconds, critical = (None if each is None else float(each) for each in (target.target, target.critical))
    return target_seconds, critical
