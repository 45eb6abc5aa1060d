"""Providers and models side by side as `/api/v1/providers` shows them: how fast, how reliable, how dear, how different.

    {"providers": [{"provider", "model", "count", "mean", "p50", "p90", "p95", "p99", "success_ratio", "mean_retries",
                    "first_token": {"count", "mean", "p50", ...}, "input_tokens", "output_tokens",
                    "cost_usd", "priced", "cost_per_call_usd",
                    "difference": {"against", "seconds", "low", "high", "p_value", "verdict"}, "text"}, ...],
     "totals": {"count": 42, "priced": 40,
                "cost_usd": {"all": 1.25, "provider": {"openai": 1.25}, "model": {...}, "session": {...}}}}

The fastest comes first; who never succeeded comes last. Only calls that ended well are compared, all are counted. A
cost is that of the `priced` calls and None where there are none. `difference` is None of the fastest, and of who never
succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from otel_latency.significance.side_by_side import Difference, Group, Place, compare, in_words

Row = Mapping[str, Any]
BY: Final = ("provider", "model")


def providers_json(
    rows: Sequence[Row],
    durations: Mapping[Group, Sequence[float]],
    by: Sequence[str] = BY,
    totals: Mapping[str, Sequence[Row]] | None = None,
) -> dict[str, Any]:
    """The answer. *rows* are a summary of calls by the columns *by*, *durations* those of the ones that ended well, by
    the same. *totals* are summaries by one other column each, such as session, whose costs are wanted as well.
    """
    by_group = {tuple(row[column] for column in by): row for row in rows}
    ranked = [(place.group, place) for place in compare(durations) if place.group in by_group]
    failed = [(group, None) for group in by_group if group not in dict(ranked)]
    costs = {column: _costs(rows, column) for column in by}
    costs |= {column: _costs(others, column) for column, others in (totals or {}).items()}
    return {
        "providers": [_shown(by_group[group], place, is_alone=len(ranked) == 1) for group, place in [*ranked, *failed]],
        "totals": {
            "count": sum(row["count"] for row in rows),
            "priced": sum(row["priced"] for row in rows),
            "cost_usd": {"all": _sum(rows), **costs},
        },
    }


def _shown(row: Row, place: Place | None, *, is_alone: bool) -> dict[str, Any]:
    return {
        **row,
        "cost_per_call_usd": row["cost_usd"] / row["priced"] if row["priced"] else None,
        "difference": _difference(place.difference) if place and place.difference else None,
        "text": in_words(place, is_alone=is_alone) if place else "no call has ended well",
    }


def _difference(found: Difference) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    return {
        "against": list(found.against),
        "seconds": found.seconds,
        "low": low,
        "high": high,
        "p_value": found.p_value,
        "verdict": found.verdict,
    }


def _costs(rows: Iterable[Row], column: str) -> dict[str, float | None]:
    """What is known of the cost for each value of the column, the dearest first."""
    by_value: dict[str, list[Row]] = {}
    for row in rows:
        by_value.setdefault(row[column], []).append(row)
    costs = {value: _sum(each) for value, each in by_value.items()}
    return dict(sorted(costs.items(), key=lambda pair: (-(pair[1] or 0.0), pair[0])))


def _sum(rows: Iterable[Row]) -> float | None:
    known = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    return sum(known) if known else None
