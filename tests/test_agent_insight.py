"""Spans in, understanding out, and what of it is still there after a restart: the parts as the agent connects them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from traces import START_NS, row, span_id

from otel_latency.agent_answers import Answers
from otel_latency.agent_insight import Insight
from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.operations import Operations
from otel_latency.aggregate.samples import SampleTable
from otel_latency.config.sections import Config
from otel_latency.records import Alert, Family, LLMProfile, Operation, Sample
from otel_latency.testing import FakeClock
from otel_latency.web.api import Which

NOW = START_NS / 1e9
LLM = LLMProfile("openai", "gpt-4o", "draft", "chat")
EVERYTHING = Which()


class Agent:
    """What of the agent knows of insight, with a clock that is ours."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.aggregator, self.operations, self.samples = Aggregator(), Operations(), SampleTable()
        self.insight = Insight(
            Config(),
            clock=clock,
            directory=folder,
            aggregator=self.aggregator,
            operations=self.operations,
            samples=self.samples,
        )
        self.answers = Answers(
            self.insight, clock=clock, operations=self.operations, families=self.families, checks=list, alerts=no_alerts
        )

    async def families(self) -> list[Family]:
        now = self.clock.time()
        return [*self.aggregator.families(now), *self.insight.families(now)]

    async def pass_time(self, seconds: float) -> None:
        """Tick as the agent does, and let what is due be written."""
        for _ in range(round(seconds * 4)):
            await self.clock.advance(0.25)
            self.aggregator.fold(self.clock.time())
            self.insight.tick(self.clock.time())
            await self.insight.history.written()

    def counter(self, name: str, *values: str) -> float:
        families = {one.name: one for one in self.aggregator.families(self.clock.time())}
        return {tuple(v for _, v in s.labels): s.value for s in families[name].series}[values]


async def no_alerts() -> dict[str, list[object]]:
    return {"alerts": []}


@asynccontextmanager
async def running(folder: Path, clock: FakeClock | None = None) -> AsyncIterator[Agent]:
    agent = Agent(folder, clock or FakeClock(NOW))
    await agent.insight.start()
    try:
        yield agent
    finally:
        await agent.insight.close()


def voice_turn(number: int, llm_ms: float = 800, *, at_ms: float = 0.0, **measures: float | str):
    """A turn of three stages in a trace of its own, children first; it ends where its speech does."""
    trace, top = number.to_bytes(16, "big"), 10 * number
    end, said = at_ms + llm_ms, {"session": "s1", "request_id": f"r{number}"}
    call = {"input_tokens": 1000.0, "output_tokens": 100.0, "ttft": 0.3} | measures
    return [
        row("stt", at_ms, at_ms + 100, span=top + 1, parent=top, trace=trace),
        row("llm", at_ms + 100, end, span=top + 2, parent=top, trace=trace, llm=LLM, **call),
        row("tts", end, end + 200, span=top + 3, parent=top, trace=trace),
        row("", at_ms, end + 200, span=top, parent=0, trace=trace, turn="answer", **said),
    ]


async def test_a_turn_is_shown_soon_and_told_in_every_way(tmp_path):
    """As a line, whole by its trace and by its request, in its session; what is on its critical path is counted."""
    async with running(tmp_path) as agent:
        agent.insight.take(voice_turn(7))
        await agent.pass_time(1.0)
        (line,) = (await agent.answers.turns(EVERYTHING, 10, slower_than=0.0))["turns"]
        assert (line["trace_id"], line["duration_seconds"]) == ((7).to_bytes(16, "big").hex(), 1.0)
        whole = await agent.answers.turn(line["trace_id"], "")
        assert [stage["stage"] for stage in whole["stages"]] == ["stt", "llm", "tts"]
        assert sum(tile["seconds"] for tile in whole["critical_path"]) == pytest.approx(1.0)
        assert await agent.answers.turn("r7", "") == whole
        assert await agent.answers.turn("r8", "") is None
        await agent.pass_time(6.0)
        assert agent.insight.families(agent.clock.time())[0].series[0].value == 1
        (exposed,) = [f for f in await agent.families() if f.name == "otel_latency_turn_exposed_seconds"]
        assert {s.labels[-1][1]: s.sum for s in exposed.series} == {
            "stt": pytest.approx(0.1),
            "llm": pytest.approx(0.7),
            "tts": pytest.approx(0.2),
        }
        (session,) = (await agent.answers.sessions(EVERYTHING, 10))["sessions"]
        assert (session["session"], session["turns"], session["is_active"]) == ("s1", 1, True)


async def test_what_was_learnt_is_there_after_a_restart(tmp_path):
    """Turns, their stages, series, counters and forecasts."""
    clock = FakeClock(NOW)
    async with running(tmp_path, clock) as agent:
        agent.samples.put("host", [Sample("otel_latency_host_load1", 2.0)], clock.time())
        for number in range(1, 31):
            agent.insight.take(voice_turn(number, at_ms=number * 1000.0))
            await agent.pass_time(1.0)
        before = await agent.answers.turn(f"{9:032x}", "")
    async with running(tmp_path, FakeClock(clock.time() + 5)) as agent:
        assert len((await agent.answers.turns(EVERYTHING, 100, slower_than=0.0))["turns"]) == 30
        assert await agent.answers.turn(f"{9:032x}", "") == before
        estimate = await agent.answers.estimate("draft", provider="openai", model="gpt-4o", input_tokens=1000)
        assert (estimate["samples"], estimate["seconds"]) == (30, pytest.approx(0.7, rel=0.1))
        for series, counted in (
            ("otel_latency_stage_duration_seconds{stage='llm'}", 30),
            ("otel_latency_host_load1", 1),
        ):
            (line,) = (await agent.answers.history(series, NOW - 60, clock.time() + 60, None))["series"]
            assert sum(point["count"] for point in line["points"]) == counted
        agent.insight.take(voice_turn(31, at_ms=40_000))
        assert agent.counter("otel_latency_stages_total", "bot", "llm", "ok") == 31
        assert agent.counter("otel_latency_turns_total", "bot", "answer", "ok") == 31


async def test_what_comes_twice_counts_once(tmp_path):
    """OTLP lets a sender send again: neither counts, nor turns, nor operations may notice."""
    async with running(tmp_path) as agent:
        for _ in range(3):
            agent.insight.take(voice_turn(1, cost_usd=0.01))
        await agent.pass_time(7.0)
        assert agent.counter("otel_latency_stages_total", "bot", "llm", "ok") == 1
        (row_,) = (await agent.answers.summary(Which(kind="llm"), ("model",)))["summary"]
        assert (row_["model"], row_["count"]) == ("gpt-4o", 1)
        assert agent.insight.unassembled() == {}


async def test_providers_are_compared_and_priced(tmp_path):
    """Faster and cheaper come out as such; a cost that senders told is believed."""
    other = LLMProfile("groq", "llama", "draft", "chat")
    async with running(tmp_path) as agent:
        for at, number in enumerate(random.Random(7).sample(range(1, 41), 40)):
            slow = voice_turn(number, 900 + number, at_ms=at * 50, cost_usd=0.02)
            call = at * 50, at * 50 + 300 + number
            fast = [row("llm", *call, span=5, trace=bytes([number]) * 16, llm=other, cost_usd=0.001)]
            agent.insight.take([*slow, *fast])
        await agent.pass_time(2.0)
        found = await agent.answers.providers(Which(kind="llm"), ("provider", "model"))
        assert [(one["provider"], one["count"]) for one in found["providers"]] == [("groq", 40), ("openai", 40)]
        slower = found["providers"][1]["difference"]
        assert (slower["verdict"], slower["seconds"]) == ("slower", pytest.approx(0.5, abs=0.02))
        assert found["totals"]["cost_usd"]["provider"] == {"openai": pytest.approx(0.8), "groq": pytest.approx(0.04)}


async def test_what_a_session_costs(tmp_path):
    """Calls of models name no session: the turn knows. It is told alike before and after a restart, and of a task."""
    clock = FakeClock(NOW)
    async with running(tmp_path, clock) as agent:
        for number in range(1, 4):
            agent.insight.take(voice_turn(number, 800 if number > 1 else 1700, at_ms=number * 100.0, cost_usd=0.25))
        await agent.pass_time(7.0)
        (before,) = (await agent.answers.sessions(EVERYTHING, 10))["sessions"]
        totals = (await agent.answers.providers(Which({"task": "draft"}, kind="llm"), ("provider",)))["totals"]
        assert totals["cost_usd"]["session"] == {"s1": 0.75}
    async with running(tmp_path, FakeClock(clock.time() + 5)) as agent:
        (after,) = (await agent.answers.sessions(EVERYTHING, 10))["sessions"]
        assert (before["is_active"], after["is_active"]) == (True, False)
        assert before == {**after, "is_active": True}
        assert (after["turns"], after["llm_calls"], after["cost_usd"], after["input_tokens"]) == (3, 3, 0.75, 3000)
        assert (after["first_llm_seconds"], after["later_llm_seconds"]) == pytest.approx((1.6, 0.7))
        nothing = await agent.answers.sessions(Which(since=clock.time()), 10)
        assert nothing == {"sessions": [], "sampling_ratio": 1.0}


async def test_a_session_whose_first_turn_goes_on(tmp_path):
    """It is none yet, whatever of it has ended."""
    async with running(tmp_path) as agent:
        agent.insight.take([row("llm", 0, 500, span=2, llm=LLM, session="s1")])
        await agent.pass_time(2.0)
        assert (await agent.answers.sessions(EVERYTHING, 10))["sessions"] == []


async def test_a_turn_whose_clock_is_ahead(tmp_path):
    """It ended when it came: what ends later is newer, from memory as from the history."""
    clock = FakeClock(NOW)
    async with running(tmp_path, clock) as agent:
        agent.insight.take(voice_turn(1, at_ms=3_600_000.0))
        await agent.pass_time(7.0)
        agent.insight.take(voice_turn(2, at_ms=6_000.0))
        for seconds in (1.0, 6.0):
            await agent.pass_time(seconds)
            assert await newest_requests(agent) == ["r2", "r1"]
            assert await newest_requests(agent, limit=1) == ["r2"]
    async with running(tmp_path, FakeClock(clock.time() + 5)) as agent:
        assert await newest_requests(agent) == ["r2", "r1"]
        assert await newest_requests(agent, Which(until=NOW + 6.9)) == ["r1"]


async def test_a_turn_without_root_is_listed_once(tmp_path):
    """While memory and history both know it."""
    async with running(tmp_path) as agent:
        agent.insight.take(voice_turn(1)[:-1])
        await agent.pass_time(60.0)
        (line,) = (await agent.answers.turns(EVERYTHING, 10, slower_than=0.0))["turns"]
        assert (line["trace_id"], line["span_id"]) == (f"{1:032x}", None)
        assert len((await agent.insight.history.turns())["turns"]) == len(list(agent.insight.latest)) == 1


async def newest_requests(agent: Agent, which: Which = EVERYTHING, limit: int = 10) -> list[str]:
    return [line["request_id"] for line in (await agent.answers.turns(which, limit, slower_than=0.0))["turns"]]


async def test_single_operations_and_alerts_of_the_past(tmp_path):
    """As they were kept, the newest first."""
    async with running(tmp_path) as agent:
        agent.insight.take(voice_turn(1, cost_usd=0.25))
        for start in (NOW - 60, NOW):
            agent.insight.history.tell([Alert({"alertname": "Slow"}, {}, start, NOW, True, 2.0)])
        await agent.pass_time(7.0)
        found = await agent.answers.operations(Which({"session": "s1"}, kind="llm"), 10)
        assert [(one["model"], one["session"]) for one in found["operations"]] == [("gpt-4o", "s1")]
        assert found["sampling_ratio"] == 1.0
        episodes = (await agent.answers.alert_history(NOW - 60, NOW + 1, 10))["alerts"]
        assert [one["start"] for one in episodes] == [NOW, NOW - 60]


async def test_two_agents_in_one_directory(tmp_path):
    """The second one's past is in memory; it says why, and what helps."""
    async with running(tmp_path), running(tmp_path) as second:
        fault = second.insight.history.fault
        assert "another agent uses it: give each its own store.path" in fault


async def test_a_price_that_is_found_late_is_counted_everywhere(tmp_path):
    """The first calls of a model wait for a look into the price list, and are paid for all the same."""
    async with running(tmp_path) as agent:
        agent.insight.take(voice_turn(1))
        for _ in range(200):
            await asyncio.sleep(0.05)  # a program of its own looks, in its own time
            await agent.pass_time(0.25)
            families = {family.name: family for family in await agent.families()}
            if "otel_latency_llm_cost_usd_total" in families:
                break
        cost = 1000 * 2.5e-6 + 100 * 10e-6
        assert families["otel_latency_llm_cost_usd_total"].series[0].value == pytest.approx(cost)
        turn = await agent.answers.turn("r1", "")
        assert [stage["llm"]["cost_usd"] for stage in turn["stages"] if "llm" in stage] == [pytest.approx(cost)]
        await agent.pass_time(2.0)
        (told,) = (await agent.answers.summary(Which(kind="llm"), ("model",)))["summary"]
        assert (told["priced"], told["cost_usd"]) == (1, pytest.approx(cost))


async def test_a_running_operation_gets_an_estimate(tmp_path):
    """Where its sender had none; its own is left alone."""
    async with running(tmp_path) as agent:
        for number in range(1, 31):
            agent.insight.take(voice_turn(number))
            await agent.pass_time(0.25)
        call = {"service": "bot", "stage": "llm", "task": "draft", "provider": "openai", "model": "gpt-4o"}
        now = agent.clock.time()
        for number, estimate in ((1, None), (2, 9.0)):
            agent.operations.add([Operation("start", now, b"t" * 16, span_id(number), estimate=estimate, **call)])
        found = [one["estimate_seconds"] for one in (await agent.answers.running())["operations"]]
        assert found == [pytest.approx(0.7, rel=0.1), 9.0]


async def test_a_directory_that_cannot_be_made_costs_only_the_past(tmp_path):
    """Everything works in memory, and /status says so."""
    (tmp_path / "otel-latency-data").write_text("in the way")
    async with running(tmp_path) as agent:
        agent.insight.take(voice_turn(1))
        await agent.pass_time(7.0)
        assert len((await agent.answers.turns(EVERYTHING, 10, slower_than=0.0))["turns"]) == 1
        status = agent.insight.history.status()
        assert status["is_in_memory"]
        assert "otel-latency-data" in status["fault"]


async def test_under_load_whole_traces_are_left_out(tmp_path):
    """Counts are of all; turns are of a sample, none of them torn, and what is missing is told."""
    async with running(tmp_path) as agent:
        for second in range(16):
            for tenth in range(10):
                first = second * 1000 + tenth * 100 + 1
                agent.insight.take([r for n in range(first, first + 100) for r in sampled_turn(n, second * 1000.0)])
            await agent.pass_time(1.0)
        await agent.pass_time(8.0)
        assert agent.counter("otel_latency_turns_total", "bot", "answer", "ok") == 16_000
        (exposed,) = [f for f in await agent.families() if f.name == "otel_latency_turn_exposed_seconds"]
        counts = {series.labels[-1][1]: series.count for series in exposed.series}
        assert counts["stt"] == counts["llm"] == counts["tts"] < 12_000
        told = agent.insight.unassembled()
        assert 4 * counts["llm"] + told["sampled"] + told.get("torn", 0) == 64_000
        found = await agent.answers.durations(Which({"model": "nobody"}), ("model",), 10)
        assert found["sampling_ratio"] < 1.0
        assert NOW + 14.0 < found["complete_from"] <= agent.clock.time()


def sampled_turn(number: int, at_ms: float):
    """Like `voice_turn`, with a trace id whose low bits are spread evenly."""
    trace = b"\1" * 9 + (number * 0x9E3779B97F4A7C % (1 << 56)).to_bytes(7, "big")
    return [(*one[:1], trace, *one[2:]) for one in voice_turn(number, at_ms=at_ms)]
