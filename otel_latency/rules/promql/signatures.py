"""The one table of what may be called: functions, aggregations, operators, and what is refused with its reason.

Parser, evaluator, linter and printer read it; a function that is not here does not exist for any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from otel_latency.rules.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    MatrixSelector,
    Node,
    Number,
    String,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
)

_SCALAR = ValueType.SCALAR
_STRING = ValueType.STRING
_VECTOR = ValueType.INSTANT_VECTOR
_RANGE = ValueType.RANGE_VECTOR


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and gives.

    The last `optional` arguments may be left out; with `is_repeated` the last one may also stand any number of times.
    `drops_name` says whether the result loses its metric name.
    """

    name: str
    args: tuple[ValueType, ...]
    returns: ValueType = _VECTOR
    optional: int = 0
    is_repeated: bool = False
    drops_name: bool = True

    @property
    def min_args(self) -> int:
        return len(self.args) - self.optional

    @property
    def max_args(self) -> int | None:
        """None means any number."""
        return None if self.is_repeated else len(self.args)

    def arg_type(self, index: int) -> ValueType:
        return self.args[min(index, len(self.args) - 1)]


_OF_VECTOR = (
    "abs absent ceil exp floor ln log10 log2 sgn sqrt timestamp "
    "acos acosh asin asinh atan atanh cos cosh deg rad sin sinh tan tanh"
)
_OF_RANGE = (
    "absent_over_time avg_over_time changes count_over_time delta deriv idelta increase irate max_over_time "
    "min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time"
)
_OF_DATE = "day_of_month day_of_week day_of_year days_in_month hour minute month year"

FUNCTIONS: dict[str, Signature] = {
    signature.name: signature
    for signature in (
        *(Signature(name, (_VECTOR,)) for name in _OF_VECTOR.split()),
        *(Signature(name, (_RANGE,)) for name in _OF_RANGE.split()),
        *(Signature(name, (_VECTOR,), optional=1) for name in _OF_DATE.split()),
        Signature("clamp", (_VECTOR, _SCALAR, _SCALAR)),
        Signature("clamp_max", (_VECTOR, _SCALAR)),
        Signature("clamp_min", (_VECTOR, _SCALAR)),
        Signature("histogram_quantile", (_SCALAR, _VECTOR)),
        Signature("label_join", (_VECTOR, _STRING, _STRING, _STRING), optional=1, is_repeated=True, drops_name=False),
        Signature("label_replace", (_VECTOR, _STRING, _STRING, _STRING, _STRING), drops_name=False),
        Signature("last_over_time", (_RANGE,), drops_name=False),
        Signature("pi", (), _SCALAR),
        Signature("predict_linear", (_RANGE, _SCALAR)),
        Signature("quantile_over_time", (_SCALAR, _RANGE)),
        Signature("round", (_VECTOR, _SCALAR), optional=1),
        Signature("scalar", (_VECTOR,), _SCALAR),
        Signature("sort", (_VECTOR,), drops_name=False),
        Signature("sort_desc", (_VECTOR,), drops_name=False),
        Signature("time", (), _SCALAR),
        Signature("vector", (_SCALAR,)),
    )
}

AGGREGATIONS: dict[str, ValueType | None] = {
    **dict.fromkeys(("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")),
    "topk": _SCALAR,
    "bottomk": _SCALAR,
    "quantile": _SCALAR,
    "count_values": _STRING,
}
"""Name -> the type of the parameter that stands before the vector, or None."""

ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "^", "atan2"})
COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SET_OPERATORS = frozenset({"and", "or", "unless"})

PRECEDENCE: dict[str, int] = {
    "or": 1,
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(COMPARISONS, 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}
"""A higher number binds tighter; all are left-associative but `^`."""
UNARY_PRECEDENCE = PRECEDENCE["*"]
RIGHT_ASSOCIATIVE = frozenset({"^"})

_ON_NATIVE = (
    "histogram_avg histogram_count histogram_fraction histogram_quantiles histogram_stddev histogram_stdvar "
    "histogram_sum"
)
_EXPERIMENTS = (
    "double_exponential_smoothing end first_over_time integral limit_ratio limitk mad_over_time max_of min_of range "
    "sort_by_label sort_by_label_desc start step ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time "
    "ts_of_min_over_time"
)
_NATIVE = "works on native histograms, which rules here do not have: use the _bucket, _sum and _count series"
_EXPERIMENTAL = "is experimental in Prometheus, behind a feature flag"
_FILL = "fills in missing series, which is experimental in Prometheus: use `or`"

REFUSED: dict[str, str] = {
    **dict.fromkeys(_ON_NATIVE.split(), _NATIVE),
    **dict.fromkeys(_EXPERIMENTS.split(), _EXPERIMENTAL),
    **dict.fromkeys(("fill", "fill_left", "fill_right"), _FILL),
    "holt_winters": "was renamed to double_exponential_smoothing in Prometheus 3 and is experimental there",
    "info": "is experimental in Prometheus: join with `* on (...) group_left (...)`",
}
"""Functions and aggregations of Prometheus that are outside the subset, and why."""


def value_type(node: Node) -> ValueType:
    """What *node* yields. Costs the depth of its operators."""
    match node:
        case Number():
            return _SCALAR
        case String():
            return _STRING
        case VectorSelector() | Aggregation():
            return _VECTOR
        case MatrixSelector() | Subquery():
            return _RANGE
        case Call():
            return FUNCTIONS[node.function].returns
        case Unary():
            return value_type(node.expr)
        case Binary():
            return _SCALAR if {value_type(node.left), value_type(node.right)} == {_SCALAR} else _VECTOR
