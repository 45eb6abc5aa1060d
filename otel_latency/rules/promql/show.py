"""A tree as one line of PromQL that parses back into an equal tree, sub-second durations included."""

from __future__ import annotations

import math
import re

from otel_latency.rules.promql.durations import format_duration
from otel_latency.rules.promql.lexer import KEYWORDS
from otel_latency.rules.promql.nodes import (
    METRIC_NAME,
    Aggregation,
    Binary,
    Call,
    Cardinality,
    Matcher,
    Matching,
    MatchOp,
    MatrixSelector,
    Node,
    Number,
    String,
    Subquery,
    Unary,
    VectorSelector,
)
from otel_latency.rules.promql.signatures import PRECEDENCE, RIGHT_ASSOCIATIVE, UNARY_PRECEDENCE
from otel_latency.rules.promql.strings import quote

_METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER_WORDS = frozenset({"inf", "nan"})
_NO_NAMES = KEYWORDS | _NUMBER_WORDS
_GROUPS = {Cardinality.MANY_TO_ONE: "group_left", Cardinality.ONE_TO_MANY: "group_right"}


def show(node: Node) -> str:
    match node:
        case Number():
            return _number(node.value)
        case String():
            return quote(node.value)
        case VectorSelector():
            return _selector(node) + _offset(node.offset_ms)
        case MatrixSelector():
            range_ = format_duration(node.range_ms)
            return f"{_selector(node.selector)}[{range_}]{_offset(node.selector.offset_ms)}"
        case Subquery():
            step = format_duration(node.step_ms) if node.step_ms else ""
            return f"{_subject(node.expr)}[{format_duration(node.range_ms)}:{step}]{_offset(node.offset_ms)}"
        case Unary():
            return f"-{_operand(node.expr, UNARY_PRECEDENCE + 1)}"
        case Call():
            return f"{node.function}({', '.join(map(show, node.args))})"
        case Aggregation():
            return _aggregation(node)
        case Binary():
            return _binary(node)


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value).removesuffix(".0")
    return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"


def _offset(offset_ms: int) -> str:
    return f" offset {format_duration(offset_ms)}" if offset_ms else ""


def _selector(node: VectorSelector) -> str:
    matchers = node.matchers
    first = matchers[0]
    is_named = first.label == METRIC_NAME and first.op is MatchOp.EQUAL and _is_plain_name(first.value)
    # A name outside of the braces excludes every other condition on the name.
    if not is_named or any(matcher.label == METRIC_NAME for matcher in matchers[1:]):
        return f"{{{_matchers(matchers)}}}"
    return f"{first.value}{{{_matchers(matchers[1:])}}}" if len(matchers) > 1 else first.value


def _is_plain_name(name: str) -> bool:
    return _METRIC.fullmatch(name) is not None and name.lower() not in _NO_NAMES


def _matchers(matchers: tuple[Matcher, ...]) -> str:
    return ", ".join(f"{_label(matcher.label)}{matcher.op.value}{quote(matcher.value)}" for matcher in matchers)


def _label(name: str) -> str:
    return name if _LABEL.fullmatch(name) else quote(name)


def _labels(names: tuple[str, ...]) -> str:
    # `inf` and `nan` are numbers to a parser outside of braces.
    return ", ".join(quote(name) if name.lower() in _NUMBER_WORDS else _label(name) for name in names)


def _aggregation(node: Aggregation) -> str:
    clause = ""
    if node.labels or node.is_without:
        clause = f" {'without' if node.is_without else 'by'} ({_labels(node.labels)}) "
    param = f"{show(node.param)}, " if node.param is not None else ""
    return f"{node.op}{clause}({param}{show(node.expr)})"


def _binary(node: Binary) -> str:
    precedence = PRECEDENCE[node.op]
    is_right = node.op in RIGHT_ASSOCIATIVE
    left = _operand(node.left, precedence + is_right)
    right = _operand(node.right, precedence + (not is_right), is_left=False)
    bool_ = " bool" if node.is_bool else ""
    return f"{left} {node.op}{bool_}{_matching(node.matching)} {right}"


def _matching(matching: Matching | None) -> str:
    if matching is None:
        return ""
    group = _GROUPS.get(matching.cardinality)
    if not (matching.is_on or matching.labels or group):
        return ""
    text = f" {'on' if matching.is_on else 'ignoring'} ({_labels(matching.labels)})"
    # Without its own parentheses a group would take those of the right side for its labels.
    return text if group is None else f"{text} {group} ({_labels(matching.include)})"


def _operand(node: Node, precedence: int, *, is_left: bool = True) -> str:
    """*node* as a side of an operator, in parentheses if it binds less than *precedence*; a right one may be signed."""
    text = show(node)
    if isinstance(node, Binary):
        binds = PRECEDENCE[node.op]
    elif isinstance(node, Unary) or text.startswith("-"):
        binds = UNARY_PRECEDENCE if is_left else precedence
    else:
        return text
    return f"({text})" if binds < precedence else text


def _subject(node: Node) -> str:
    is_plain = isinstance(node, Call | Aggregation) or (isinstance(node, VectorSelector) and not node.offset_ms)
    return show(node) if is_plain else f"({show(node)})"
