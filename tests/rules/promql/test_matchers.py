"""Matchers as functions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_latency.errors import ExpressionError
from otel_latency.regex import compile_regex
from otel_latency.rules.promql.matchers import compile_matcher
from otel_latency.rules.promql.nodes import Matcher, MatchOp

VALUES = ["", "a", "b", "ab", "a|b", "a.b", "axb", "a\nb", "-"]
CASES = {
    ("=", "a"): ["a"],
    ("!=", "a"): ["", "b", "ab", "a|b", "a.b", "axb", "a\nb", "-"],
    ("=", ""): [""],
    ("=~", "a|b"): ["a", "b"],
    ("=~", "(a|b)"): ["a", "b"],
    ("=~", "(?:a|)"): ["", "a"],
    ("=~", r"a\|b|a\.b"): ["a|b", "a.b"],
    ("=~", ""): [""],
    ("=~", ".*"): VALUES,
    ("=~", ".+"): VALUES[1:],
    ("=~", "a.*"): ["a", "ab", "a|b", "a.b", "axb", "a\nb"],
    ("=~", r"a\..*"): ["a.b"],
    ("=~", "a.b"): ["a|b", "a.b", "axb", "a\nb"],
    ("=~", "[ab]+"): ["a", "b", "ab"],
    ("!~", "a.*"): ["", "b", "-"],
    ("!~", "|a"): ["b", "ab", "a|b", "a.b", "axb", "a\nb", "-"],
}


@pytest.mark.parametrize(("matcher", "matched"), CASES.items(), ids=lambda value: str(value)[:20])
def test_matches(matcher, matched):
    """A matcher looks at the whole value, whichever way it is answered."""
    op, value = matcher
    predicate = compile_matcher(Matcher("x", MatchOp(op), value), semantics=3)
    assert matched == [text for text in VALUES if predicate(text)]


@pytest.mark.parametrize(
    ("pattern", "semantics", "matched"), [(".*", 3, True), (".*", 2, False), (".+", 2, False), ("a.*", 2, False)]
)
def test_newline(pattern, semantics, matched):
    """With semantics 2 a dot takes no newline, shortcuts included."""
    assert matched is compile_matcher(Matcher("x", MatchOp.REGEX, pattern), semantics=semantics)("a\nb")


def test_faults():
    """A pattern that Prometheus refuses is refused for negated matchers too."""
    with pytest.raises(ExpressionError, match="missing closing"):
        compile_matcher(Matcher("x", MatchOp.NOT_REGEX, "("), semantics=3)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("ab|().*+\\é", max_size=7), st.text("ab|.é\n", max_size=4), st.sampled_from([2, 3]))
def test_shortcuts_change_nothing(pattern, value, semantics):
    """A matcher gives what its regular expression would give."""
    try:
        expected = compile_regex(pattern, dot_all=semantics == 3).fits(value)
    except ExpressionError:
        with pytest.raises(ExpressionError):
            compile_matcher(Matcher("x", MatchOp.REGEX, pattern), semantics=semantics)
    else:
        assert expected is compile_matcher(Matcher("x", MatchOp.REGEX, pattern), semantics=semantics)(value)
