"""What each part of an expression yields at one moment: the answer to "why does this rule (not) fire?".

Pure: whoever asks brings the text and a way to evaluate a node, be it a table of series or a running agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from otel_latency.errors import EvaluationError
from otel_latency.rules.demand import children
from otel_latency.rules.promql.nodes import Node, Number, String, ValueType
from otel_latency.rules.promql.signatures import value_type
from otel_latency.rules.promql.values import Value

_LITERALS: Final = Number | String


@dataclass(frozen=True, slots=True)
class Explained:
    """A part of an expression: how it is written, where that begins, and its value now.

    The value is None for a range vector, whose samples are too many to show, and where `error` says that there is none.
    """

    text: str
    start: int
    value: Value | None
    error: str
    parts: Sequence[Explained]


def explain(node: Node, text: str, value_of: Callable[[Node], Value]) -> Explained:
    """*node* and what it is made of, literals left out; *text* is what it was parsed from."""
    parts = [explain(part, text, value_of) for part in children(node) if not isinstance(part, _LITERALS)]
    value, error = _value(node, value_of)
    return Explained(text[node.start : node.end], node.start, value, error, parts)


def _value(node: Node, value_of: Callable[[Node], Value]) -> tuple[Value | None, str]:
    if value_type(node) is ValueType.RANGE_VECTOR:
        return None, ""
    try:
        return value_of(node), ""
    except EvaluationError as error:
        return None, str(error)
