"""How long will it take? Pure arithmetic over past durations: no clock, no storage, no telemetry."""

from otel_latency.predict.estimate import Estimate

__all__ = ["Estimate"]
