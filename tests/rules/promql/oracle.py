"""What the Rust parser `promql-parser` makes of an expression, in a form that our trees can be compared with."""

import math

import promql_parser as rust

from otel_latency.rules.promql import nodes

OPS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def parse(text):
    """The tree as nested tuples; ValueError where the oracle refuses."""
    return _theirs(rust.parse(text))


def _milliseconds(duration):
    return 0 if duration is None else round(duration.total_seconds() * 1000)


def _theirs(node):  # noqa: C901 a table of node types
    match node:
        case rust.ParenExpr():
            return _theirs(node.expr)
        case rust.NumberLiteral():
            return ("number", "nan" if math.isnan(node.val) else node.val)
        case rust.StringLiteral():
            return ("string",)
        case rust.VectorSelector():
            return ("selector", _names(node), _milliseconds(node.offset))
        case rust.MatrixSelector():
            return ("range", _theirs(node.vector_selector), _milliseconds(node.range))
        case rust.SubqueryExpr():
            times = map(_milliseconds, (node.range, node.step, node.offset))
            return ("subquery", _theirs(node.expr), *times)
        case rust.UnaryExpr():
            inner = _theirs(node.expr)
            return ("number", "nan" if inner[1] == "nan" else -inner[1]) if inner[0] == "number" else ("minus", inner)
        case rust.Call():
            args = [_theirs(arg) for arg in node.args]
            # The oracle lets `ln(NaN)` and `exp(Inf)` pass; promtool does not.
            if node.func.name in {"exp", "ln", "log2", "log10"} and not _is_vector(args[0]):
                raise ValueError(f"{node.func.name} takes a vector")
            return ("call", node.func.name, *args)
        case rust.AggregateExpr():
            clause = node.modifier
            is_without = clause is not None and str(clause.type).endswith("Without")
            param = None if node.param is None else _theirs(node.param)
            return ("aggregation", str(node.op), is_without, clause.labels if clause else [], param, _theirs(node.expr))
        case rust.BinaryExpr():
            sides = _theirs(node.lhs), _theirs(node.rhs)
            return ("binary", str(node.op), _theirs_modifier(node, all(map(_is_vector, sides))), *sides)
    raise AssertionError(type(node))


def _names(node):
    matchers = [(m.name, OPS[str(m.op).split(".")[1]], m.value) for m in node.matchers.matchers]
    name = [] if node.name is None else [("__name__", "=", node.name)]
    return sorted(set(name + matchers))


def _is_vector(shape):
    match shape:
        case ("number" | "string", *_) | ("call", "scalar" | "time" | "pi", *_):
            return False
        case ("minus", inner):
            return _is_vector(inner)
        case ("binary", _, _, left, right):
            return _is_vector(left) or _is_vector(right)
    return True


def _theirs_modifier(node, is_between_vectors):
    """Beside a scalar, `on ()` means nothing; the oracle keeps it."""
    modifier = node.modifier
    if modifier is None or not is_between_vectors:
        return (modifier is not None and modifier.return_bool, False, [], [], "")
    matching = modifier.matching
    labels = [] if matching is None else matching.labels
    is_on = matching is not None and str(matching.type).endswith("Include")
    group = {"ManyToOne": "left", "OneToMany": "right"}.get(str(modifier.card).split(".")[1], "")
    return (modifier.return_bool, is_on, labels, modifier.group_labels or [], group)


def shape(node):
    """Our tree in the oracle's form."""
    match node:
        case nodes.Number():
            return ("number", "nan" if math.isnan(node.value) else node.value)
        case nodes.String():
            return ("string",)
        case nodes.VectorSelector():
            return ("selector", sorted({(m.label, m.op.value, m.value) for m in node.matchers}), node.offset_ms)
        case nodes.MatrixSelector():
            return ("range", shape(node.selector), node.range_ms)
        case nodes.Subquery():
            return ("subquery", shape(node.expr), node.range_ms, node.step_ms, node.offset_ms)
        case nodes.Unary():
            return ("minus", shape(node.expr))
        case nodes.Call():
            return ("call", node.function, *map(shape, node.args))
        case nodes.Aggregation():
            param = None if node.param is None else shape(node.param)
            return ("aggregation", node.op, node.is_without, list(node.labels), param, shape(node.expr))
        case nodes.Binary():
            return ("binary", node.op, _modifier(node), shape(node.left), shape(node.right))
    raise AssertionError(type(node))


def _modifier(node):
    matching = node.matching or nodes.Matching()
    group = {nodes.Cardinality.MANY_TO_ONE: "left", nodes.Cardinality.ONE_TO_MANY: "right"}.get(
        matching.cardinality, ""
    )
    return (node.is_bool, matching.is_on, list(matching.labels), list(matching.include), group)
