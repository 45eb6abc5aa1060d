"""Rules at work: sampled, evaluated, handed on, remembered, and loaded anew."""

from __future__ import annotations

import asyncio

import pytest

from otel_latency.config.sections import Rules
from otel_latency.config.values import Size
from otel_latency.errors import ConfigError, EvaluationError, ExpressionError
from otel_latency.records import Family, ValueSeries
from otel_latency.rules.memory import Memory
from otel_latency.rules.runner import Runner, Seams
from otel_latency.testing import FakeClock

NOW = 1_700_000_000.0
DEEP = """\
groups:
  - name: queue
    rules:
      - alert: Deep
        expr: depth > 5
        for: 1s
        annotations: {summary: "{{ $labels.queue }} holds {{ $value }}"}
"""


class House:
    """An agent around a runner: what it shows, and what it was told."""

    def __init__(self, directory, now=NOW, **options):
        self.told = []
        self.depth = {}
        self.at_ms = round(now * 1000)
        self.directory = directory
        self.runner = Runner(
            Rules(files=["*.yaml"], **options),
            Seams(snapshot=self.families, legal=list, tell=self.tell),
            clock=FakeClock(now),
            directory=directory,
            memory=Memory(directory / "alerts.json"),
            target_labels={"job": "agent"},
            external_url="http://agent",
        )

    async def families(self):
        series = [ValueSeries((("queue", queue),), float(depth)) for queue, depth in self.depth.items()]
        return [Family("depth", "gauge", "", series)]

    async def tell(self, alerts):
        self.told += alerts

    async def steps(self, *depths):
        """A second each."""
        for depth in depths:
            self.depth = depth
            self.at_ms += 1_000
            await self.runner.step(self.at_ms)


@pytest.fixture
def house(tmp_path):
    (tmp_path / "queue.yaml").write_text(DEEP, encoding="utf-8")
    house = House(tmp_path)
    yield house
    house.runner.close()


def gist(alerts):
    return [(alert.labels["alertname"], alert.is_firing, alert.annotations["summary"], alert.value) for alert in alerts]


async def test_from_sample_to_alert(house):
    """A breach that holds is told, and so is its end, with what breached last."""
    await house.steps({"a": 7}, {"a": 8}, {"a": 9}, {"a": 1})
    assert gist(house.told) == [("Deep", True, "a holds 8", 8.0), ("Deep", False, "a holds 9", 9.0)]
    assert [alert.annotations.get("resolved_value") for alert in house.told] == [None, "1"]
    assert (house.told[0].annotations["value"], house.told[0].annotations["threshold"]) == ("8", "5")
    assert house.told[0].labels == {"alertname": "Deep", "job": "agent", "queue": "a"}
    assert house.told[0].generator_url.startswith("http://agent/graph?g0.expr=depth")


async def test_metrics(house):
    """ALERTS and ALERTS_FOR_STATE are shown while an alert is there."""
    await house.steps({"a": 7}, {"a": 8})
    labels = (("alertname", "Deep"), ("job", "agent"), ("queue", "a"))
    firing = (*labels[:1], ("alertstate", "firing"), *labels[1:])
    assert [(family.name, family.series) for family in house.runner.families] == [
        ("ALERTS", [ValueSeries(firing, 1.0)]),
        ("ALERTS_FOR_STATE", [ValueSeries(labels, NOW + 1)]),
    ]
    await house.steps({"a": 0})
    assert house.runner.families == []


async def test_wrong_file_at_the_start(tmp_path):
    """The first fault is raised, with its place."""
    (tmp_path / "queue.yaml").write_text(DEEP.replace("depth > 5", "depth >"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r'queue\.yaml:5:\d+: group "queue", rule "Deep": '):
        House(tmp_path)


async def test_wrong_file_later(house):
    """The rules go on as they were, and the fault is told, until the file is right."""
    await house.steps({"a": 7}, {"a": 8})
    file = house.directory / "queue.yaml"
    file.write_text("groups: [", encoding="utf-8")
    await house.runner.reload()
    assert house.runner.reload_fault.startswith("queue.yaml:")
    await house.steps({"a": 9})
    assert [alert["state"] for alert in (await house.runner.alerts())["alerts"]] == ["firing"]
    file.write_text(DEEP.replace("> 5", "> 50"), encoding="utf-8")
    await house.runner.reload()
    assert house.runner.reload_fault == ""
    await house.steps({"a": 9})
    assert gist(house.told[1:]) == [("Deep", False, "a holds 9", 9.0)]


async def test_rules_that_are_gone(house):
    """What fires when its rule is taken away is told as resolved."""
    await house.steps({"a": 7}, {"a": 8})
    (house.directory / "queue.yaml").unlink()
    await house.runner.reload()
    assert gist(house.told[1:]) == [("Deep", False, "a holds 8", 8.0)]
    assert (await house.runner.rules())["groups"] == []


async def test_restart(house):
    """The next process goes on: same start, told again, and resolved once it is seen to be over."""
    await house.steps({"a": 7}, {"a": 8})
    after = House(house.directory, now=NOW + 2)
    await after.steps({})
    assert [(alert.is_firing, alert.starts_at) for alert in after.told] == [(True, NOW + 2)]
    await after.steps({"a": 1}, {"a": 1}, {"a": 1})
    assert gist(after.told[1:]) == [("Deep", False, "a holds 8", 8.0)]
    after.runner.close()


async def test_restart_without_the_rule(house):
    """What fired by a rule that is gone by the next start is told as resolved."""
    await house.steps({"a": 7}, {"a": 8})
    (house.directory / "queue.yaml").unlink()
    after = House(house.directory, now=NOW + 2)
    await after.steps({"a": 9}, {"a": 9})
    assert gist(after.told) == [("Deep", False, "a holds 8", 8.0)]
    after.runner.close()


async def test_too_much_memory(tmp_path):
    """A rule whose window has no room says so, and its neighbours go on."""
    text = DEEP + "      - alert: Long\n        expr: max_over_time(depth[30d]) > 5\n"
    (tmp_path / "queue.yaml").write_text(text, encoding="utf-8")
    house = House(tmp_path, max_bytes=Size(1 << 20))
    await house.steps({"a": 7}, {"a": 8})
    rules = (await house.runner.rules())["groups"][0]["rules"]
    assert [(rule["name"], rule["health"]) for rule in rules] == [("Deep", "ok"), ("Long", "err")]
    assert "raise rules.max_bytes" in rules[1]["lastError"]
    house.runner.close()


QUERIES = {
    "what rules look at": ("depth", "vector", [("a", "7")]),
    "what no rule looks at": ("width * 2", "vector", [("b", "6")]),
    "the alerts": ("ALERTS_FOR_STATE", "vector", [("a", "1700000001")]),
    "a scalar": ("1e-7 * 1", "scalar", "0.0000001"),
    "a string": ('"x"', "string", "x"),
}


@pytest.mark.parametrize(("expression", "kind", "expected"), QUERIES.values(), ids=QUERIES)
async def test_query(house, expression, kind, expected):
    """Anything on the page can be asked, whether a rule looks at it or not, in the shapes of Prometheus."""
    await house.steps({"a": 7})
    shown = [*await house.families(), Family("width", "gauge", "", [ValueSeries((("queue", "b"),), 3.0)])]

    async def families():
        return shown

    house.runner._seams = Seams(snapshot=families, legal=list, tell=house.tell)
    data = await house.runner.query(expression, None)
    assert data["resultType"] == kind
    if kind == "vector":
        assert expected == [(one["metric"]["queue"], one["value"][1]) for one in data["result"]]
    else:
        assert data["result"] == [NOW + 1, expected]


async def test_range_query(house):
    """A range yields what is kept of it."""
    await house.steps({"a": 7}, {"a": 8})
    data = await house.runner.query("depth[1s]", None)
    assert data == {
        "resultType": "matrix",
        "result": [{"metric": {"__name__": "depth", "job": "agent", "queue": "a"}, "values": [[NOW + 2, "8"]]}],
    }


async def test_wrong_queries(house):
    """An expression that cannot be read, or has no result now, raises."""
    with pytest.raises(ExpressionError):
        await house.runner.query("depth >", None)
    await house.steps({"a": 7, "b": 8})
    with pytest.raises(EvaluationError):
        await house.runner.query("depth + on() depth", None)


async def test_clock_set(house):
    """A clock that is set moves what is known, and neither ends a `for` nor resolves anything."""
    clock = FakeClock(NOW)
    house.runner._clock = clock
    stepped = asyncio.Queue()
    step = house.runner.step

    async def noted(at_ms):
        await step(at_ms)
        stepped.put_nowait(at_ms)

    house.runner.step = noted
    house.depth = {"a": 9}
    running = asyncio.create_task(house.runner.run())
    times = []
    for set_by in (0, 3600, 0, -7200, 0):
        clock.step(set_by)
        await clock.advance(1)
        times.append(await stepped.get() - round(NOW * 1000))
    running.cancel()
    assert times == [1_000, 3_602_000, 3_603_000, -3_596_000, -3_595_000]
    assert gist(house.told) == [("Deep", True, "a holds 9", 9.0)]


async def test_stalled(house):
    """Rules that are not evaluated are told of; they may be slow for a while."""
    clock = FakeClock(NOW)
    house.runner._clock, house.runner._stepped = clock, clock.monotonic()
    await clock.advance(9)
    assert house.runner.stalled() == ""
    await clock.advance(2)
    assert house.runner.stalled() == "no rule was evaluated for 11 s"
    await house.steps({"a": 1})
    assert house.runner.stalled() == ""


async def test_figures(house):
    """What the status shows."""
    await house.steps({"a": 7}, {"a": 8})
    figures = house.runner.figures
    assert {name: figures[name] for name in ("groups", "rules", "failing", "pending", "firing", "series")} == {
        "groups": 1,
        "rules": 1,
        "failing": [],
        "pending": 0,
        "firing": 1,
        "series": 1,
    }
