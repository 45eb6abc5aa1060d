"""Tokens: kinds depend on the brackets around a word."""

import pytest

from otel_latency.rules.promql.lexer import Token, describe, tokens

KINDS = {
    'foo{a="b"}': "IDENTIFIER { IDENTIFIER = STRING } EOF",
    "a:b :c": "METRIC_IDENTIFIER METRIC_IDENTIFIER EOF",
    'sum{sum="x", by=~"y"}': "sum { IDENTIFIER = STRING , IDENTIFIER =~ STRING } EOF",
    "SUM By (le)": "sum by ( IDENTIFIER ) EOF",
    "x[5m:1m]": "IDENTIFIER [ DURATION : DURATION ] EOF",
    "x[5m:]": "IDENTIFIER [ DURATION : ] EOF",
    "x [ 90 ]": "IDENTIFIER [ NUMBER ] EOF",
    "1 1.5 .5 5. 1e3 0x1F 1_000 inf NaN": "NUMBER " * 9 + "EOF",
    "1m 1.5m 1m30 1_": "DURATION " * 4 + "EOF",
    "1==2!=3<=4>=5<6>7": "NUMBER == NUMBER != NUMBER <= NUMBER >= NUMBER < NUMBER > NUMBER EOF",
    "a # sum(\n+ b # {": "IDENTIFIER + IDENTIFIER EOF",
    "": "EOF",
}
FAULTS = {
    "foo $": (4, "unexpected character: '$'"),
    "foo{a:b}": (5, "unexpected character inside braces: ':'"),
    'foo{a="b}': (6, "unterminated quoted string"),
    'foo{a="b': (6, "unterminated quoted string"),
    "foo{a=`b": (6, "unterminated raw string"),
    "foo{": (4, "unexpected end of input inside braces"),
    "foo[5m": (6, "unclosed left bracket"),
    "(foo": (4, "unclosed left parenthesis"),
    "a ! b": (2, "unexpected character after '!': ' '"),
}
NAMES = {
    "foo": 'identifier "foo"',
    "a:b": 'metric identifier "a:b"',
    "1": 'number "1"',
    "sum": "<aggr:sum>",
    "by": "<by>",
    "and": "<op:and>",
    "==": "<op:==>",
    "(": '"("',
    "": "end of input",
}


@pytest.mark.parametrize(("text", "kinds"), KINDS.items())
def test_kinds(text, kinds):
    """Each token has the kind that the grammar asks for; a word in braces is a label."""
    assert kinds.split() == [token.kind for token in tokens(text)]


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_faults(text, fault):
    """What cannot be read is the last token and holds the fact."""
    at, fact = fault
    last = tokens(text)[-1]
    assert ("ERROR", fact, at) == (last.kind, last.text, last.start)


def test_places():
    """Each token knows where it stands, beyond blanks and comments."""
    text = "foo # c\n  [5m]"
    assert ["foo", "[", "5m", "]", ""] == [text[token.start : token.end] for token in tokens(text)]


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_describe(text, name):
    """A message names a token as Prometheus does."""
    assert name == describe(tokens(text)[0])


def test_hostile_text_is_linear():
    """A long text of open quotes and comments is read once: this would not end if blanks or strings backtracked."""
    assert (
        Token("ERROR", "unterminated quoted string", 300_000, 300_001)
        == tokens("#\n \n" * 75_000 + '"' + "\\a" * 100_000)[-1]
    )
