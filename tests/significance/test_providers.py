import json

import pytest

from otel_latency.significance.providers import providers_json


def row(provider, model, count=100, cost=None, priced=0, **more):
    return {
        "provider": provider,
        "model": model,
        "count": count,
        "p50": 0.5,
        "cost_usd": cost,
        "priced": priced,
        **more,
    }


FAST = [0.5 + i * 37 % 100 / 1000 for i in range(100)]
SLOW = [seconds + 0.3 for seconds in FAST]
ROWS = [
    row("openai", "slow", cost=2.0, priced=50),
    row("openai", "fast", cost=1.0, priced=100),
    row("local", "broken", count=3),
]
DURATIONS = {("openai", "slow"): SLOW, ("openai", "fast"): FAST, ("local", "broken"): []}


def test_ranked():
    """The fastest comes first and who never succeeded last, each with its summary, its difference and a sentence."""
    fast, slow, broken = providers_json(ROWS, DURATIONS)["providers"]
    assert ["fast", "slow", "broken"] == [each["model"] for each in (fast, slow, broken)]
    assert (0.5, 100, None, None) == (slow["p50"], slow["count"], fast["difference"], broken["difference"])
    assert {"against": ["openai", "fast"], "seconds": pytest.approx(0.3), "verdict": "slower"}.items() <= (
        slow["difference"].items()
    )
    assert slow["difference"]["low"] < 0.3 < slow["difference"]["high"]
    assert "openai/fast takes 549 ms at the median of 100 calls: none is shown to be faster" == fast["text"]
    assert "no call has ended well" == broken["text"]


def test_cost_per_call():
    """The cost of a call is that of the calls whose cost is known."""
    fast, slow, broken = providers_json(ROWS, DURATIONS)["providers"]
    assert [0.01, 0.04, None] == [each["cost_per_call_usd"] for each in (fast, slow, broken)]


def test_totals():
    """Costs are summed up by each column, and by those that were asked for beside; unknown ones stay unknown."""
    sessions = [
        {"session": "s1", "cost_usd": 1.0},
        {"session": "s2", "cost_usd": 2.0},
        {"session": "", "cost_usd": None},
    ]
    assert {
        "count": 203,
        "priced": 150,
        "cost_usd": {
            "all": 3.0,
            "provider": {"openai": 3.0, "local": None},
            "model": {"slow": 2.0, "fast": 1.0, "broken": None},
            "session": {"s2": 2.0, "s1": 1.0, "": None},
        },
    } == providers_json(ROWS, DURATIONS, totals={"session": sessions})["totals"]


def test_other_columns():
    """Calls may be held side by side by any columns."""
    rows = [{"task": "chat", "count": 100, "cost_usd": None, "priced": 0}]
    [chat] = providers_json(rows, {("chat",): FAST}, by=["task"])["providers"]
    assert "chat takes 549 ms at the median of 100 calls: there is nothing to compare it with" == chat["text"]


def test_nothing():
    """Without calls there is a table without rows, and no cost."""
    assert {
        "providers": [],
        "totals": {"count": 0, "priced": 0, "cost_usd": {"all": None, "provider": {}, "model": {}}},
    } == providers_json([], {})


def test_json():
    """The answer is JSON as it is, even where a group was too small for an interval."""
    rows = [row("a", "x", count=2), row("b", "x", count=2)]
    [_, second] = json.loads(json.dumps(providers_json(rows, {("a", "x"): [1.0], ("b", "x"): [2.0]})))["providers"]
    assert (None, None, "unknown") == tuple(second["difference"][key] for key in ("low", "high", "verdict"))
