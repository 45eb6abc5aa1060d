"""A matcher as a function of a label's value; a label that a series lacks is "". It has no state and may be shared."""

from __future__ import annotations

from otel_latency.regex import Predicate, fits
from otel_latency.rules.promql.nodes import Matcher, MatchOp


def compile_matcher(matcher: Matcher, *, semantics: int) -> Predicate:
    """Raises ExpressionError for a pattern that Prometheus would refuse. With semantics 2 a dot takes no newline."""
    value = matcher.value
    match matcher.op:
        case MatchOp.EQUAL:
            return value.__eq__
        case MatchOp.NOT_EQUAL:
            return value.__ne__
        case MatchOp.REGEX:
            return fits(value, dot_all=semantics >= 3)
        case MatchOp.NOT_REGEX:
            matches = fits(value, dot_all=semantics >= 3)
            return lambda text: not matches(text)
