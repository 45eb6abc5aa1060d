"""The settings of a pipeline that runs models beside each other, with defaults and checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ChunkSizeStrategy = Literal["adaptive", "fixed", "memory_optimized"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceConfig:
    """Delays are seconds, `silence_threshold` is in dB below full scale, `memory_limit_mb` in MiB."""

    max_concurrent_llm: int = 5
    max_concurrent_whisper: int = 2
    chunk_size_strategy: ChunkSizeStrategy = "adaptive"
    retry_max_attempts: int = 3
    retry_base_delay: float = 1.0
    silence_threshold: float = -40.0
    memory_limit_mb: int = 4096

    def __post_init__(self) -> None:
        for name in ("max_concurrent_llm", "max_concurrent_whisper", "memory_limit_mb"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} leaves nothing to work with: at least 1")
        for name in ("retry_max_attempts", "retry_base_delay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative: 0 turns retries or waits off")
        if self.silence_threshold > 0:
            raise ValueError(f"silence_threshold: {self.silence_threshold} dB is above full scale: 0 or less")
        if self.chunk_size_strategy not in get_args(ChunkSizeStrategy):
            choices = ", ".join(get_args(ChunkSizeStrategy))
            raise ValueError(f"chunk_size_strategy: {self.chunk_size_strategy!r} is none of {choices}")
