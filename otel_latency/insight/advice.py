"""What to check where a stage is slow: over its critical limit, or its target where it has no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from otel_latency.config.sections import LatencyTarget
from otel_latency.insight.requests import Step

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


class Advice(NamedTuple):
    """A stage that took longer than its limit, both in seconds."""

    stage: str
    seconds: float
    limit: float
    checks: tuple[str, ...]


def advise(steps: Iterable[Step], targets: Mapping[str, LatencyTarget]) -> list[Advice]:
    """The slow ones, each stage by its slowest step."""
    worst: dict[str, float] = {}
    for step in steps:
        worst[step.stage] = max(step.seconds, worst.get(step.stage, 0.0))
    found = []
    for stage, seconds in worst.items():
        target = targets.get(stage)
        limit = target and (target.critical or target.target)
        if limit and seconds > limit:
            found.append(Advice(stage, seconds, float(limit), CHECKS.get(stage, ())))
    return found
