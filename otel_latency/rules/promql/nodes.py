"""The tree of an expression: frozen, typed, and each node knows the place in the text that it came from.

`start` and `end` are character offsets into the expression, so that `text[node.start : node.end]` is what was
written. Durations are whole milliseconds, as in Prometheus. Parentheses leave no node behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

METRIC_NAME = "__name__"


class ValueType(Enum):
    """What an expression yields, in the words of Prometheus' messages."""

    SCALAR = "scalar"
    STRING = "string"
    INSTANT_VECTOR = "instant vector"
    RANGE_VECTOR = "range vector"


class MatchOp(Enum):
    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; a label that a series lacks counts as empty."""

    label: str
    op: MatchOp
    value: str


class Cardinality(Enum):
    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"  # group_left
    ONE_TO_MANY = "one-to-many"  # group_right
    MANY_TO_MANY = "many-to-many"  # and, or, unless


@dataclass(frozen=True, slots=True)
class Matching:
    """Which elements of two vectors belong together. `labels` are those of `on` or, if not `is_on`, of `ignoring`."""

    cardinality: Cardinality = Cardinality.ONE_TO_ONE
    is_on: bool = False
    labels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Number(Place):
    value: float


@dataclass(frozen=True, slots=True)
class String(Place):
    value: str


@dataclass(frozen=True, slots=True)
class VectorSelector(Place):
    """`matchers` hold the metric's name too, as a matcher of `__name__`; a positive offset looks back."""

    matchers: tuple[Matcher, ...]
    offset_ms: int = 0


@dataclass(frozen=True, slots=True)
class MatrixSelector(Place):
    """`selector[range]`; an offset stands in the selector."""

    selector: VectorSelector
    range_ms: int


@dataclass(frozen=True, slots=True)
class Subquery(Place):
    """`expr[range:step] offset o`; step 0 stands for the evaluation interval."""

    expr: Node
    range_ms: int
    step_ms: int = 0
    offset_ms: int = 0


@dataclass(frozen=True, slots=True)
class Unary(Place):
    """Minus; a plus leaves no node behind."""

    expr: Node


@dataclass(frozen=True, slots=True)
class Call(Place):
    function: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregation(Place):
    """`op by|without (labels) (param, expr)`; without modifier: by no label."""

    op: str
    expr: Node
    param: Node | None = None
    labels: tuple[str, ...] = ()
    is_without: bool = False


@dataclass(frozen=True, slots=True)
class Binary(Place):
    """`op` is an arithmetic, comparison or set operator; `matching` is None unless both sides are vectors."""

    op: str
    left: Node
    right: Node
    is_bool: bool = False
    matching: Matching | None = None


Node: TypeAlias = Number | String | VectorSelector | MatrixSelector | Subquery | Unary | Call | Aggregation | Binary
