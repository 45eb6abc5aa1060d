"""Settings of a pipeline."""

import pytest

from otel_latency.instrument.performance import PerformanceConfig


def test_defaults():
    """Fit for production as they are."""
    config = PerformanceConfig()
    assert (5, 2, "adaptive", 3, 1.0, -40.0, 4096) == (
        config.max_concurrent_llm,
        config.max_concurrent_whisper,
        config.chunk_size_strategy,
        config.retry_max_attempts,
        config.retry_base_delay,
        config.silence_threshold,
        config.memory_limit_mb,
    )


FAULTS = {
    "max_concurrent_llm: 0 leaves nothing to work with: at least 1": {"max_concurrent_llm": 0},
    "retry_base_delay: -1 is negative: 0 turns retries or waits off": {"retry_base_delay": -1},
    "silence_threshold: 3.0 dB is above full scale: 0 or less": {"silence_threshold": 3.0},
    "chunk_size_strategy: 'big' is none of adaptive, fixed, memory_optimized": {"chunk_size_strategy": "big"},
}


@pytest.mark.parametrize(("message", "settings"), FAULTS.items(), ids=[*map(str, FAULTS.values())])
def test_faults(message, settings):
    """A wrong setting is refused with its place, fact and cure."""
    with pytest.raises(ValueError) as fault:
        PerformanceConfig(**settings)
    assert message == str(fault.value)
