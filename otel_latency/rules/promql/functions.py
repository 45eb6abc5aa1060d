"""Functions of instant vectors, by name; those of a range stand in `ranges`.

`OF_VALUE` are applied to one value at a time, the scalar arguments after it, and drop the metric's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from otel_latency.errors import EvaluationError, ExpressionError
from otel_latency.records import Labels
from otel_latency.regex import compile_regex
from otel_latency.rules.promql.arithmetic import INF, NAN, ceil, divide, floor, guarded, larger, smaller
from otel_latency.rules.promql.labels import get, replaced, unique
from otel_latency.rules.promql.nodes import METRIC_NAME, Matcher, MatchOp
from otel_latency.rules.promql.strings import quote
from otel_latency.rules.promql.times import DATE_FUNCTIONS
from otel_latency.rules.promql.values import Element, Semantics, Vector

_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _round(value: float, nearest: float = 1.0) -> float:
    """Halves go up; multiplying by the inverse is what keeps 0.1 exact enough."""
    inverse = divide(1.0, nearest)
    return divide(floor(value * inverse + 0.5), inverse)


def _sign(value: float) -> float:
    return math.copysign(1.0, value) if value > 0 or value < 0 else value


def _clamp(value: float, low: float, high: float) -> float:
    return larger(low, smaller(high, value))


def _logarithm(call: Callable[[float], float]) -> Callable[[float], float]:
    return guarded(lambda value: call(value) if value else -INF)


OF_VALUE: Mapping[str, Callable[..., float]] = {
    "abs": abs,
    "acos": guarded(math.acos),
    "acosh": guarded(math.acosh),
    "asin": guarded(math.asin),
    "asinh": math.asinh,
    "atan": math.atan,
    "atanh": guarded(lambda value: math.copysign(INF, value) if abs(value) == 1 else math.atanh(value)),
    "ceil": ceil,
    "clamp": _clamp,
    "clamp_max": lambda value, high: smaller(high, value),
    "clamp_min": lambda value, low: larger(low, value),
    "cos": guarded(math.cos),
    "cosh": guarded(math.cosh, lambda _: INF),
    "deg": lambda value: value * 180 / math.pi,
    "exp": guarded(math.exp, lambda _: INF),
    "floor": floor,
    "ln": _logarithm(math.log),
    "log10": _logarithm(math.log10),
    "log2": _logarithm(math.log2),
    "rad": lambda value: value * math.pi / 180,
    "round": _round,
    "sgn": _sign,
    "sin": guarded(math.sin),
    "sinh": guarded(math.sinh, lambda value: math.copysign(INF, value)),
    "sqrt": guarded(math.sqrt),
    "tan": guarded(math.tan),
    "tanh": math.tanh,
    **DATE_FUNCTIONS,
}


def sort(vector: Vector) -> Vector:
    """Ascending by value, NaN last."""
    return sorted(vector, key=lambda element: ascending(element.value))


def sort_desc(vector: Vector) -> Vector:
    """Descending by value, NaN last."""
    return sorted(vector, key=lambda element: ascending(-element.value))


def ascending(value: float) -> tuple[bool, float]:
    """A sort key that puts NaN behind everything."""
    return (False, value) if value == value else (True, 0.0)  # noqa: PLR0124 - NaN


def scalar(vector: Vector) -> float:
    return vector[0].value if len(vector) == 1 else NAN


def absent_labels(matchers: Sequence[Matcher]) -> Labels:
    """The labels of what is not there, as far as *matchers* say: those that one `=` alone asks for."""
    known: dict[str, str] = {}
    asked: set[str] = set()
    for matcher in matchers:
        label = matcher.label
        if label == METRIC_NAME:
            continue
        if matcher.op is MatchOp.EQUAL and label not in asked:
            known[label] = matcher.value
            asked.add(label)
        else:
            known.pop(label, None)
    return replaced((), known.items())


def label_join(vector: Vector, target: str, separator: str, *sources: str, semantics: Semantics) -> Vector:
    """Set label *target* to the values of *sources*, joined; no value removes it."""
    for source in sources:
        require_label_name(source, "invalid source label name in label_join()", semantics)
    require_label_name(target, "invalid destination label name in label_join()", semantics)
    return unique(
        [
            Element(replaced(labels, [(target, separator.join(get(labels, source) for source in sources))]), value)
            for labels, value in vector
        ]
    )


def label_replace(
    vector: Vector, target: str, replacement: str, source: str, pattern: str, *, semantics: Semantics
) -> Vector:
    """Set label *target* to *replacement* with its references filled in, where *pattern* fits all of *source*."""
    try:
        regex = compile_regex(pattern, dot_all=semantics == 3)
    except ExpressionError as error:
        raise EvaluationError(f"invalid regular expression in label_replace(): {pattern}") from error
    require_label_name(target, "invalid destination label name in label_replace()", semantics)

    def relabelled(labels: Labels) -> Labels:
        value = regex.expanded(get(labels, source), replacement)
        return labels if value is None else replaced(labels, [(target, value)])

    return unique([Element(relabelled(labels), value) for labels, value in vector])


def require_label_name(name: str, complaint: str, semantics: Semantics) -> None:
    """Raise EvaluationError unless *name* may name a label: any UTF-8 in version 3, letters and digits before."""
    if semantics == 2:
        is_valid = _LEGACY_NAME.fullmatch(name) is not None
    else:
        is_valid = name != "" and not any(0xD800 <= ord(character) <= 0xDFFF for character in name)
    if not is_valid:
        raise EvaluationError(f"{complaint}: {quote(name)}")
