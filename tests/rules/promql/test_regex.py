"""RE2 patterns in Python, against RE2's recorded verdicts."""

import json
import warnings
from pathlib import Path

import pytest

from otel_latency.errors import ExpressionError
from otel_latency.rules.promql.regex import compile_regex

RE2 = json.loads(Path(__file__).with_name("testdata").joinpath("regex_verdicts_re2.json").read_text("utf-8"))
MATCHES = {
    "foo.*|bar": ("foo foobar bar", "xfoo barx"),
    "((?i)PRO).*": ("production PROduction", "xpro"),
    "a(?i)b|c": ("ab aB c C", "A AB"),
    "(?i:a)b": ("ab Ab", "aB"),
    "(?i)a(?-i)b": ("ab Ab", "aB"),
    "[[:alpha:]]+": ("abc", "ab1 é"),
    "[[:^alpha:]]": ("1 é", "a"),
    r"\d+": ("12", "١"),
    r"\w+": ("a_1", "é"),
    r"\pL+": ("aé", "1"),
    r"\P{L}": ("1", "a"),
    r"[\p{Lu}\d]+": ("A1É", "a"),
    r"a\.b\Q.*\E": ("a.b.*", "a.bxx"),
    r"\Aab\z": ("ab", "abc"),
    "a{2,3}": ("aa aaa", "a aaaa"),
    "(a{500}){2}|b{1000}": ("b" * 1000, "b"),
    "a{,2}": ("a{,2}", "a aa"),
    "[]a]+": ("]a", "b"),
    "[a-c&&b]": ("a b &", "d"),
    r"\x{e9}\x41": ("éA", "é"),
    "(?P<year>[0-9]+)-(?<m>x)": ("20-x", "20"),
    "(?U)a+": ("a aa", "b"),
    "(?:^a$)*": ("a", "b"),
}
REFUSED = {
    "(": (0, "missing closing ): `(`"),
    "a)": (1, "unexpected ): `a)`"),
    "[a": (0, "missing closing ]: `[a`"),
    "x(?=a)": (1, "invalid or unsupported Perl syntax: `(?=`"),
    "(?!a)": (0, "invalid or unsupported Perl syntax: `(?!`"),
    "(?<=a)": (0, "invalid or unsupported Perl syntax: `(?<`"),
    "(?>a)": (0, "invalid or unsupported Perl syntax: `(?>`"),
    "(?P=n)": (0, "invalid or unsupported Perl syntax: `(?P`"),
    "(?x)a": (0, "invalid or unsupported Perl syntax: `(?x`"),
    r"(a)\1": (3, r"invalid escape sequence: `\1`"),
    r"\y": (0, r"invalid escape sequence: `\y`"),
    r"a\Z": (1, r"invalid escape sequence: `\Z`"),
    r"\C": (0, r"invalid escape sequence: `\C`"),
    "a\\": (1, "trailing backslash at end of expression"),
    "*a": (0, "missing argument to repetition operator: `*`"),
    "a**": (1, "invalid nested repetition operator: `**`"),
    "a++": (1, "invalid nested repetition operator: `++`"),
    "a{1001}": (1, "invalid repeat count: `{1001}`"),
    "(x(a{500})*){3}": (12, "invalid repeat count: `{3}`"),
    "a{2,1}": (1, "invalid repeat count: `{2,1}`"),
    "[z-a]": (1, "invalid character class range: `z-a`"),
    "[[:foo:]]": (1, "invalid character class range: `[:foo:]`"),
    r"\p{Greek}": (0, "invalid character class range (only general categories such as"),
    r"\x{110000}": (0, "invalid escape sequence"),
    "(?P<1a>x)": (0, "invalid named capture: `(?P<1a>`"),
    "(?P<a>x)(?P<a>y)": (0, "redefinition of group name 'a'"),
    "(" * 5000: (100, "expression nests too deeply"),
}


def takes(pattern, text):
    return compile_regex(pattern).fullmatch(text) is not None


@pytest.mark.parametrize(("pattern", "texts"), MATCHES.items())
def test_matches(pattern, texts):
    """What only RE2 has is translated, and matches as RE2 does."""
    inside, outside = texts
    assert inside.split(" ") == [text for text in f"{inside} {outside}".split(" ") if takes(pattern, text)]


@pytest.mark.parametrize(("pattern", "fault"), REFUSED.items(), ids=lambda value: repr(value)[:20])
def test_refused(pattern, fault):
    """What RE2 lacks is refused in Go's words, at its place in the pattern."""
    at, fact = fault
    with pytest.raises(ExpressionError) as caught:
        compile_regex(pattern)
    assert (at, True) == (caught.value.at, fact in caught.value.fact), caught.value.fact


@pytest.mark.parametrize(("pattern", "texts"), RE2["matches"].items())
def test_matches_as_re2(pattern, texts):
    """A random pattern takes exactly the texts that RE2 takes, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts == [text for text in RE2["subjects"] if takes(pattern, text)]


@pytest.mark.parametrize("pattern", RE2["refused"])
def test_refuses_as_re2(pattern):
    """A random pattern that RE2 refuses is refused."""
    with pytest.raises(ExpressionError):
        compile_regex(pattern)


def test_dot_and_newline():
    """The dot takes a newline in version 3, not in version 2, unless the pattern says so itself."""
    patterns = [("a.b", True), ("a.b", False), ("(?s)a.b", False), ("(?-s)a.b", True), ("(?-s:a.)b", True)]
    assert [True, False, True, False, False] == [
        compile_regex(pattern, dot_all=dot_all).fullmatch("a\nb") is not None for pattern, dot_all in patterns
    ]


def test_groups_keep_their_numbers():
    """Translation adds no capturing group: `label_replace` counts them."""
    match = compile_regex(r"(?i)(a+)(?:b|(?P<tail>\d+))(?-i)(.*)").fullmatch("AA12rest")
    assert ("AA", "12", "rest") == match.groups()
