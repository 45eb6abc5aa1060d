"""What a span of any tool means, in our words: its turn or stage, the model call it is, and its numbers.

A scanner sorts a span's attributes by `LABELS`, `MEASURES` and `FOREIGN` (no key is in two of them) and asks for a
`Profile` once per distinct set of labels; `convert` runs for the spans that carry foreign values. What the names mean
is data, in `ingest.dialects`.

Promises: a first chunk is never taken for a first token; what a caller and what a model host measured never share a
field; input tokens include the cached ones; every value that `convert` adds is clean text or a plausible number.
Tokens and cost belong to calls: on a span whose profile has no `llm` they repeat those of the calls below it.

A stage is named by `otel_latency.stage` or `pipeline.stage`, else as its dialect names a span of that role, else by
the span's name without the ids in it. A root span is a turn, and a stage as well if it is a model call or one of our
stages that ran outside a turn. A session-long root is no turn; the turns below it are. A profile with neither turn nor
stage stands for no work and counts nowhere. Two tools that watch one client make two nested calls of it: telling that
takes the parent, so our library marks the inner one (`otel_latency.part_of`) where the outer one is its own.

Cost: a profile 10 to 30 us, once per kind of span; `convert` about 2 us and 2 us more per value, JSON 10 us.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from otel_latency import semconv
from otel_latency.ingest.details import add_details
from otel_latency.ingest.dialects import DIALECTS
from otel_latency.ingest.dialects.dialect import Dialect, Source, SpanRule, number, seconds
from otel_latency.ingest.dialects.fields import FIELDS, NET_INPUT_TOKENS, SECONDS
from otel_latency.ingest.dialects.otel import PROVIDERS
from otel_latency.ingest.dialects.values import plain_text, read
from otel_latency.ingest.template import template
from otel_latency.ingest.text import NAME_LIMIT, clean
from otel_latency.records import LLMProfile, Profile, Resource

SERVER, CLIENT = 2, 3
"""OTLP's span kinds that matter here."""

PIPELINE_STAGE: Final = "pipeline.stage"
ERROR_TYPE: Final = "error.type"
STREAM: Final = "gen_ai.request.stream"
EVENT_PREFIX: Final = "event:"
"""Stands before the name of a span event where `convert` takes its seconds."""

INFERENCE: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings", "realtime_inference"})
OTHER_WORK: Final = frozenset(
    {
        *("create_agent", "invoke_agent", "invoke_workflow", "execute_tool", "plan", "retrieval", "rerank"),
        *("speech_to_text", "stt", "text_to_speech", "tts"),
    }
)
"""Operations that are stages at most, even where a client span of theirs names a model."""

MAX_RESOURCE_ATTRIBUTES: Final = 128
MAX_PROFILES: Final = 2048


def _sources(dialect: Dialect) -> dict[str, Source]:
    plain = {key: (seconds if field in SECONDS else number)(field) for key, field in dialect.measures.items()}
    events = {EVENT_PREFIX + name: seconds(field) for name, field in dialect.events.items()}
    return {**plain, **dialect.sources, **events}


_EVERYONES: Final = {key: source for dialect in DIALECTS for key, source in _sources(dialect).items()}
_UNKNOWN: Final = Dialect(name="unknown", seen="any scope that no dialect claims")
_NO_RULE: Final = SpanRule()


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """A dialect with everyone else's words behind its own, all in order of trust."""

    dialect: Dialect
    sources: Mapping[str, Source]
    ranks: Mapping[str, int]
    operations: Mapping[str, Mapping[str, str]]
    statuses: Mapping[str, Mapping[str, str]]
    providers: tuple[str, ...]
    models: tuple[str, ...]
    tasks: tuple[str, ...]


Value = TypeVar("Value")


def _behind(own: Mapping[str, Value], tables: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    """*own*, then what the *tables* add to it: the first to have a key keeps it."""
    merged = dict(own)
    for table in tables:
        for key, value in table.items():
            merged.setdefault(key, value)
    return merged


@functools.cache
def _vocabulary(dialect: Dialect) -> _Vocabulary:
    def keys(part: Callable[[Dialect], tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*part(dialect), *(key for other in DIALECTS for key in part(other))]))

    sources = _behind(dialect.scoped, [_EVERYONES])
    return _Vocabulary(
        dialect=dialect,
        sources=sources,
        ranks={key: rank for rank, key in enumerate(sources)},
        operations=_behind(dialect.operations, [other.operations for other in DIALECTS]),
        statuses=_behind(dialect.statuses, [other.statuses for other in DIALECTS]),
        providers=keys(lambda one: one.providers),
        models=keys(lambda one: one.models),
        tasks=keys(lambda one: one.tasks),
    )


@functools.lru_cache(maxsize=1024)
def _words(scope_name: str) -> _Vocabulary:
    """The vocabulary of the dialect that claims the scope, or its closest parent."""
    for dialect in DIALECTS:
        for scope in dialect.scopes:
            if scope_name.startswith(scope) and not scope_name[len(scope) : len(scope) + 1].isalnum():
                return _vocabulary(dialect)
    return _vocabulary(_UNKNOWN)


MEASURES: Final[Mapping[str, str]] = {key: field for dialect in DIALECTS for key, field in dialect.measures.items()}
"""Attribute -> field, for numbers from 0 to 86400. `convert` takes these keys, too, with any other value."""

FOREIGN: Final[frozenset[str]] = frozenset(
    {STREAM}.union(*(dialect.sources for dialect in DIALECTS), *(dialect.scoped for dialect in DIALECTS))
)
"""Attributes for `convert`."""

EVENTS: Final[frozenset[str]] = frozenset(name for dialect in DIALECTS for name in dialect.events)
"""Span events for `convert`: the first of each name, in seconds from the span's start."""

MILESTONES: Final[Mapping[str, str]] = {name: MEASURES[attribute] for name, attribute in semconv.MILESTONES.items()}
"""Span events that are milestones of ours -> field, where no attribute says the same."""

NO_MOMENTS: Final = frozenset(
    {"exception", "retry", "attempt", "circuit_open", "audio", "connection", "log", "message"}
)
"""Span events with a plain name that mark no moment of a stage."""

LABELS: Final[frozenset[str]] = frozenset(
    {semconv.STAGE, semconv.TURN, semconv.STATUS, semconv.TASK, semconv.PART_OF}
    | {PIPELINE_STAGE, ERROR_TYPE}
    | {
        key
        for one in DIALECTS
        for keys in (one.operations, one.statuses, one.empty, one.moments, one.providers, one.models, one.tasks)
        for key in keys
    }
    | {rule.finished_by for dialect in DIALECTS for rule in dialect.spans.values() if rule.finished_by}
)
"""Attributes that decide a profile."""


def resource(attributes: Mapping[str, object], scope_name: str, scope_version: str) -> Resource:
    """Where spans come from, made clean. Only scalar attributes are kept, and the first 128 of them."""
    known: dict[str, object] = {}
    for key, value in attributes.items():
        if len(known) < MAX_RESOURCE_ATTRIBUTES and isinstance(value, str | bool | int | float):
            known[clean(key, NAME_LIMIT)] = clean(value) if isinstance(value, str) else value
    service = known.get("service.name")
    return Resource(
        service=(clean(service, NAME_LIMIT).strip() if isinstance(service, str) else "") or "unknown_service",
        scope_name=clean(scope_name, NAME_LIMIT),
        scope_version=clean(scope_version, NAME_LIMIT),
        attributes=known,
    )


class Normaliser:
    """Makes profiles and converts values. Equal profiles are the same object until 2,048 of them have been made."""

    def __init__(self) -> None:
        self._profiles: dict[tuple[object, ...], Profile] = {}

    def profile(
        self,
        resource: Resource,
        name: str,
        kind: int,
        is_root: bool,
        status_code: int,
        labels: Mapping[str, object],
    ) -> Profile:
        """What a span is. *kind* and *status_code* are OTLP's numbers, *labels* its attributes from `LABELS`."""
        words = _words(resource.scope_name)
        said = {key: known for key, value in labels.items() if (known := plain_text(value))}
        rule = words.dialect.spans.get(name, _NO_RULE)
        status = _status(words, said, status_code)
        llm = _call(words, rule, said, kind, status) if not _is_opening(rule, said, status, resource) else None
        if _is_no_work(words.dialect, said, llm):
            return self._interned(resource.service, "", "", "ok", None)
        step = template(clean(name, NAME_LIMIT)) or "unnamed"
        turn = template(said.get(semconv.TURN, "")) or rule.turn or (step if is_root and not rule.is_session else "")
        stage = template(said.get(semconv.STAGE) or said.get(PIPELINE_STAGE, "")) or rule.stage
        is_lone_stage = resource.scope_name == semconv.SCOPE and semconv.TURN not in said
        if not stage and (llm or is_lone_stage or not turn):
            stage = step
        return self._interned(resource.service, stage, turn, status, llm)

    def convert(
        self,
        profile: Profile,
        resource: Resource,
        foreign: Mapping[str, object],
        measures: dict[str, float | str],
        start_ns: int,
        end_ns: int,
    ) -> None:
        """Add to *measures* what *foreign* says: attributes, or the seconds of `EVENT_PREFIX` + an event's name."""
        words = _words(resource.scope_name)
        at_host = profile.llm is not None and profile.llm.origin == "server"
        for key in sorted(foreign.keys() & words.ranks.keys(), key=words.ranks.__getitem__):
            for field, value in read(words.sources[key], foreign[key], profile.stage, start_ns):
                measures.setdefault(_AT_HOST.get(field, field) if at_host else field, value)
        add_details(foreign, measures)
        _make_gross(measures, profile, words.dialect)
        if foreign.get(STREAM) is False:
            measures.pop("ttfc", None)  # its only chunk is its end
        if end_ns > start_ns:
            measures.pop("duration", None)

    def _interned(self, service: str, stage: str, turn: str, status: str, llm: LLMProfile | None) -> Profile:
        key = (service, stage, turn, status, llm)
        profile = self._profiles.get(key)
        if profile is None:
            if len(self._profiles) >= MAX_PROFILES:
                self._profiles.clear()
            profile = self._profiles[key] = Profile(service, stage, turn, status, llm)
        return profile


_AT_HOST: Final = {"ttfc": "server_ttft", "ttft": "server_ttft", "tpot": "server_tpot"}


def _make_gross(measures: dict[str, float | str], profile: Profile, dialect: Dialect) -> None:
    """Input tokens with the cached ones, from whichever of the two the source counts."""
    net = measures.pop(NET_INPUT_TOKENS, None)
    if net is None and profile.llm and profile.llm.provider in dialect.net_input_providers:
        net = measures.pop("input_tokens", None)
    if net is not None and "input_tokens" not in measures:
        cached = (measures.get(field, 0) for field in ("cache_read_tokens", "cache_write_tokens"))
        measures["input_tokens"] = sum((count for count in cached if not isinstance(count, str)), float(net))


def _first(said: Mapping[str, str], keys: Iterable[str]) -> str:
    return next((said[key] for key in keys if key in said), "")


def _status(words: _Vocabulary, said: Mapping[str, str], status_code: int) -> str:
    """One of `semconv.STATUSES`: ours, else the error's, else what the dialect says of an ending without error."""
    ours = said.get(semconv.STATUS)
    if ours in semconv.STATUSES:
        return ours
    error = said.get(ERROR_TYPE, "")
    if status_code == 2 or error:
        kind = error.rpartition(".")[2].lower()
        if "timeout" in kind or kind == "deadline_exceeded":
            return "timeout"
        return "cancelled" if "cancel" in kind else "error"
    return next((table[said[key]] for key, table in words.statuses.items() if said.get(key) in table), "ok")


def _is_opening(rule: SpanRule, said: Mapping[str, str], status: str, resource: Resource) -> bool:
    """Whether the span only opened a stream whose outcome is another span."""
    major = resource.scope_version.partition(".")[0]
    is_marked = bool(rule.finished_by) and major.isdecimal() and int(major) >= rule.since
    return is_marked and rule.finished_by not in said and status == "ok"


def _is_no_work(dialect: Dialect, said: Mapping[str, str], llm: LLMProfile | None) -> bool:
    if any(said.get(key) in values for key, values in dialect.empty.items()):
        return True
    return llm is None and any(said.get(key) in values for key, values in dialect.moments.items())


def _call(words: _Vocabulary, rule: SpanRule, said: Mapping[str, str], kind: int, status: str) -> LLMProfile | None:
    """The model call that the span is, or None."""
    operation = rule.operation if rule.operation is not None else _operation(words, said)
    model = _first(said, words.models)
    is_named = operation in INFERENCE or semconv.TASK in said
    is_likely = kind in (SERVER, CLIENT) and bool(model) and operation not in OTHER_WORK
    if rule.operation == "" or semconv.PART_OF in said or not (is_named or is_likely):
        return None
    return LLMProfile(
        provider=_provider(_first(said, words.providers) or words.dialect.provider),
        model=model,
        task=_first(said, words.tasks),
        operation=operation,
        error_type=_error_type(said, status),
        origin="server" if kind == SERVER or rule.is_host else "client",
    )


def _operation(words: _Vocabulary, said: Mapping[str, str]) -> str:
    return next((table.get(said[key], said[key]) for key, table in words.operations.items() if key in said), "")


def _provider(name: str) -> str:
    """The registry's spelling of a provider; one that is not in it keeps its own."""
    lower = name.lower()
    for known in (lower, lower.rpartition(".")[0]):  # the Vercel SDK says openai.chat
        if known in PROVIDERS:
            return PROVIDERS[known]
    return name


def _error_type(said: Mapping[str, str], status: str) -> str:
    if status in ("ok", "interrupted"):
        return ""
    return said.get(ERROR_TYPE) or ("_OTHER" if status == "error" else status)


__all__ = [
    "EVENTS",
    "EVENT_PREFIX",
    "FIELDS",
    "FOREIGN",
    "LABELS",
    "MEASURES",
    "Normaliser",
    "resource",
]
