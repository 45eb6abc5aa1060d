"""How long will it take, was that slow, and has it changed? Pure arithmetic: no clock, no storage, no telemetry."""

from otel_latency.predict.estimate import Estimate
from otel_latency.predict.predictor import Predictor
from otel_latency.predict.shift import AnomalyScore, Shift
from otel_latency.predict.slow import SlowCall

__all__ = ["AnomalyScore", "Estimate", "Predictor", "Shift", "SlowCall"]
