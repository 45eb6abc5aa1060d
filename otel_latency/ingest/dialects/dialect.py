"""What one tool's spans say and in which words: data only, read by `ingest.normalise`.

A dialect is recognised in two ways. Its attribute keys count wherever they turn up, because tools borrow each other's
names. What it declares under `scoped`, `spans` and its label keys' priority counts only in spans of its own
instrumentation scopes, where the same name may mean something else than elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


class Unit(Enum):
    """How a value is written, and so how it becomes ours: seconds, a count, US dollars or text."""

    SECONDS = auto()
    MILLISECONDS = auto()
    TIMESTAMP = auto()  # ISO 8601, perhaps in JSON quotes: seconds from the span's start
    NUMBER = auto()
    TEXT = auto()
    STAGE_SECONDS = auto()  # seconds of a field that depends on the stage
    JSON = auto()  # an object in text; its numbers by dotted path
    JSON_COST = auto()  # an object in text: US dollars by token type, perhaps with their total


@dataclass(frozen=True, slots=True)
class Source:
    """Where the value of an attribute goes: one field, or several by JSON path or stage name."""

    unit: Unit
    target: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)


def seconds(target: str) -> Source:
    return Source(Unit.SECONDS, target)


def milliseconds(target: str) -> Source:
    return Source(Unit.MILLISECONDS, target)


def timestamp(target: str) -> Source:
    return Source(Unit.TIMESTAMP, target)


def number(target: str) -> Source:
    return Source(Unit.NUMBER, target)


def text(target: str) -> Source:
    return Source(Unit.TEXT, target)


def by_stage(targets: Mapping[str, str]) -> Source:
    return Source(Unit.STAGE_SECONDS, targets=targets)


def json(targets: Mapping[str, str]) -> Source:
    return Source(Unit.JSON, targets=targets)


def json_cost(target: str) -> Source:
    return Source(Unit.JSON_COST, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRule:
    """What a dialect's span of a known name is, where its attributes do not say it.

    `operation` None leaves it to the attributes; empty says that this is no model call. A `finished_by` label marks
    the calls that ended inside the span: without it and without an error the span only opened a stream. It is relied
    on from major version `since` of the scope. `is_host` says that the model's host took the times.
    """

    stage: str = ""
    turn: str = ""
    operation: str | None = None
    is_session: bool = False
    is_host: bool = False
    finished_by: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialect:
    """One source of spans. All mappings are in order of trust, the most trusted first."""

    name: str
    seen: str
    """The package and version, or the document, that the data was taken from."""
    scopes: tuple[str, ...] = ()
    """Its instrumentation scopes, each with everything below it: `langsmith` covers `langsmith.client`."""

    measures: Mapping[str, str] = field(default_factory=dict)
    """Numbers that are ours as they stand."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Attributes whose value needs converting, wherever they turn up."""
    scoped: Mapping[str, Source] = field(default_factory=dict)
    """The same, in its own scopes only, where it outranks every other source."""
    events: Mapping[str, str] = field(default_factory=dict)
    """Span events whose moment, in seconds from the span's start, is the value."""
    net_input_providers: frozenset[str] = frozenset()
    """Providers whose input tokens it reports without the cached ones."""

    operations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels that say what kind of work a span is: value -> `gen_ai.operation.name`; other values stand as they are."""
    statuses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels that say how a span ended: value -> status."""
    empty: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Label values of spans that stand for no work at all: announcements of a span that will end later."""
    moments: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Label values of log lines sent as spans, which stand for no work unless they report a model call."""
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    provider: str = ""
    """The provider of its calls where no label names one."""
    spans: Mapping[str, SpanRule] = field(default_factory=dict)
    """Its spans by name."""
