"""Patterns as Prometheus takes them, against RE2's recorded verdicts."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from otel_latency.errors import ExpressionError
from otel_latency.regex import compile_regex, fits

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
    "(": "missing closing ): `(`",
    "a)": "unexpected ): `a)`",
    "[a": "missing closing ]: `[a`",
    "x(?=a)": "invalid or unsupported Perl syntax: `(?=`",
    "(?!a)": "invalid or unsupported Perl syntax: `(?!`",
    "(?<=a)": "invalid or unsupported Perl syntax: `(?<=`",
    "(?>a)": "invalid or unsupported Perl syntax: `(?>`",
    "(?P=n)": "invalid or unsupported Perl syntax: `(?P`",
    "(?x)a": "invalid or unsupported Perl syntax: `(?x`",
    r"(a)\1": r"invalid escape sequence: `\1`",
    r"\y": r"invalid escape sequence: `\y`",
    r"a\Z": r"invalid escape sequence: `\Z`",
    r"\C": r"invalid escape sequence: `\C`",
    "a\\": "trailing backslash at end of expression",
    "*a": "missing argument to repetition operator: `*`",
    "a**": "invalid nested repetition operator: `**`",
    "a++": "invalid nested repetition operator: `++`",
    "a{1001}": "invalid repeat count: `{1001}`",
    "(x(a{500})*){3}": "invalid repeat count: `{3}`",
    "a{2,1}": "invalid repeat count: `{2,1}`",
    "[z-a]": "invalid character class range: `z-a`",
    "[[:foo:]]": "invalid character class range: `[:foo:]`",
    r"\p{Grek}": r"invalid character class range: `\p{Grek}`",
    r"\x{110000}": "invalid escape sequence",
    "(?P<1-a>x)": "invalid named capture: `(?P<1-a>`",
    "(?P<é>x)": "invalid named capture: `é`",
    r"(\pL{500}){2}": "expression too large",
    "a\udc80": r"invalid UTF-8: `a\udc80`",
    r"[a\C]": r"invalid escape sequence: `\C`",
}


def takes(pattern, text):
    return compile_regex(pattern).fits(text)


@pytest.mark.parametrize(("pattern", "texts"), MATCHES.items())
def test_matches(pattern, texts):
    """What only RE2 has matches as it does there."""
    inside, outside = texts
    assert inside.split(" ") == [text for text in f"{inside} {outside}".split(" ") if takes(pattern, text)]


@pytest.mark.parametrize(("pattern", "fact"), REFUSED.items(), ids=lambda value: ascii(value)[:20])
def test_refused(pattern, fact):
    """What RE2 lacks is refused in Go's words."""
    with pytest.raises(ExpressionError) as caught:
        compile_regex(pattern)
    assert caught.value.fact.startswith(f"error parsing regexp: {fact}")


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
        compile_regex(pattern, dot_all=dot_all).fits("a\nb") for pattern, dot_all in patterns
    ]


def test_no_backtracking():
    """A pattern that takes a backtracking matcher for ever is answered."""
    assert not fits("(a+)+b")("a" * 40)
    assert "".join(compile_regex("(a+)+b").replaced("a" * 40, "")) == "a" * 40


def test_what_literals_cost():
    """A pattern that string operations answer does not load RE2; another one does."""
    program = "import sys; from otel_latency.regex import fits; fits({!r})('a'); print('re2' in sys.modules)"
    loaded = {
        pattern: subprocess.check_output([sys.executable, "-c", program.format(pattern)], text=True).strip()
        for pattern in ("critical|page", "a.b")
    }
    assert loaded == {"critical|page": "False", "a.b": "True"}


EXPANSIONS = {
    "number": ("$1-${2}", "AA-12"),
    "name": ("${tail}$tail", "1212"),
    "dollar": ("$$1 $ ${", "$1 $ ${"),
    "the whole": ("$0", "AA12rest"),
    "the longest name": ("$1x", ""),
    "unknown": ("<$9${nope}>", "<>"),
    "a leading zero is a name": ("<$01>", "<>"),
    "too large a number": ("<$99999999999999999999>", "<>"),
    "took no part": ("<$3>", "<>"),
}


@pytest.mark.parametrize(("template", "expected"), EXPANSIONS.values(), ids=EXPANSIONS)
def test_expanded(template, expected):
    """References to groups are filled in as Go fills them."""
    regex = compile_regex(r"(?i)(a+)(?P<tail>\d+)(b)?(?-i)rest")
    assert regex.expanded("AA12rest", template) == expected
    assert regex.expanded("AA12REST", template) is None


REPLACED = {
    "each": ("b+", "abbcb", "<$0>", "a<bb>c<b>"),
    "nothing at all": (r"\b", "ab cd", "|", "|ab| |cd|"),
    "nothing behind something": ("b*", "abc", "-", "-a-c-"),
    "the end": ("$", "ab", "!", "ab!"),
    "no match": ("x", "ab", "-", "ab"),
    "wide characters": ("é.", "aé€b", "<$0>", "a<é€>b"),
}


@pytest.mark.parametrize(("pattern", "text", "template", "expected"), REPLACED.values(), ids=REPLACED)
def test_replaced(pattern, text, template, expected):
    """Every match is replaced as Go's ReplaceAllString replaces it."""
    assert "".join(compile_regex(pattern).replaced(text, template)) == expected


def test_bytes_that_are_no_text():
    """A lone surrogate matches like U+FFFD, and comes back as it was."""
    regex = compile_regex("a(.)b")
    assert [regex.fits(text) for text in ("a\udc80b", "a\ud800b", "a\udc80\udc80b")] == [True, True, False]
    assert regex.expanded("a\udc80b", "$1") == "\udc80"
    assert "".join(regex.replaced("xa\ud800by", "$1")) == "x\ud800y"
    assert regex.occurs_in("\udc80axb")
    assert fits("a|b.?")("\udc80") is False
