"""Queries over the agent's series, as text; `name` is a family's name, `by` are labels to keep, comma-separated.

Every selector holds `job` and `instance`. Latencies are asked for twice in one expression: as native histogram, or else
as classic one. A Prometheus that takes native histograms has no `_bucket` series of ours, any other has nothing else,
so exactly one side answers; where a Prometheus keeps both, the native one does, whose error is the smaller.
"""

from __future__ import annotations

from typing import Final

INTERVAL: Final = "[$__rate_interval]"
RANGE: Final = "[$__range]"
AGENT: Final = 'job=~"$job"', 'instance=~"$instance"'
FAILED: Final = 'status=~"error|timeout"'


def select(name: str, *matchers: str) -> str:
    return f"{name}{{{', '.join((*AGENT, *matchers))}}}"


def fold(operator: str, by: str, expr: str) -> str:
    """An aggregation, over everything where no label is kept."""
    return f"{operator} by ({by}) ({expr})" if by else f"{operator}({expr})"


def rate(name: str, by: str, *matchers: str, offset: str = "") -> str:
    """How much a counter grows in a second."""
    return fold("sum", by, f"rate({select(name, *matchers)}{INTERVAL}{offset})")


def increase(name: str, by: str, *matchers: str, over: str = RANGE) -> str:
    """How much a counter grows over the time that the dashboard shows, or *over* another."""
    return fold("sum", by, f"increase({select(name, *matchers)}{over})")


def gauge(name: str, by: str, *matchers: str, operator: str = "max") -> str:
    return fold(operator, by, select(name, *matchers))


def share(name: str, by: str, part: str, *matchers: str) -> str:
    """The part of what a counter counts that fits *part*: 0 where there is none of it, nothing without traffic."""
    whole = rate(name, by, *matchers)
    return f"({rate(name, by, *matchers, part)} or {whole} * 0) / ({whole} > 0)"


def quantile(q: float, name: str, by: str, *matchers: str, offset: str = "") -> str:
    native = rate(name, by, *matchers, offset=offset)
    classic = rate(f"{name}_bucket", _with_le(by), *matchers, offset=offset)
    return f"histogram_quantile({q:g}, {native}) or histogram_quantile({q:g}, {classic})"


def quantile_of_classic(q: float, name: str, by: str, *matchers: str) -> str:
    """For histograms that the agent only has with the bounds that they came with."""
    return f"histogram_quantile({q:g}, {rate(f'{name}_bucket', _with_le(by), *matchers)})"


def seconds(name: str, by: str, *matchers: str) -> str:
    """How much time a latency adds up to in a second."""
    return f"(histogram_sum({rate(name, by, *matchers)}) or {rate(f'{name}_sum', by, *matchers)})"


def count(name: str, by: str, *matchers: str) -> str:
    """How many a latency's histogram takes in, in a second."""
    return f"(histogram_count({rate(name, by, *matchers)}) or {rate(f'{name}_count', by, *matchers)})"


def mean(name: str, by: str, *matchers: str) -> str:
    return f"{seconds(name, by, *matchers)} / ({count(name, by, *matchers)} > 0)"


def mean_of_classic(name: str, by: str, *matchers: str) -> str:
    return f"{rate(f'{name}_sum', by, *matchers)} / ({rate(f'{name}_count', by, *matchers)} > 0)"


def buckets(name: str, *matchers: str) -> str:
    """For a heatmap. Of a histogram that is there in both forms the classic one is left out."""
    native = fold("sum", "", f"increase({select(name, *matchers)}{INTERVAL})")
    classic = fold("sum", "le", f"increase({select(f'{name}_bucket', *matchers)}{INTERVAL})")
    return f"{native} or ({classic} unless on () {native})"


def window(name: str, q: float, by: str, *matchers: str, over: str = "1m") -> str:
    """The agent's own sliding quantile, of its slowest series: exact within 0.6 %."""
    return fold("max", by, select(name, f'quantile="{q:g}"', f'window="{over}"', *matchers))


def target(kind: str, name: str, level: str = "target") -> str:
    """The threshold of a stage or milestone, as the configuration says and the rules use it; without labels."""
    return fold("max", "", select(f"otel_latency_{kind}_target_seconds", f'{kind}="{name}"', f'level="{level}"'))


def _with_le(by: str) -> str:
    return f"le, {by}" if by else "le"
