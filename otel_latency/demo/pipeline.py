"""A synthetic voice pipeline: everything that a turn is going to do, decided before it is played.

    stt --> retrieval --> llm, streaming ----------------+
                           |                             | the turn ends with the last audio
                           +--first sentence--> tts -----+

Speech synthesis starts at the model's first sentence, so the two overlap. Times are lognormal around the medians of
`SCENARIOS`. A few calls fail at once, a few hang until their timeout, a few turns are interrupted by the caller; once
a minute one provider has a slow spell.

Pure: turn *n* of a seed is the same every time, whenever it is asked for. Times are seconds from the turn's start.
Cost: about 50 us a turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import log
from random import Random
from typing import Final

from otel_latency import semconv

Attributes = Mapping[str, str | int | float | bool]

LLM_TIMEOUT: Final = 6.0
SPELL: Final = 20.0
"""How long a provider stays slow, in each minute."""
SLOWNESS: Final = 3.0
HANGING: Final = 100.0
"""So slow that no first token comes before the timeout."""
FATES: Final = {"ok": 0.95, "error": 0.015, "timeout": 0.005, "interrupted": 0.03}
ERRORS: Final = ("RateLimitError", "InternalServerError")
TURNS_PER_CALL: Final = 6


@dataclass(frozen=True, slots=True)
class Model:
    """A language model, with the medians of its first token and of the gap between tokens."""

    provider: str
    name: str
    first_token: float
    gap: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of conversation: who has it, over how many phone lines, with which models."""

    service: str
    turn: str
    task: str
    lines: int
    models: tuple[Model, ...]
    prompt_tokens: int
    reply_tokens: int


MINI: Final = Model("openai", "gpt-4o-mini", 0.38, 0.009)
LARGE: Final = Model("openai", "gpt-4o", 0.46, 0.013)
HAIKU: Final = Model("anthropic", "claude-haiku-4-5", 0.48, 0.008)
FLASH: Final = Model("gcp.gemini", "gemini-2.5-flash", 0.36, 0.006)
LLAMA: Final = Model("groq", "llama-3.3-70b-versatile", 0.17, 0.004)

SCENARIOS: Final = (
    Scenario("support-bot", "answer", "draft_reply", 14, (MINI, HAIKU, FLASH), 900, 45),
    Scenario("support-bot", "identify_caller", "extract_identity", 4, (MINI, LLAMA), 250, 18),
    Scenario("order-line", "take_order", "confirm_order", 7, (LLAMA, LARGE, HAIKU), 1400, 30),
)
PROVIDERS: Final = sorted({model.provider for scenario in SCENARIOS for model in scenario.models})

_LINES: Final = tuple(scenario for scenario in SCENARIOS for _ in range(scenario.lines))
# Coprime with the number of lines: every line gets its turn, and lines of a scenario do not follow each other.
_STRIDE: Final = 7


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a turn. `attributes` are known when it starts, `results` when it has ended well.

    Milestones are counted from the turn's start, as its start and end are. `after` is the stage and the milestone
    there that this one waits for.
    """

    stage: str
    span_name: str
    start: float
    end: float
    milestones: Mapping[str, float] = field(default_factory=dict)
    attributes: Attributes = field(default_factory=dict)
    results: Attributes = field(default_factory=dict)
    after: tuple[str, str] | None = None
    status: str = "ok"
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn from its first byte to its last."""

    service: str
    name: str
    session: str
    steps: tuple[Step, ...]
    status: str = "ok"

    @property
    def end(self) -> float:
        return max(step.end for step in self.steps)

    @property
    def milestones(self) -> dict[str, float]:
        """Those of its stages, and the start of speech synthesis."""
        found = {name: at for step in self.steps for name, at in step.milestones.items()}
        for step in self.steps:
            if step.stage == "tts":
                found["tts_start"] = step.start
        return found

    def moments(self) -> list[tuple[float, Step, bool]]:
        """When each stage starts (True) and ends (False), in the order of time."""
        moments = [(step.start, step, True) for step in self.steps] + [(step.end, step, False) for step in self.steps]
        return sorted(moments, key=lambda moment: moment[0])


def plan(number: int, *, seed: int, slow_provider: str = "") -> Turn:
    """Turn *number*, while *slow_provider* has its spell."""
    random = Random(f"{seed}/{number}")
    line = number * _STRIDE % len(_LINES)
    call = (number // len(_LINES) + line) // TURNS_PER_CALL
    scenario = _LINES[line]
    (fate,) = random.choices(list(FATES), list(FATES.values()))

    stt = Step("stt", "stt", 0.0, _around(random, 0.16, 0.3))
    retrieval = Step("retrieval", "retrieval", stt.end, stt.end + _around(random, 0.06, 0.7))
    model = random.choice(scenario.models)
    slowness = HANGING if fate == "timeout" else SLOWNESS if model.provider == slow_provider else 1.0
    llm = _llm(random, scenario, model, retrieval.end, slowness)
    tts = _tts(random, llm)
    turn = Turn(scenario.service, scenario.turn, f"call-{line}-{call}", (stt, retrieval, llm, tts))

    if fate == "error":
        refusal = random.uniform(llm.start, llm.milestones["first_chunk"])
        return _broken_off(turn, refusal, "error", random.choice(ERRORS))
    if llm.end > llm.start + LLM_TIMEOUT:
        return _broken_off(turn, llm.start + LLM_TIMEOUT, "timeout", "timeout")
    if fate == "interrupted":
        return _broken_off(turn, random.uniform(tts.milestones["first_audio"], tts.end), "interrupted")
    return turn


def slow_provider(elapsed: float, *, seed: int) -> str:
    """The provider that has a slow spell *elapsed* seconds after the start, or nothing."""
    minute, second = divmod(elapsed, 60.0)
    random = Random(f"{seed}/minute {minute:.0f}")
    start = random.uniform(15.0, 60.0 - SPELL)
    return random.choice(PROVIDERS) if start <= second < start + SPELL else ""


def arrivals(turns_per_second: float, *, seed: int) -> Iterator[float]:
    """When callers speak, in seconds from the start: for ever, and independently of each other."""
    random = Random(f"{seed}/arrivals")
    now = 0.0
    while True:
        now += random.expovariate(turns_per_second)
        yield now


def _around(random: Random, median: float, spread: float) -> float:
    """A lognormal time; two thirds of them lie within a factor of e^spread."""
    return random.lognormvariate(log(median), spread)


def _llm(random: Random, scenario: Scenario, model: Model, start: float, slowness: float) -> Step:
    wait = slowness * _around(random, model.first_token, 0.35)
    gap = slowness * _around(random, model.gap, 0.2)
    first_sentence_tokens = 5 + round(_around(random, 8, 0.3))
    output_tokens = first_sentence_tokens + round(_around(random, scenario.reply_tokens, 0.5))
    first_token = start + wait
    return Step(
        stage="llm",
        span_name=f"chat {model.name}",
        start=start,
        end=first_token + gap * (output_tokens - 1),
        milestones={
            "first_chunk": start + 0.9 * wait,  # it says who speaks, and nothing yet
            "first_token": first_token,
            "first_sentence": first_token + gap * (first_sentence_tokens - 1),
        },
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.provider,
            "gen_ai.request.model": model.name,
            "gen_ai.request.stream": True,
            semconv.TASK: scenario.task,
            semconv.TIMEOUT: LLM_TIMEOUT,
        },
        results={
            "gen_ai.usage.input_tokens": round(_around(random, scenario.prompt_tokens, 0.3)),
            "gen_ai.usage.output_tokens": output_tokens,
            semconv.TIME_PER_OUTPUT_TOKEN: gap,
        },
    )


def _tts(random: Random, llm: Step) -> Step:
    start = llm.milestones["first_sentence"]
    first_audio = start + _around(random, 0.13, 0.35)
    last_sentence = _around(random, 0.18, 0.3)
    return Step(
        stage="tts",
        span_name="tts",
        start=start,
        end=max(first_audio, llm.end) + last_sentence,
        milestones={"first_audio": first_audio},
        after=("llm", "first_sentence"),
    )


def _broken_off(turn: Turn, at: float, status: str, error_type: str = "") -> Turn:
    """*turn*, ended with *status* at the moment *at*.

    A caller who interrupts interrupts every stage; where the model fails, what else runs is cancelled.
    """

    def cut(step: Step) -> Step:
        if step.end <= at:
            return step
        is_cause = step.stage == "llm" or status == "interrupted"
        return replace(
            step,
            end=at,
            milestones={name: moment for name, moment in step.milestones.items() if moment <= at},
            results={},  # usage comes with a stream's last chunk
            status=status if is_cause else "cancelled",
            error_type=error_type if is_cause else "",
        )

    return replace(turn, steps=tuple(cut(step) for step in turn.steps if step.start < at), status=status)
