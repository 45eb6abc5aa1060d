"""What operations take, learnt from finished spans: estimates for those to come, and which of them are anomalies.

An LLM call is learnt under its provider, its task (or operation) and its model, and so leans on its model, then its
provider, then on LLM calls in general while it is new; a change is looked for per provider and model, since that is
what changes. Every other stage is learnt under its service and name: two services' stages of one name share nothing,
and what a retrieval takes says nothing about synthesis, so stages have a predictor of their own, are watched one by
one, and are never guessed from each other. What a model's host measures itself is such a stage, too, or each call
would be learnt twice. A task whatever its model is no third thing to learn: its estimate is made of those of its
models, each after how often it was called in the last hours.

Only what succeeded is learnt, and only as much per tick as there is time for (see `fair_sample`). How many calls are in
flight is taken as 0: spans come when their call is over, and who ran beside it is known too late. Calls that ended
minutes ago are learnt, and raise no anomaly.

Spans that were seen before are not to be handed in. Cost: 0.1 us a span in `add`, 0.1 ms a call learnt in `learn`.
Memory: some 35 KiB for each of up to 250 operations, 60 KiB for each of as many stages. Not safe for threads.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Final, NamedTuple

from otel_latency.aggregate.anomalies import Anomalies, Source
from otel_latency.aggregate.blend import blended
from otel_latency.aggregate.fair_sample import FairSample
from otel_latency.predict import Estimate, Predictor
from otel_latency.predict.estimate import LEVELS
from otel_latency.records import Family, Profile, SpanRow

MAX_KEYS: Final = 500
PER_TICK: Final = 8
"""1 ms where all are LLM calls; at 2,000 spans a second 2 us for each of them."""
WARM: Final = 30
"""Calls from which the tail of an operation is known well enough to call one of them slow."""
LIVE: Final = 180.0
"""A call that ended longer ago was sent late, and is no news."""
MOST_TOKENS: Final = 1e7
MAX_ALIKE: Final = 8
"""Models that an estimate for a task is made of: those that are called most."""
USAGE_HALF_LIFE: Final = 3600.0
MAGIC: Final = b"otel-latency forecasts 1\n"
_HEAD: Final = struct.Struct("<IIII")

Key = tuple[str, str, str]
"""Provider, task, model of a call; service, stage, stage of anything else."""


class _Usage:
    """How often each key was called lately."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self.weights: OrderedDict[Key, tuple[float, float]] = OrderedDict()

    def add(self, key: Key, calls: float, now: float) -> None:
        self.weights[key] = self.at(key, now) + calls, now
        self.weights.move_to_end(key)
        if len(self.weights) > self._max_keys:
            self.weights.popitem(last=False)

    def at(self, key: Key, now: float) -> float:
        weight, then = self.weights.get(key, (0.0, now))
        return weight * float(2.0 ** (-max(now - then, 0.0) / USAGE_HALF_LIFE))

    def most(self, keys: Sequence[Key], now: float) -> list[tuple[float, Key]]:
        return sorted(((self.at(key, now), key) for key in keys), reverse=True)[:MAX_ALIKE]


class _Kind:
    """The operations of one kind, LLM calls or other stages."""

    def __init__(self, max_keys: int) -> None:
        self.predictor = Predictor(max_keys=max_keys)
        self.usage = _Usage(max_keys)


class _Ended(NamedTuple):
    """A call that is over, as it is to be learnt."""

    end: float
    seconds: float
    stands_for: int
    source: Source
    row: SpanRow


class Forecasts:
    """Learns, answers what to expect, and keeps what was not as expected."""

    def __init__(self, *, max_keys: int = MAX_KEYS, per_tick: int = PER_TICK) -> None:
        """*max_keys* operations and stages are known, half of them LLM calls; those unused for longest are forgotten.
        *per_tick* calls are learnt at each tick.
        """
        self._max_keys = max_keys // 2
        self._per_tick = per_tick
        self._calls, self._stages = _Kind(self._max_keys), _Kind(self._max_keys)
        self._waiting = FairSample(_is_learnt, room=20 * per_tick)
        self._anomalies = Anomalies(max_series=max_keys)
        self._expected: dict[tuple[str, ...], float | None] = {}
        self._now = 0.0
        self.learnt = 0
        self.failed = 0
        """Calls whose numbers cannot be learnt together with those before them."""

    # --- learning ------------------------------------------------------------------------------------------------

    def add(self, rows: list[SpanRow]) -> None:
        """Take finished spans; nothing is learnt before the next tick."""
        self._waiting.add(rows)

    def learn(self, now: float) -> None:
        """Learn from what came in, `per_tick` of them at most; *now* is Unix seconds. Called at every tick."""
        self._now = now
        self._anomalies.tick(now)
        self._expected.clear()
        ended = [_ended(row, stands_for, now) for row, stands_for in self._waiting.take(self._per_tick)]
        for one in sorted(ended, key=_end):
            if one.seconds <= 0:
                continue
            try:
                self._learn(one, now)
            except ArithmeticError:
                # Numbers that no floats can hold together must not cost the other calls theirs.
                self.failed += 1

    @property
    def passed_over(self) -> int:
        """Successful calls and stages that were not learnt, since there were too many."""
        return self._waiting.passed_over

    def _learn(self, ended: _Ended, now: float) -> None:
        source, seconds, measures = ended.source, ended.seconds, ended.row[6] or {}
        kind, (provider, task, model) = self._place(source)
        predictor = kind.predictor
        input_tokens, output_tokens = (_tokens(measures.get(name)) for name in ("input_tokens", "output_tokens"))
        estimate = predictor.predict(provider, task, model, input_tokens=input_tokens, now=ended.end)
        slow = predictor.slow_call(estimate, seconds, output_tokens=output_tokens) if estimate.samples >= WARM else None
        shift = predictor.observe(estimate, seconds, output_tokens=output_tokens, now=ended.end)
        kind.usage.add((provider, task, model), ended.stands_for, now)
        self.learnt += 1
        if now - ended.end > LIVE:
            return
        ids = ended.row[1].hex(), ended.row[2].hex()
        if slow is not None:
            self._anomalies.slow(source, slow, ended.end - seconds, ids)
        if shift is not None:
            self._anomalies.shifted(source, shift, ids)
        self._anomalies.heard(source, predictor.anomaly(provider, model))

    def _place(self, source: Source) -> tuple[_Kind, Key]:
        """Where it is learnt."""
        if source.task:
            return self._calls, (source.provider, source.task, source.model)
        return self._stages, (source.service, source.stage, source.stage)

    # --- estimates -----------------------------------------------------------------------------------------------

    def estimate(
        self, task: str, *, provider: str = "", model: str | None = None, input_tokens: float | None = None
    ) -> Estimate:
        """What an LLM call takes, or without a provider a stage of that name.

        Without a model or provider, that of the models in use. Of a model that was never called, that of the task's
        others, without samples of its own; else the provider's calls in general, or all calls.
        """
        input_tokens = _tokens(input_tokens)
        found = self._of_task(task, provider, model, input_tokens)
        if found is None and not provider and not model:
            found = self._blend(self._stages, [key for key in self._stages.usage.weights if key[1] == task], None)
        return found or self._calls.predictor.predict(provider, task, model, input_tokens=input_tokens, now=self._now)

    def _instead(self, task: str, provider: str, model: str | None) -> str:
        """What stands in where there is nothing of just that task."""
        if any(key[1] == task and provider in ("", key[0]) for key in self._calls.usage.weights):
            return "models"
        if model and self._calls.predictor.knows(provider, model):
            return "model"
        return "provider" if self._calls.predictor.knows(provider) else "all"

    def _of_task(self, task: str, provider: str, model: str | None, input_tokens: float | None) -> Estimate | None:
        of_task = [key for key in self._calls.usage.weights if key[1] == task and provider in ("", key[0])]
        exact = [key for key in of_task if not model or key[2] == model]
        found = self._blend(self._calls, exact or of_task, input_tokens)
        return found if exact or found is None else replace(found, samples=0)

    def estimate_json(
        self, task: str, provider: str = "", model: str | None = None, input_tokens: float | None = None
    ) -> dict[str, object]:
        """The answer of `/api/v1/estimate`; `seconds` and its like are null while nothing at all was learnt.

        `basis` is what it was learnt from: the `task` itself, the same task with other `models`, or without any sample
        of it other tasks of the `model` or its `provider`, or `all` calls.
        """
        asked = {"task": task, "provider": provider, "model": model or ""}
        found = self.estimate(task, provider=provider, model=model, input_tokens=input_tokens)
        if not found.samples and not self._calls.predictor.operations:
            nothing = dict.fromkeys(("seconds", "low", "high", "confidence"))
            text = "nothing is known yet: no LLM call has been seen"
            return {**asked, **nothing, "level": "low", "text": text, "samples": 0, "basis": None, "quantiles": []}
        return {
            **asked,
            "seconds": found.seconds,
            "low": found.low,
            "high": found.high,
            "confidence": found.confidence,
            "level": found.level,
            "text": found.text,
            "samples": found.samples,
            "basis": "task" if found.samples else self._instead(task, provider, model),
            "quantiles": [list(pair) for pair in zip(LEVELS, found.quantiles, strict=True)],
        }

    def expected(self, operation: Mapping[str, object]) -> float | None:
        """The seconds that a running operation will take, by its own or its task's past; None where there is none.

        *operation* is a row of `Operations.running`. Answers are kept until the next tick.
        """
        service, stage, task, provider, model = (
            str(operation.get(name) or "") for name in ("service", "stage", "task", "provider", "model")
        )
        key = service, stage, task, provider, model
        if key not in self._expected:
            self._expected[key] = self._expect(Source(service, stage, provider, model, task))
        return self._expected[key]

    def _expect(self, source: Source) -> float | None:
        if source.provider or source.model or source.task:
            of_task = self._of_task(source.task or source.stage, source.provider, source.model, None)
            return None if of_task is None else of_task.seconds
        found = self._stages.predictor.predict(source.service, source.stage, source.stage, now=self._now)
        return found.seconds if found.samples else None

    def _blend(self, kind: _Kind, keys: Sequence[Key], input_tokens: float | None) -> Estimate | None:
        parts = []
        for weight, (provider, task, model) in kind.usage.most(keys, self._now):
            found = kind.predictor.predict(provider, task, model, input_tokens=input_tokens, now=self._now)
            if found.samples:
                parts.append((weight, found))
        return blended(parts) if parts else None

    # --- anomalies -----------------------------------------------------------------------------------------------

    def anomalies(self, _now: float) -> list[dict[str, object]]:
        """The latest slow calls and shifts, newest first: the fields of `anomalies.Anomaly`."""
        return [asdict(one) for one in self._anomalies.latest()]

    def families(self, _now: float) -> list[Family]:
        """`otel_latency_anomaly_score` as of the last tick; what it means is told in `anomalies`."""
        return self._anomalies.families()

    # --- to keep it ----------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Everything learnt and the latest anomalies, for `load`: 14 KiB for each operation, 8 MiB at most.

        Costs 0.2 ms for each operation.
        """
        kinds = self._calls, self._stages
        usage = [[[*key, *pair] for key, pair in kind.usage.weights.items()] for kind in kinds]
        words = json.dumps({"usage": usage, "anomalies": self._anomalies.state()}).encode()
        calls, stages = (kind.predictor.dump() for kind in kinds)
        body = words + calls + stages
        return MAGIC + _HEAD.pack(zlib.crc32(body), len(words), len(calls), len(stages)) + body

    def load(self, dumped: bytes) -> None:
        """Go on from what was dumped. ValueError, and nothing is changed, where that is damaged or of another kind."""
        start = len(MAGIC) + _HEAD.size
        if not dumped.startswith(MAGIC) or len(dumped) < start:
            raise ValueError("this is no state of forecasts, or one of another version")
        checksum, *lengths = _HEAD.unpack_from(dumped, len(MAGIC))
        body = dumped[start:]
        if zlib.crc32(body) != checksum or sum(lengths) != len(body):
            raise ValueError("the state of forecasts is damaged")
        words, predictors = body[: lengths[0]], body[lengths[0] :]
        kinds = _Kind(self._max_keys), _Kind(self._max_keys)
        anomalies = Anomalies(max_series=2 * self._max_keys)
        try:
            kept = json.loads(words)
            for kind, part, usage in zip(
                kinds, (predictors[: lengths[1]], predictors[lengths[1] :]), kept["usage"], strict=True
            ):
                kind.predictor.load(part)
                for provider, task, model, weight, then in usage:
                    kind.usage.add((provider, task, model), weight, then)
            anomalies.restore(kept["anomalies"])
        except (KeyError, TypeError) as error:
            raise ValueError("the state of forecasts is of another shape") from error
        (self._calls, self._stages), self._anomalies = kinds, anomalies


def _is_learnt(profile: Profile) -> bool:
    return bool(profile.stage) and profile.status == "ok"


def _ended(row: SpanRow, stands_for: int, now: float) -> _Ended:
    """What is to be learnt from *row*; its seconds are 0 where it has no times."""
    profile, _, _, _, start_ns, end_ns, measures = row
    seconds = (measures or {}).get("duration")
    if not isinstance(seconds, float):
        seconds = (end_ns - start_ns) * 1e-9 if start_ns and end_ns else 0.0
    source = Source(profile.service, profile.stage)
    if profile.llm and profile.llm.origin == "client":
        llm = profile.llm
        source = Source(profile.service, profile.stage, llm.provider, llm.model, llm.task or llm.operation or "llm")
    return _Ended(min(end_ns * 1e-9, now) if end_ns else now, seconds, stands_for, source, row)


def _end(ended: _Ended) -> float:
    return ended.end


def _tokens(value: object) -> float | None:
    """None where they were not told, or cannot be true."""
    return value if isinstance(value, float | int) and 0 <= value <= MOST_TOKENS else None
