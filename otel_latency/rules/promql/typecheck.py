"""The types of PromQL, checked in Prometheus' words while a tree grows from its leaves.

A `Typed` part knows what it yields and how deep it is, so each check costs the same however large the tree is.
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import NamedTuple

from otel_latency.errors import ExpressionError
from otel_latency.rules.promql.lexer import Token
from otel_latency.rules.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Cardinality,
    Matching,
    MatrixSelector,
    Node,
    Subquery,
    ValueType,
    VectorSelector,
)
from otel_latency.rules.promql.signatures import (
    AGGREGATIONS,
    COMPARISONS,
    FUNCTIONS,
    REFUSED,
    SET_OPERATORS,
    Signature,
)

MAX_DEPTH = 200
"""Nodes on the longest branch: whoever walks a tree recurses, and Python's limit is 1,000 frames."""

Span = tuple[int, int]
Clause = tuple[bool, tuple[str, ...]]

_SCALAR = ValueType.SCALAR
_VECTOR = ValueType.INSTANT_VECTOR
_GROUPED = (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY)


class Typed(NamedTuple):
    """A tree, what it yields, and the number of nodes on its longest branch."""

    node: Node
    type: ValueType
    depth: int = 1


def grown(node: Node, type_: ValueType, *parts: Typed) -> Typed:
    """*node* with its depth, which may be too much."""
    depth = 1 + max((part.depth for part in parts), default=0)
    if depth > MAX_DEPTH:
        raise too_deep(node.start)
    return Typed(node, type_, depth)


def too_deep(at: int) -> ExpressionError:
    return ExpressionError(f"expression nests more than {MAX_DEPTH} deep: record a part of it under its own name", at)


def binary(operator: Token, left: Typed, right: Typed, span: Span, *, is_bool: bool, matching: Matching) -> Typed:
    op = operator.kind
    for side in (left, right):
        if side.type not in {_SCALAR, _VECTOR}:
            fact = "binary expression must contain only scalar and instant vector types"
            raise ExpressionError(fact, side.node.start)
    if is_bool and op not in COMPARISONS:
        raise ExpressionError("bool modifier can only be used on comparison operators", operator.start)
    start, end = span
    if left.type is right.type is _VECTOR:
        matching = _matching(operator, matching, start)
        return grown(Binary(op, left.node, right.node, is_bool, matching, start=start, end=end), _VECTOR, left, right)
    if op in SET_OPERATORS:
        raise ExpressionError(f'set operator "{op}" not allowed in binary scalar expression: write vector(...)', start)
    if matching.labels:
        raise ExpressionError("vector matching only allowed between instant vectors", start)
    is_scalar = left.type is right.type
    if is_scalar and op in COMPARISONS and not is_bool:
        fact = f"comparisons between scalars must use BOOL modifier: write {op} bool"
        raise ExpressionError(fact, operator.start)
    node = Binary(op, left.node, right.node, is_bool, start=start, end=end)
    return grown(node, _SCALAR if is_scalar else _VECTOR, left, right)


def _matching(operator: Token, matching: Matching, start: int) -> Matching:
    if matching.is_on:
        for label in matching.labels:
            if label in matching.include:
                fact = f'label "{label}" must not occur in ON and GROUP clause at once'
                raise ExpressionError(fact, operator.start)
    if operator.kind not in SET_OPERATORS:
        return matching
    if matching.cardinality in _GROUPED:
        raise ExpressionError(f'no grouping allowed for "{operator.kind}" operation', start)
    return replace(matching, cardinality=Cardinality.MANY_TO_MANY)


def call(name: Token, args: list[Typed], end: int) -> Typed:
    signature = FUNCTIONS.get(name.text)
    if signature is None:
        raise ExpressionError(_unknown_function(name.text), name.start)
    _check_count(signature, len(args), name.start)
    for index, arg in enumerate(args):
        wanted = signature.arg_type(index)
        if arg.type is not wanted:
            fact = f'expected type {wanted.value} in call to function "{name.text}", got {arg.type.value}'
            raise ExpressionError(fact + _cure(arg, wanted), arg.node.start)
    node = Call(name.text, tuple(arg.node for arg in args), start=name.start, end=end)
    return grown(node, signature.returns, *args)


def _check_count(signature: Signature, count: int, at: int) -> None:
    low, high = signature.min_args, signature.max_args
    if count >= low and (high is None or count <= high):
        return
    bound, number = ("", low) if low == high else ("at least ", low) if count < low else ("at most ", high)
    fact = f'expected {bound}{number} argument(s) in call to "{signature.name}", got {count}'
    raise ExpressionError(fact, at)


def _cure(arg: Typed, wanted: ValueType) -> str:
    if wanted is ValueType.RANGE_VECTOR and arg.type is _VECTOR:
        return ": add a range, as in [5m]" if isinstance(arg.node, VectorSelector) else ": add a range, as in [5m:]"
    if wanted is _VECTOR and arg.type is _SCALAR:
        return ": write vector(...)"
    if wanted is _SCALAR and arg.type is _VECTOR:
        return ": write scalar(...)"
    return ""


def _unknown_function(name: str) -> str:
    fact = f'unknown function with name "{name}"'
    if name.lower() in FUNCTIONS:
        return f"{fact}: function names are in lower case"
    known = [*FUNCTIONS, *AGGREGATIONS, *REFUSED]
    near = [other for other in get_close_matches(name.lower(), known) if other not in REFUSED]
    return f"{fact}: did you mean {near[0]}?" if near else fact


def aggregation(name: Token, args: list[Typed], clause: Clause, end: int) -> Typed:
    op = name.kind
    param_type = AGGREGATIONS[op]
    expected = 1 if param_type is None else 2
    if not args:
        raise ExpressionError("no arguments for aggregate expression provided", name.start)
    if len(args) != expected:
        fact = f"wrong number of arguments for aggregate expression provided, expected {expected}, got {len(args)}"
        raise ExpressionError(fact, name.start)
    expr = args[-1]
    if expr.type is not _VECTOR:
        fact = f"expected type {_VECTOR.value} in aggregation expression, got {expr.type.value}"
        raise ExpressionError(fact, expr.node.start)
    param = args[0] if param_type else None
    if param and param.type is not param_type and param_type:
        fact = f"expected type {param_type.value} in aggregation parameter, got {param.type.value}"
        raise ExpressionError(fact, param.node.start)
    is_without, labels = clause
    node = Aggregation(op, expr.node, param.node if param else None, labels, is_without, start=name.start, end=end)
    return grown(node, _VECTOR, *args)


def with_offset(operand: Typed, offset_ms: int, span: Span, *, is_bare: bool) -> Typed:
    """*operand* looking back by *offset_ms*; only what selects samples can, and not through parentheses."""
    node = operand.node
    start, end = span
    shifted: Node
    if is_bare and isinstance(node, VectorSelector):
        shifted = replace(node, offset_ms=offset_ms, end=end)
    elif is_bare and isinstance(node, MatrixSelector):
        shifted = replace(node, selector=replace(node.selector, offset_ms=offset_ms), end=end)
    elif is_bare and isinstance(node, Subquery):
        shifted = replace(node, offset_ms=offset_ms, end=end)
    else:
        fact = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"
        raise ExpressionError(f"{fact}: write it behind the metric", start)
    return operand._replace(node=shifted)
