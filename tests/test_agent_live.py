"""What the live page is told, by an agent's own parts and a clock that moves when it is told to."""

import json
from collections.abc import Mapping

import pytest

from otel_latency.agent_insight import Insight
from otel_latency.agent_live import MAX_NEW_TURNS, LiveFeed
from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.operations import Operations
from otel_latency.aggregate.samples import SampleTable
from otel_latency.config.load import load
from otel_latency.records import Operation, Profile, Sample
from otel_latency.testing import FakeClock
from otel_latency.web.api import Which

QUIET = {"stages": [], "milestones": {}, "turns": []}
SLOW = {"service": "bot", "stage": "tts", "p95": 0.3, "target": 0.2, "critical": 0.5, "verdict": "slow"}
CRITICAL = {"service": "bot", "turn": "answer", "p95": 2.0, "target": 0.5, "critical": 1.0, "verdict": "critical"}


class Agent:
    """The parts that a feed reads; the overview is what a test says."""

    def __init__(self, directory):
        config = load(None, {"OTEL_LATENCY_STORE__PATH": str(directory)})
        self.clock = FakeClock()
        self.aggregator, self.operations, self.samples = Aggregator(), Operations(), SampleTable()
        self.insight = Insight(
            config,
            clock=self.clock,
            directory=directory,
            aggregator=self.aggregator,
            operations=self.operations,
            samples=self.samples,
        )
        self.overview: Mapping = QUIET
        self.asked: list[Which] = []
        self.overviews = 0
        self.feed = LiveFeed(
            self.insight,
            clock=self.clock,
            aggregator=self.aggregator,
            operations=self.operations,
            samples=self.samples,
            overview=self._overview,
            alerts=self._alerts,
            providers=self._providers,
            judgements=lambda: [{"resource": "cpu", "status": "ok", "reason": ""}],
        )

    async def _overview(self):
        self.overviews += 1
        return self.overview

    async def _alerts(self):
        return {"alerts": [{"state": "pending", "labels": {"alertname": "Soon"}}, {"state": "firing"}]}

    async def _providers(self, which, by):
        self.asked.append(which)
        return {"providers": [{"by": by}]}

    def end_turns(self, *lengths):
        now_ns = round(self.clock.time() * 1e9)
        rows = []
        for number, length in enumerate(lengths, 1):
            identity = (now_ns + number).to_bytes(16, "big"), number.to_bytes(8, "big"), b""
            rows.append((Profile("bot", turn="answer"), *identity, now_ns - round(length * 1e9), now_ns, None))
        self.insight.take(rows)

    async def pass_time(self, seconds):
        for _ in range(round(seconds * 4)):
            await self.clock.advance(0.25)
            self.aggregator.fold(self.clock.time())
            self.insight.tick(self.clock.time())

    async def snapshot(self):
        return json.loads(await self.feed.snapshot())


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path)


async def test_a_snapshot_carries_the_overview(agent):
    """The overview's own keys, and beside them `page` and `live`."""
    agent.samples.put("host", [Sample("otel_latency_host_load1", 1.5)], agent.clock.time())
    told = await agent.snapshot()
    page, live = told.pop("page"), told.pop("live")
    assert (QUIET, agent.clock.time(), 1.5) == (told, live["time"], page["machine"]["load1"])
    assert [{"state": "pending", "labels": {"alertname": "Soon"}}] == page["pending"]
    assert [{"resource": "cpu", "status": "ok", "reason": ""}] == page["judgements"]


async def test_the_overview_is_made_once_a_second(agent):
    """Four snapshots share one; lines and heatmap are of the moment."""
    times = []
    for _ in range(8):
        times.append((await agent.snapshot())["live"]["time"])
        await agent.clock.advance(0.25)
    assert (2, [agent.clock.time() - 2 + step / 4 for step in range(8)]) == (agent.overviews, times)


async def test_turns_are_told_once(agent):
    """A turn is in one snapshot; of many the slowest come first, in the order in which they began."""
    agent.end_turns(1.0)
    await agent.pass_time(3)
    assert [1.0] == [turn["duration_seconds"] for turn in (await agent.snapshot())["live"]["turns"]]
    assert [] == (await agent.snapshot())["live"]["turns"]
    agent.end_turns(*range(1, MAX_NEW_TURNS + 5))
    await agent.pass_time(3)
    told = [turn["duration_seconds"] for turn in (await agent.snapshot())["live"]["turns"]]
    assert [float(length) for length in range(MAX_NEW_TURNS + 4, 4, -1)] == told
    assert [4.0, 3.0, 2.0, 1.0] == [turn["duration_seconds"] for turn in (await agent.snapshot())["live"]["turns"]]
    assert [] == (await agent.snapshot())["live"]["turns"]


async def test_lines_are_those_of_the_series(agent):
    """For each series a line; the heatmap tells what ended."""
    agent.end_turns(1.0, 2.0)
    await agent.pass_time(1)
    told = await agent.snapshot()
    assert [{"kind": "turn", "service": "bot", "name": "answer"}] == told["page"]["series"]
    assert [[1.0, 2.0, 2.0]] == told["live"]["lines"]
    assert [[0, 1], [4, 1]] == sorted([column[2:4] for column in told["live"]["heat"]] + [told["live"]["heat"][0][4:]])


async def test_history_is_the_last_minute(agent):
    """A part for each series, then the latest turns; it can be asked for again."""
    agent.end_turns(1.0)
    await agent.pass_time(3)
    await agent.snapshot()
    for _ in range(2):
        line, turns = [json.loads(part) for part in await agent.feed.history()]
        assert ("answer", 60, [1.0, 1.0, 1.0]) == (
            line["series"][0]["name"],
            len(line["lines"][0]),
            line["lines"][0][-1],
        )
        assert [[0, 1]] == [column[2:] for column in line["heat"]]
        assert ([1.0], []) == ([turn["duration_seconds"] for turn in turns["turns"]], turns["series"])


async def test_what_is_slow_comes_worst_first(agent):
    """Critical before slow, each with the limit it is over."""
    agent.overview = {"stages": [SLOW, {**SLOW, "verdict": "ok"}], "milestones": {"first_audio": CRITICAL}, "turns": []}
    slow = (await agent.snapshot())["page"]["slow"]
    found = [(one["kind"], one["name"], one["service"], one["limit"], one["since"]) for one in slow]
    assert [("first_audio", "answer", "bot", 1.0, None), ("stage", "tts", "bot", 0.2, None)] == found


async def test_running_operations(agent):
    """The oldest come first, with how many there are."""
    now = agent.clock.time()
    for number, age in enumerate((1.0, 3.0)):
        ids = number.to_bytes(16, "big"), number.to_bytes(8, "big")
        agent.operations.add([Operation("start", now - age, *ids, "bot", "llm", estimate=2.0)])
    live = (await agent.snapshot())["live"]
    assert (2, [3.0, 1.0], [2.0, 2.0]) == (
        live["running"],
        [row["elapsed_seconds"] for row in live["operations"]],
        [row["estimate_seconds"] for row in live["operations"]],
    )


async def test_providers_are_asked_for_once_in_a_while(agent):
    """Beside the snapshots, for the last hour, every ten seconds; after a rest, at once."""
    for _ in range(44):
        told = await agent.snapshot()
        await agent.clock.advance(0.25)
    assert (2, {"providers": [{"by": ["provider", "model"]}]}) == (len(agent.asked), told["page"]["providers"])
    assert 3601.0 == agent.asked[0].until - agent.asked[0].since
    agent.feed.rest()
    assert (await agent.snapshot())["page"]["providers"] is None
    await agent.clock.advance(1.0)
    assert {"providers": [{"by": ["provider", "model"]}]} == (await agent.snapshot())["page"]["providers"]
