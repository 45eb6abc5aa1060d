"""Text into trees: verdicts, places and shapes, against promtool's recorded verdicts and a second parser."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rules.promql import oracle
from rules.promql.expressions import expressions

from otel_latency.errors import ExpressionError
from otel_latency.rules.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Cardinality,
    Matcher,
    Matching,
    MatchOp,
    MatrixSelector,
    Number,
    Subquery,
    Unary,
    VectorSelector,
)
from otel_latency.rules.promql.parse import parse

VERDICTS = json.loads(
    Path(__file__).with_name("testdata").joinpath("parse_verdicts_promtool_2.42.json").read_text("utf-8")
)
NEW_IN_3 = {
    "foo[5m] offset 0": "a number is a duration in seconds",
    "1_000": "digits may be grouped",
    '{"foo", a="b"}': "a name may stand in quotes",
    'foo{"a"="b"}': "a label may stand in quotes",
    "1d": "a duration is a number of seconds",
    "foo > 5m": "a duration is a number of seconds",
}
OUTSIDE_OUR_SUBSET = {
    "foo @ 100": "the @ modifier is not supported",
    "foo @ start()": "the @ modifier is not supported",
    "foo[5m] offset 5m @ 10": "the @ modifier is not supported",
    "histogram_count(foo)": "histogram_count is not supported: it works on native histograms",
    "holt_winters(foo[5m],0.5,0.5)": "holt_winters is not supported: it was renamed",
}
REFUSED = {
    "limit_ratio by (a) (0.5, foo)": "limit_ratio is not supported: it is experimental",
    "info(foo)": "info is not supported: it is experimental in Prometheus: join with",
    "sort_by_label(foo, 'a')": "sort_by_label is not supported",
    "double_exponential_smoothing(foo[5m], 0.5, 0.5)": "double_exponential_smoothing is not supported",
    "first_over_time(foo[5m])": "first_over_time is not supported",
    "a + on (x) fill(0) b": "fill is not supported",
    "start()": "start is not supported",
    "rate(foo[5m] anchored)": "anchored is not supported",
    "foo[5m] smoothed": "smoothed is not supported",
    "foo[5m+1m]": "duration expressions are not supported",
    "foo[(5m)]": "duration expressions are not supported",
    "foo[5m:step()]": "duration expressions are not supported",
    "foo offset (5m)": "duration expressions are not supported",
}
FAULTS = {
    "": (0, "no expression found in input"),
    "# only a comment": (16, "no expression found in input"),
    "rate(foo)": (
        5,
        'expected type range vector in call to function "rate", got instant vector: add a range, as in [5m]',
    ),
    "abs(1)": (4, 'expected type instant vector in call to function "abs", got scalar: write vector(...)'),
    "label_join(foo, 'a')": (0, 'expected at least 3 argument(s) in call to "label_join", got 2'),
    "round(foo, 1, 2)": (0, 'expected at most 2 argument(s) in call to "round", got 3'),
    "rat(foo[5m])": (0, 'unknown function with name "rat": did you mean rate?'),
    "RATE(foo[5m])": (0, 'unknown function with name "RATE": function names are in lower case'),
    "qwertz(foo)": (0, 'unknown function with name "qwertz"'),
    "abs(foo,)": (7, "trailing commas not allowed in function call args"),
    "sum()": (0, "no arguments for aggregate expression provided"),
    "sum(foo) by (a) + sum by (b": (27, "unclosed left parenthesis"),
    "a + on (x) group_left (x) b": (2, 'label "x" must not occur in ON and GROUP clause at once'),
    "1 + on (x) foo": (0, "vector matching only allowed between instant vectors"),
    "foo offset 5m offset 5m": (14, "offset may not be set multiple times"),
    "rate(foo[5m]) offset 5m": (0, "offset modifier must be preceded by an instant vector selector"),
    "(foo)[5m]": (5, "ranges only allowed for vector selectors: write [5m:] for a subquery"),
    "rate(a[5m:1m:1m])": (12, 'unexpected ":" in subquery or range, expected "]"'),
    "-'a'": (0, 'unary expression only allowed on expressions of type scalar or instant vector, got "string"'),
    "foo{a='b' c='d'}": (10, 'unexpected identifier "c" in label matching, expected "," or "}"'),
    "foo{a}": (5, 'unexpected "}" in label matching, expected label matching operator'),
    '{"foo", "bar"}': (0, 'metric name must not be set twice: "foo" or "bar"'),
    "foo{a=~'*'}": (4, "error parsing regexp: missing argument to repetition operator: `*`"),
    "1e999": (0, "error parsing number"),
    "08 + 1e": (5, 'bad number or duration syntax: "1e"'),
    "foo[9e99]": (4, "duration out of range"),
    "foo[0.0001]": (4, "duration must be greater than 0"),
    "1 or 2": (0, 'set operator "or" not allowed in binary scalar expression: write vector(...)'),
    "a:b(foo)": (3, 'unexpected "("'),
    "foo)": (3, 'unexpected ")"'),
    "foo $ bar": (4, "unexpected character: '$'"),
    "sum(foo,\n  rate(bar)\n)": (16, "expected type range vector"),
}
NUMBERS = {
    "0755": 493,
    "08": 8,
    "0x1F": 31,
    "0x_1_F": 31,
    "1_000.5": 1000.5,
    ".5": 0.5,
    "5.": 5,
    "1e3": 1000,
    "1E-2": 0.01,
    "-1": -1,
    "+Inf": math.inf,
    "-iNf": -math.inf,
    "5m": 300,
    "1h30m": 5400,
    "250ms": 0.25,
    "-5m": -300,
}


def named(name, *matchers, **more):
    return VectorSelector((Matcher("__name__", MatchOp.EQUAL, name), *matchers), **more)


A, B, C = map(named, "abc")
VECTORS = Matching()
TREES = {
    "a + b * c": Binary("+", A, Binary("*", B, C, matching=VECTORS), matching=VECTORS),
    "a - b - c": Binary("-", Binary("-", A, B, matching=VECTORS), C, matching=VECTORS),
    "a ^ b ^ c": Binary("^", A, Binary("^", B, C, matching=VECTORS), matching=VECTORS),
    "-a ^ b": Unary(Binary("^", A, B, matching=VECTORS)),
    "-a * b": Binary("*", Unary(A), B, matching=VECTORS),
    "a ^ -b * c": Binary("*", Binary("^", A, Unary(B), matching=VECTORS), C, matching=VECTORS),
    "-1 ^ 2": Unary(Binary("^", Number(1), Number(2))),
    "a > bool 1": Binary(">", A, Number(1), is_bool=True),
    "a and on (x) b": Binary("and", A, B, matching=Matching(Cardinality.MANY_TO_MANY, is_on=True, labels=("x",))),
    "a / ignoring (x, y) group_right (z) b": Binary(
        "/", A, B, matching=Matching(Cardinality.ONE_TO_MANY, labels=("x", "y"), include=("z",))
    ),
    "sum by (le) (a)": Aggregation("sum", A, labels=("le",)),
    "SUM(a) WITHOUT (le,)": Aggregation("sum", A, labels=("le",), is_without=True),
    "topk(3, a)": Aggregation("topk", A, Number(3)),
    "rate(a[250ms] offset -1m)": Call("rate", (MatrixSelector(named("a", offset_ms=-60_000), 250),)),
    "a[0.29]": MatrixSelector(A, 290),
    "(a > 1)[1h:15s] offset 1w": Subquery(Binary(">", A, Number(1)), 3_600_000, 15_000, 604_800_000),
    "a offset 5m[10m:]": Subquery(named("a", offset_ms=300_000), 600_000),
    "+((a))": A,
    "time()": Call("time", ()),
    'a{x="1", y!~"z",}': named("a", Matcher("x", MatchOp.EQUAL, "1"), Matcher("y", MatchOp.NOT_REGEX, "z")),
    '{"a", "x y"=~"z"}': named("a", Matcher("x y", MatchOp.REGEX, "z")),
    "offset offset 5m": named("offset", offset_ms=300_000),
    "sum": named("sum"),
}


@pytest.mark.parametrize(("text", "verdict"), VERDICTS.items())
def test_verdicts_of_promtool(text, verdict):
    """What promtool 2.42 accepts or refuses, we do too, at the same place, but for what version 3 brought."""
    if text in OUTSIDE_OUR_SUBSET:
        with pytest.raises(ExpressionError, match=OUTSIDE_OUR_SUBSET[text]):
            parse(text)
    elif verdict == "ok" or text in NEW_IN_3:
        parse(text)
    else:
        with pytest.raises(ExpressionError) as caught:
            parse(text)
        # promtool's lexer counts from the string's opening quote, we from the backslash.
        at = caught.value.at - ("escape sequence" in verdict)
        assert verdict.startswith(f"1:{at + 1}:")


@pytest.mark.parametrize(("text", "fact"), REFUSED.items())
def test_refused_by_name(text, fact):
    """What lies outside the subset is refused by its name, not as a syntax error."""
    with pytest.raises(ExpressionError, match=fact):
        parse(text)


def evaluations():
    """Each expression of Prometheus' own test scripts."""
    scripts = sorted(Path(__file__).with_name("testdata").glob("*.test"))
    texts = "".join(script.read_text("utf-8") for script in scripts)
    return re.findall(r"(?m)^eval\w* (?:instant at \S+|range from \S+ to \S+ step \S+) +(.*\S)", texts)


def fact(text):
    try:
        parse(text)
    except ExpressionError as error:
        return error.fact
    return "ok"


def test_scripts_of_prometheus():
    """Every expression that Prometheus tests itself with parses, or is refused by name."""
    verdicts = {text: fact(text) for text in evaluations()}
    assert len(verdicts) > 400
    assert {} == {text: why for text, why in verdicts.items() if why != "ok" and "is not supported" not in why}


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_faults(text, fault):
    """A fault has its fact, in Prometheus' words, and its place."""
    at, fact = fault
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert (at, True) == (caught.value.at, caught.value.fact.startswith(fact)), caught.value.fact


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_numbers(text, value):
    """A number is read as Go reads it; a duration is seconds."""
    assert Number(value) == parse(text)


@pytest.mark.parametrize(("text", "tree"), TREES.items())
def test_trees(text, tree):
    """Operators bind as in Prometheus; parentheses and pluses leave nothing behind."""
    assert tree == parse(text)


def test_nan_equals_nan():
    """Two trees with a NaN in them are equal when they are written alike."""
    assert parse("a > -NaN") == parse("a > nan")


def test_places():
    """Each node knows what was written for it, parentheses within included."""
    text = "# c\nsum by (a) (rate(foo{x='y'}[5m] offset 1m)) / (b + (c)) > -0.5"
    tree = parse(text)
    division = tree.left
    rate = division.left.expr
    nodes = [tree, division, division.left, rate, rate.args[0], rate.args[0].selector, division.right, tree.right]
    assert [
        text[4:],
        "sum by (a) (rate(foo{x='y'}[5m] offset 1m)) / (b + (c))",
        "sum by (a) (rate(foo{x='y'}[5m] offset 1m))",
        "rate(foo{x='y'}[5m] offset 1m)",
        "foo{x='y'}[5m] offset 1m",
        "foo{x='y'}",
        "b + (c)",
        "-0.5",
    ] == [text[node.start : node.end] for node in nodes]


DEEP = {
    "parentheses": "(" * 5000 + "1" + ")" * 5000,
    "calls": "abs(" * 5000 + "a" + ")" * 5000,
    "minuses": "-" * 5000 + "a",
    "a chain": "a" + " + a" * 5000,
    "powers": "a" + " ^ 2" * 5000,
    "subqueries": "max_over_time(" * 5000 + "a" + "[5m:])" * 5000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_depth_is_limited(text):
    """However deep an expression nests, it is refused with a fact and never meets Python's limit."""
    with pytest.raises(ExpressionError, match="nests more than 200 deep"):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 199 + "1" + ")" * 199, "abs(" * 199 + "a" + ")" * 199, "a" + " + a" * 199])
def test_depth_within_limit(text):
    """What stays within the limit parses."""
    parse(text)


def attempt(parser, text):
    try:
        return parser(text)
    except ValueError:
        return None


@settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(expressions)
def test_agrees_with_oracle(text):
    """A second parser gives the same verdict and the same tree for random expressions."""
    assert attempt(oracle.parse, text) == attempt(lambda text: oracle.shape(parse(text)), text)


WORDS = ["a", "sum", "by", "(", ")", "{", "}", "[", "]", ",", ":", "5m", "1", '"x"', "=", "=~", "==", "-", "^", "@"]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*WORDS, "offset", "or", "on", "bool", "#", "\n", "\\", "é", "rate"])))
def test_any_text(words):
    """Whatever is written parses, or is refused at a place inside the text."""
    text = " ".join(words)
    assert 0 <= place(text) <= len(text)


def place(text):
    try:
        return parse(text).start
    except ExpressionError as error:
        return error.at
