"""What a template computes with: Go's values, as Python's, and the names that Go has for their types.

| Go                      | here                | Go                     | here                       |
|-------------------------|---------------------|------------------------|----------------------------|
| string, bool, int       | str, bool, int      | map[string]string      | dict                       |
| float64                 | float               | map[string]interface{} | Arguments                  |
| uint8                   | Byte                | struct, *struct        | Struct                     |
| nil, no value           | None                | a query's result       | Vector                     |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.template.instants import Duration, Instant, Month, Weekday

MAX_BYTES = 64 * 1024

SomeLabels = Mapping[str, str] | Iterable[tuple[str, str]]
Query = Callable[[str], Iterable[tuple[SomeLabels, float]]]

SAMPLE = "*template.sample"
VECTOR = "template.queryResult"


class Fault(Exception):
    """A function cannot answer; the text says why, in Go's words."""


class Byte(int):
    """One byte of a string, as `index` gives it."""


class Html(str):
    """Text that `safeHtml` vouches for: to Go another type than string."""

    __slots__ = ()


class Arguments(dict[str, Any]):
    """The map that `args` makes; a key that is not there has no value."""


@dataclass(frozen=True, slots=True, eq=False)
class Struct:
    """Named fields; a pointer when its Go type says so."""

    type: str
    fields: Mapping[str, Any]


class Vector(list[Struct]):
    """The samples that a query answered."""

    __slots__ = ()


def sample(labels: SomeLabels, value: float) -> Struct:
    return Struct(SAMPLE, {"Labels": dict(labels), "Value": value})


_TYPE_NAMES: dict[type, str] = {
    str: "string",
    float: "float64",
    int: "int",
    bool: "bool",
    dict: "map[string]string",
    Byte: "uint8",
    Html: "template.HTML",
    Arguments: "map[string]interface {}",
    Vector: VECTOR,
    Instant: "*time.Time",
    Duration: "*time.Duration",
    Month: "time.Month",
    Weekday: "time.Weekday",
}


def type_name(value: Any) -> str:
    """Go's name for the type of a value that is not None."""
    return value.type if type(value) is Struct else _TYPE_NAMES[type(value)]


def is_true(value: Any) -> bool:
    """Go's truth: not zero, not empty; a struct and a pointer always."""
    return True if isinstance(value, Struct | Instant | Duration) else bool(value)


# The parameter type that takes everything: Go's interface{} and reflect.Value.
ANY = "interface {}"


@dataclass(frozen=True, slots=True)
class Context:
    """What functions may ask besides their operands; `now` is Unix seconds."""

    semantics: Semantics
    external_url: str
    query: Query | None
    now: float | None


@dataclass(frozen=True, slots=True)
class Function:
    """A function with the Go types of its parameters; `rest` is the type of any more, `since` a semantics version."""

    call: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    rest: str | None = None
    needs_context: bool = False
    since: Semantics = 2


def limited(texts: Iterable[str], *, joint: int = 0) -> list[str]:
    """The parts of a text, up to its bound: it ends with a fault, not with the memory; *joint* bytes stand between."""
    kept: list[str] = []
    room = MAX_BYTES
    for text in texts:
        room -= len(text) + joint
        if room < 0:
            raise Fault(f"a text may have {MAX_BYTES} bytes")
        kept.append(text)
    return kept
