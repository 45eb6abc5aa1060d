"""The table of functions and operators."""

import promql_parser
import pytest

from otel_latency.rules.promql.nodes import ValueType
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.signatures import (
    AGGREGATIONS,
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    PRECEDENCE,
    REFUSED,
    SET_OPERATORS,
    value_type,
)

ARGUMENTS = {
    ValueType.SCALAR: "1",
    ValueType.STRING: '"s"',
    ValueType.INSTANT_VECTOR: "foo",
    ValueType.RANGE_VECTOR: "foo[5m]",
}
TYPES = {
    "1": ValueType.SCALAR,
    '"a"': ValueType.STRING,
    "foo": ValueType.INSTANT_VECTOR,
    "foo[5m]": ValueType.RANGE_VECTOR,
    "foo[5m:]": ValueType.RANGE_VECTOR,
    "-time()": ValueType.SCALAR,
    "-rate(foo[5m])": ValueType.INSTANT_VECTOR,
    "sum(foo)": ValueType.INSTANT_VECTOR,
    "1 + scalar(foo)": ValueType.SCALAR,
    "1 + foo": ValueType.INSTANT_VECTOR,
    "foo > 1": ValueType.INSTANT_VECTOR,
    "foo or bar": ValueType.INSTANT_VECTOR,
}


def accepts(call):
    try:
        promql_parser.parse(call)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("signature", FUNCTIONS.values(), ids=lambda signature: signature.name)
def test_counts(signature):
    """The oracle takes as many arguments as the table says, and not one more or less."""
    arguments = [ARGUMENTS[signature.arg_type(index)] for index in range(8)] if signature.args else ["1"] * 8
    counts = [count for count in range(8) if accepts(f"{signature.name}({', '.join(arguments[:count])})")]
    highest = 7 if signature.max_args is None else signature.max_args
    assert list(range(signature.min_args, highest + 1)) == counts


@pytest.mark.parametrize("signature", FUNCTIONS.values(), ids=lambda signature: signature.name)
def test_types(signature):
    """The oracle takes exactly the type that the table says, at each place."""
    right = [ARGUMENTS[wanted] for wanted in signature.args]
    for index, wanted in enumerate(signature.args):
        taken = [
            type_
            for type_, text in ARGUMENTS.items()
            if accepts(f"{signature.name}({', '.join([*right[:index], text, *right[index + 1 :]])})")
        ]
        assert [wanted] == taken


def test_precedence_is_complete():
    """Each operator has a precedence, and nothing else has."""
    assert ARITHMETIC | COMPARISONS | SET_OPERATORS == PRECEDENCE.keys()


def test_refused_is_apart():
    """No name is both offered and refused."""
    assert set() == REFUSED.keys() & (FUNCTIONS.keys() | AGGREGATIONS.keys())


@pytest.mark.parametrize(("text", "type_"), TYPES.items())
def test_value_type(text, type_):
    """A tree knows what it yields."""
    assert type_ is value_type(parse(text))
