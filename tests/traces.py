"""Turns for tests: written in milliseconds, or drawn at random with their gates known, to be simulated anew."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import msgspec

from otel_latency.records import LLMProfile, Profile, SpanRow

START_NS = 1_795_260_000_000_000_000
TRACE = bytes(range(1, 17))
LLM = LLMProfile(provider="openai", model="gpt-4o", operation="chat")


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def row(
    stage: str,
    start_ms: float,
    end_ms: float,
    *,
    span: int,
    parent: int = 1,
    turn: str = "",
    service: str = "bot",
    status: str = "ok",
    llm: LLMProfile | None = None,
    after: list[tuple[int, str]] | None = None,
    moments: dict[str, float] | None = None,
    trace: bytes = TRACE,
    **measures: float | str,
) -> SpanRow:
    """A span's row. Times are milliseconds from `START_NS`, *moments* milliseconds from the span's start."""
    said: dict[str, float | str] = dict(measures)
    if after:
        said["after"] = msgspec.json.encode([(span_id(one).hex(), name) for one, name in after]).decode()
    if moments:
        said["moments"] = msgspec.json.encode({name: ms / 1000 for name, ms in moments.items()}).decode()
    profile = Profile(service, stage, turn, status, llm)
    times = START_NS + round(start_ms * 1e6), START_NS + round(end_ms * 1e6)
    return profile, trace, span_id(span), span_id(parent) if parent else b"", *times, said or None


@dataclass(frozen=True)
class Step:
    """A stage of a simulated pipeline: it starts *lag_ns* after the last of its gates and works towards its moments."""

    name: str
    gates: tuple[tuple[int, str], ...]
    lag_ns: int
    work: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Pipeline:
    """What a random application would do, apart from when it does it. A gate names an earlier step, -1 the request."""

    steps: tuple[Step, ...]
    sink: tuple[int, str]
    tail_ns: int = 0
    times: dict[tuple[int, str], int] = field(default_factory=dict, compare=False)

    def run(self) -> Pipeline:
        """The same with `times`: when each moment is reached, in ns from the request."""
        times: dict[tuple[int, str], int] = {(-1, "start"): 0}
        for index, step in enumerate(self.steps):
            now = max(times[gate] for gate in step.gates) + step.lag_ns
            times[index, "start"] = now
            for name, length in step.work:
                now += length
                times[index, name] = now
        return replace(self, times=times)

    @property
    def reached_ns(self) -> int:
        """When the sink is reached."""
        return self.times[self.sink]

    def faster(self, step: int, share: float) -> Pipeline:
        """With all the work of one step shortened."""
        old = self.steps[step]
        work = tuple((name, length - round(length * share)) for name, length in old.work)
        steps = (*self.steps[:step], replace(old, work=work), *self.steps[step + 1 :])
        return replace(self, steps=steps).run()

    def rows(self) -> list[SpanRow]:
        """Its spans, the turn's first; moments in whole nanoseconds."""
        end = max(self.times.values()) + self.tail_ns
        made: list[SpanRow] = [
            (Profile("bot", "", "answer"), TRACE, span_id(1), b"", START_NS, START_NS + end, None),
        ]
        for index, step in enumerate(self.steps):
            begin, last = self.times[index, "start"], self.times[index, "end"]
            said: dict[str, float | str] = {
                "moments": msgspec.json.encode(
                    {name: (self.times[index, name] - begin) / 1e9 for name, _ in step.work if name != "end"}
                ).decode(),
            }
            waits = [(span_id(producer + 2).hex(), name) for producer, name in step.gates if producer >= 0]
            if waits:
                said["after"] = msgspec.json.encode(waits).decode()
            profile = Profile("bot", step.name)
            times = START_NS + begin, START_NS + last
            made.append((profile, TRACE, span_id(index + 2), span_id(1), *times, said))
        return made


def random_pipeline(rng: random.Random) -> Pipeline:
    """Up to nine stages with streams and joins; each waits for declared milestones of earlier ones."""
    steps: list[Step] = []
    for index in range(rng.randint(2, 9)):
        names = [f"m{index}_{k}" for k in range(rng.randint(0, 3))] + ["end"]
        if index == 0:
            gates: tuple[tuple[int, str], ...] = ((-1, "start"),)
        else:
            chosen = rng.sample(range(index), k=min(index, rng.randint(1, 3)))
            gates = tuple((one, rng.choice(steps[one].work)[0]) for one in chosen)
        work = tuple((name, rng.choice([0, 1, rng.randint(1, 10**6), rng.randint(1, 10**9)])) for name in names)
        steps.append(Step(f"stage{index}", gates, rng.choice([0, 0, rng.randint(1, 10**7)]), work))
    last = rng.randrange(len(steps))
    return Pipeline(tuple(steps), (last, rng.choice(steps[last].work)[0]), rng.choice([0, rng.randint(1, 10**8)])).run()
