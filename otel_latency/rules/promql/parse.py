"""Text into a typed tree, or one ExpressionError that knows its place.

Accepts what Prometheus 3 accepts, less what `signatures.REFUSED` names, the modifiers `@`, `anchored` and `smoothed`,
and duration expressions. Nesting is limited in the text as in the tree, so that neither this parser nor whoever walks
a tree meets Python's recursion limit.

Costs about 20 us for a plain threshold, 70-100 us for a ratio or a quantile.
"""

from __future__ import annotations

import math
import re
from typing import NoReturn

from otel_latency.errors import ExpressionError
from otel_latency.rules.promql.durations import format_duration, parse_duration
from otel_latency.rules.promql.lexer import KEYWORDS, Token, describe, tokens
from otel_latency.rules.promql.matchers import compile_matcher
from otel_latency.rules.promql.nodes import (
    METRIC_NAME,
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
    ValueType,
    VectorSelector,
)
from otel_latency.rules.promql.signatures import (
    AGGREGATIONS,
    PRECEDENCE,
    REFUSED,
    RIGHT_ASSOCIATIVE,
    UNARY_PRECEDENCE,
)
from otel_latency.rules.promql.strings import unquote
from otel_latency.rules.promql.typecheck import (
    MAX_DEPTH,
    Clause,
    Typed,
    aggregation,
    binary,
    call,
    grown,
    too_deep,
    with_offset,
)

_SCALAR = ValueType.SCALAR
_VECTOR = ValueType.INSTANT_VECTOR
_RANGE = ValueType.RANGE_VECTOR
_MATCH_OPS = {op.value: op for op in MatchOp}
_METRIC_NAMES = frozenset(
    {"IDENTIFIER", "METRIC_IDENTIFIER", "and", "or", "unless", "by", "offset", "without", *AGGREGATIONS}
)
_LABEL_NAMES = frozenset({"IDENTIFIER", *KEYWORDS})
_CLAUSES = frozenset({"by", "without"})
_DURATIONS = frozenset({"NUMBER", "DURATION"})
_DURATION_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "^", "(", "IDENTIFIER", *AGGREGATIONS})
_RANGE_MODIFIERS = frozenset({"anchored", "smoothed"})
_OCTAL = re.compile(r"0[0-7]+")
_MAX_SECONDS = (2**63 - 1) / 1e9


def parse(text: str) -> Node:
    """The tree of *text*. Raises ExpressionError for what Prometheus or our subset refuses."""
    return _Parser(text).parse()


class _Parser:
    """Precedence climbing over a list of tokens; `token` is the next one, `end` where the last one ended."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.index = 0
        self.token = self.tokens[0]
        self.end = 0
        self.nesting = 0

    def parse(self) -> Node:
        if self.token.kind == "EOF":
            raise ExpressionError("no expression found in input", self.token.start)
        tree = self._expression(0)
        if self.token.kind != "EOF":
            self._unexpected()
        return tree.node

    def _advance(self) -> Token:
        token = self.token
        self.index += 1
        self.token = self.tokens[self.index]
        self.end = token.end
        return token

    def _take(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self._advance()
        return True

    def _expect(self, kind: str, where: str, wanted: str) -> Token:
        if self.token.kind != kind:
            self._unexpected(where, wanted)
        return self._advance()

    def _unexpected(self, where: str = "", wanted: str = "") -> NoReturn:
        token = self.token
        if token.kind == "ERROR":
            raise ExpressionError(token.text, token.start)
        place = f" in {where}" if where else ""
        cure = f", expected {wanted}" if wanted else ""
        raise ExpressionError(f"unexpected {describe(token)}{place}{cure}", token.start)

    def _expression(self, power: int) -> Typed:
        """Whatever binds tighter than *power*."""
        start = self.token.start
        self.nesting += 1
        if self.nesting > MAX_DEPTH:
            raise too_deep(start)
        left = self._operand()
        while (precedence := PRECEDENCE.get(self.token.kind, 0)) > power:
            operator = self._advance()
            is_bool, matching = self._take("bool"), self._matching()
            right = self._expression(precedence - (operator.kind in RIGHT_ASSOCIATIVE))
            left = binary(operator, left, right, (start, self.end), is_bool=is_bool, matching=matching)
        self.nesting -= 1
        return left

    def _matching(self) -> Matching:
        if self.token.kind not in {"on", "ignoring"}:
            return _ONE_TO_ONE
        is_on = self._advance().kind == "on"
        labels = self._labels()
        if self.token.kind not in {"group_left", "group_right"}:
            return Matching(Cardinality.ONE_TO_ONE, is_on, labels)
        is_left = self._advance().kind == "group_left"
        include = self._labels() if self.token.kind == "(" else ()
        return Matching(Cardinality.MANY_TO_ONE if is_left else Cardinality.ONE_TO_MANY, is_on, labels, include)

    def _labels(self) -> tuple[str, ...]:
        """`(a, b)`; here keywords are labels too."""
        where = "grouping opts"
        self._expect("(", where, '"("')
        names: list[str] = []
        while self.token.kind != ")":
            if self.token.kind == "STRING":
                names.append(self._string())
            elif self.token.kind in _LABEL_NAMES:
                names.append(self._advance().text)
            else:
                self._unexpected(where, "label")
            if self.token.kind != ")":
                self._expect(",", where, '"," or ")"')
        self._advance()
        return tuple(names)

    def _operand(self) -> Typed:
        """One operand with all that follows it and binds tighter than any operator: ranges and offsets."""
        start, kind = self.token.start, self.token.kind
        if kind in {"+", "-"}:
            return self._unary()
        if kind != "(":
            return self._postfix(self._primary(kind), start, is_bare=True)
        self._advance()
        operand = self._expression(0)
        self._expect(")", "", '")"')
        return self._postfix(operand, start, is_bare=False)

    def _primary(self, kind: str) -> Typed:
        start = self.token.start
        if kind in _DURATIONS:
            return Typed(Number(self._number(), start=start, end=self.end), _SCALAR)
        if kind == "STRING":
            return Typed(String(self._string(), start=start, end=self.end), ValueType.STRING)
        if kind in AGGREGATIONS and self.tokens[self.index + 1].kind in {"(", *_CLAUSES}:
            return self._aggregation()
        if kind == "IDENTIFIER" and self._is_call():
            name = self._advance()
            return call(name, self._args(), self.end)
        if kind != "{" and kind not in _METRIC_NAMES:
            self._unexpected()
        return self._selector()

    def _is_call(self) -> bool:
        name, after = self.token, self.tokens[self.index + 1].kind
        if name.text in REFUSED and after in {"(", *_CLAUSES}:
            raise ExpressionError(f"{name.text} is not supported: it {REFUSED[name.text]}", name.start)
        return after == "("

    def _unary(self) -> Typed:
        sign = self._advance()
        operand = self._expression(UNARY_PRECEDENCE)
        if operand.type not in {_SCALAR, _VECTOR}:
            fact = "unary expression only allowed on expressions of type scalar or instant vector"
            raise ExpressionError(f'{fact}, got "{operand.type.value}"', sign.start)
        if sign.kind == "+":
            return operand
        if isinstance(operand.node, Number):
            value = operand.node.value
            # One NaN, so that equal trees compare equal.
            return Typed(Number(value if math.isnan(value) else -value, start=sign.start, end=self.end), _SCALAR)
        return grown(Unary(operand.node, start=sign.start, end=self.end), operand.type, operand)

    def _number(self) -> float:
        token = self._advance()
        if token.kind == "NUMBER":
            return _number(token)
        try:
            return parse_duration(token.text) / 1000
        except ExpressionError as error:
            raise ExpressionError(f'bad number or duration syntax: "{token.text}"', token.start) from error

    def _string(self) -> str:
        token = self._advance()
        return unquote(token.text, token.start)

    def _selector(self) -> Typed:
        start = self.token.start
        name = "" if self.token.kind == "{" else self._advance().text
        matchers = [Matcher(METRIC_NAME, MatchOp.EQUAL, name)] if name else []
        if self._take("{"):
            matchers = self._matchers(matchers, start)
        if not name and all(compile_matcher(matcher, semantics=3)("") for matcher in matchers):
            raise ExpressionError("vector selector must contain at least one non-empty matcher", start)
        return Typed(VectorSelector(tuple(matchers), start=start, end=self.end), _VECTOR)

    def _matchers(self, before: list[Matcher], start: int) -> list[Matcher]:
        """The rest of `{...}`. A string alone is the metric's name, as in Prometheus 3."""
        matchers = list(before)
        is_named = bool(before)
        while self.token.kind != "}":
            if self.token.kind == "STRING" and self.tokens[self.index + 1].kind in {",", "}"}:
                matchers.append(Matcher(METRIC_NAME, MatchOp.EQUAL, self._string()))
                is_named = True
            else:
                matchers.append(self._matcher())
            if self.token.kind != "}":
                self._expect(",", "label matching", '"," or "}"')
        self._advance()
        names = [matcher.value for matcher in matchers if matcher.label == METRIC_NAME]
        if is_named and len(names) > 1:
            raise ExpressionError(f'metric name must not be set twice: "{names[0]}" or "{names[1]}"', start)
        return matchers

    def _matcher(self) -> Matcher:
        where = "label matching"
        start = self.token.start
        if self.token.kind == "STRING":
            label = self._string()
        else:
            label = self._expect("IDENTIFIER", where, 'identifier or "}"').text
        op = _MATCH_OPS.get(self.token.kind)
        if op is None:
            self._unexpected(where, "label matching operator")
        self._advance()
        if self.token.kind != "STRING":
            self._unexpected(where, "string")
        matcher = Matcher(label, op, self._string())
        try:
            compile_matcher(matcher, semantics=3)
        except ExpressionError as error:
            raise ExpressionError(error.fact, start) from error
        return matcher

    def _postfix(self, operand: Typed, start: int, *, is_bare: bool) -> Typed:
        """Ranges, subqueries and offsets. What stands in parentheses takes a subquery only."""
        has_offset = False
        while True:
            kind, at = self.token.kind, self.token.start
            if kind == "[":
                operand = self._bracket(operand, start, is_bare=is_bare, has_offset=has_offset)
                is_bare, has_offset = True, False
            elif kind == "offset":
                if has_offset:
                    raise ExpressionError("offset may not be set multiple times", at)
                operand = with_offset(operand, self._offset(), (start, self.end), is_bare=is_bare)
                has_offset = True
            elif kind == "@":
                raise ExpressionError("the @ modifier is not supported: rules ask about their evaluation time", at)
            elif kind == "IDENTIFIER" and self.token.text.lower() in _RANGE_MODIFIERS:
                raise ExpressionError(f"{self.token.text} is not supported: it is experimental in Prometheus", at)
            else:
                return operand

    def _bracket(self, operand: Typed, start: int, *, is_bare: bool, has_offset: bool) -> Typed:
        at = self._advance().start
        range_ms = self._positive_duration("subquery or range")
        if self._take(":"):
            step_ms = 0 if self.token.kind == "]" else self._positive_duration("subquery selector")
            self._close_bracket('"]"')
            if operand.type is not _VECTOR:
                fact = f"subquery is only allowed on instant vector, got {operand.type.value} instead"
                raise ExpressionError(fact, start)
            return grown(Subquery(operand.node, range_ms, step_ms, start=start, end=self.end), _RANGE, operand)
        self._close_bracket('":" or "]"')
        if not (is_bare and isinstance(operand.node, VectorSelector)):
            cure = f": write [{format_duration(range_ms)}:] for a subquery" if operand.type is _VECTOR else ""
            raise ExpressionError(f"ranges only allowed for vector selectors{cure}", at)
        if has_offset:
            raise ExpressionError("no offset modifiers allowed before range: write the offset behind it", at)
        return grown(MatrixSelector(operand.node, range_ms, start=start, end=self.end), _RANGE, operand)

    def _close_bracket(self, wanted: str) -> None:
        self._refuse_arithmetic()
        self._expect("]", "subquery or range", wanted)

    def _positive_duration(self, where: str) -> int:
        self._refuse_arithmetic()
        at = self.token.start
        milliseconds = self._duration(where)
        if milliseconds <= 0:
            raise ExpressionError("duration must be greater than 0", at)
        return milliseconds

    def _refuse_arithmetic(self) -> None:
        if self.token.kind in _DURATION_ARITHMETIC:
            fact = "duration expressions are not supported: they are experimental in Prometheus"
            raise ExpressionError(fact, self.token.start)

    def _offset(self) -> int:
        self._advance()
        sign = -1 if self.token.kind == "-" else 1
        if self.token.kind in {"-", "+"}:
            self._advance()
        if self.token.kind == "(":
            self._refuse_arithmetic()
        return sign * self._duration("offset")

    def _duration(self, where: str) -> int:
        """Milliseconds of a duration, or of a number of seconds as in Prometheus 3."""
        if self.token.kind not in _DURATIONS:
            self._unexpected(where, "duration")
        token = self._advance()
        if token.kind == "NUMBER":
            seconds = _number(token)
            if not seconds < _MAX_SECONDS:
                raise ExpressionError(f'duration out of range: "{token.text}"', token.start)
            # Rounded as Prometheus does, to nanoseconds: 0.29 s are 290 ms.
            return round(seconds * 1e9) // 1_000_000
        try:
            return parse_duration(token.text)
        except ExpressionError as error:
            raise ExpressionError(error.fact, token.start) from error

    def _aggregation(self) -> Typed:
        name = self._advance()
        clause = self._clause()
        if self.token.kind != "(":
            self._unexpected("aggregation")
        args = self._args()
        clause = clause or self._clause() or (False, ())
        return aggregation(name, args, clause, self.end)

    def _clause(self) -> Clause | None:
        if self.token.kind not in _CLAUSES:
            return None
        is_without = self._advance().kind == "without"
        return is_without, self._labels()

    def _args(self) -> list[Typed]:
        self._advance()
        args: list[Typed] = []
        while self.token.kind != ")":
            args.append(self._expression(0))
            at = self.token.start
            if self._take(","):
                if self.token.kind == ")":
                    raise ExpressionError("trailing commas not allowed in function call args", at)
            elif self.token.kind != ")":
                self._unexpected("", '"," or ")"')
        self._advance()
        return args


_ONE_TO_ONE = Matching()


def _number(token: Token) -> float:
    """Go's literals: underscores, hexadecimal, and octal after a leading zero."""
    text = token.text.replace("_", "")
    if text[:2] in {"0x", "0X"}:
        return float(int(text, 16))
    if _OCTAL.fullmatch(text):
        return float(int(text, 8))
    value = float(text)
    if math.isnan(value):
        return math.nan
    if math.isinf(value) and text.lower() != "inf":
        raise ExpressionError(f'error parsing number: "{token.text}" is out of range', token.start)
    return value
