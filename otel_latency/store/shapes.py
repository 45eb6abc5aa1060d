"""Distributions as the API shows them: count, sum, mean, min, max and percentiles; None for what is unknown."""

from __future__ import annotations

from typing import Any, Final

from otel_latency.sketch import Sketch

JSONObject = dict[str, Any]

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_NONE: Final = dict.fromkeys(("mean", "min", "max", *PERCENTILES))


def distribution(sketch: Sketch) -> JSONObject:
    """What *sketch* knows."""
    if not sketch.count:
        return {"count": 0, "sum": 0.0, **_NONE}
    return {
        "count": sketch.count,
        "sum": sketch.sum,
        "mean": sketch.sum / sketch.count,
        "min": sketch.minimum,
        "max": sketch.maximum,
        **dict(zip(PERCENTILES, sketch.quantiles(list(PERCENTILES.values())), strict=True)),
    }
