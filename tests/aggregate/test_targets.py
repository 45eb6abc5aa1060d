"""Thresholds from the configuration, as series."""

from otel_latency.aggregate.targets import LatencyTargets
from otel_latency.config.sections import DEFAULT_TARGETS, Duration, LatencyTarget


def shown(targets):
    """Series as they stand on the page -> seconds."""
    return {
        (family.name, *(value for _, value in series.labels)): series.value
        for family in LatencyTargets(targets).families(0.0)
        for series in family.series
    }


def test_stages_and_milestones():
    """A milestone's name goes to the family of milestones, any other to that of stages; levels not set are absent."""
    targets = {
        "stt": LatencyTarget(target=Duration(0.15), critical=Duration(0.3)),
        "first_audio": LatencyTarget(best=Duration(1.0), target=Duration(1.5)),
        "silent": LatencyTarget(),
    }
    assert {
        ("otel_latency_stage_target_seconds", "stt", "target"): 0.15,
        ("otel_latency_stage_target_seconds", "stt", "critical"): 0.3,
        ("otel_latency_milestone_target_seconds", "first_audio", "best"): 1.0,
        ("otel_latency_milestone_target_seconds", "first_audio", "target"): 1.5,
    } == shown(targets)


def test_defaults():
    """What the requirements name is what is compared with unless the file says otherwise."""
    found = shown(DEFAULT_TARGETS)
    milestones = {key[1]: seconds for key, seconds in found.items() if "milestone" in key[0] and key[2] == "target"}
    assert {"first_token": 0.5, "first_sentence": 0.8, "tts_start": 1.0, "first_audio": 1.5} == milestones
    assert 1.0 == found["otel_latency_milestone_target_seconds", "first_audio", "best"]
    assert (0.15, 0.3) == tuple(found["otel_latency_stage_target_seconds", "stt", at] for at in ("target", "critical"))
