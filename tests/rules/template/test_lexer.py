import pytest

from otel_latency.rules.template.lexer import Token, tokens

LISTS = {
    "a{{.x}}b": [("text", "a"), ("{{", "{{"), ("field", ".x"), ("}}", "}}"), ("text", "b"), ("end", "")],
    "a \n{{- $x -}} \n b": [("text", "a"), ("{{", "{{"), ("variable", "$x"), ("}}", "}}"), ("text", "b"), ("end", "")],
    "a {{- /* c */ -}} b": [("text", "a"), ("text", "b"), ("end", "")],
    "{{-3}}": [("{{", "{{"), ("number", "-3"), ("}}", "}}"), ("end", "")],
    '{{if "}}"}}': [("{{", "{{"), ("if", "if"), ("space", " "), ("string", '"}}"'), ("}}", "}}"), ("end", "")],
    "{{.a.b|c}}": [
        ("{{", "{{"),
        ("field", ".a"),
        ("field", ".b"),
        ("|", "|"),
        ("identifier", "c"),
        ("}}", "}}"),
        ("end", ""),
    ],
    "{{. 'x' true 0x1F}}": [
        ("{{", "{{"),
        (".", "."),
        ("space", " "),
        ("rune", "'x'"),
        ("space", " "),
        ("bool", "true"),
        ("space", " "),
        ("number", "0x1F"),
        ("}}", "}}"),
        ("end", ""),
    ],
    "{{$x:=1}}": [("{{", "{{"), ("variable", "$x"), (":=", ":="), ("number", "1"), ("}}", "}}"), ("end", "")],
}


@pytest.mark.parametrize(("text", "expected"), LISTS.items(), ids=LISTS)
def test_tokens(text, expected):
    """Text comes apart at the delimiters; trim markers and comments leave nothing behind."""
    assert expected == [(token.kind, token.text) for token in tokens(text)]


FAULTS = {
    "{{": (2, "unclosed action"),
    "{{/* x": (2, "unclosed comment"),
    "{{/* x */ }}": (2, "comment ends before closing delimiter"),
    '{{"x}}': (2, "unterminated quoted string"),
    "{{(1}}": (4, "unclosed left paren"),
    "{{$x!}}": (2, "bad character U+0021 '!'"),
    "{{1:2}}": (3, "expected :="),
    "{{1a}}": (2, 'bad number syntax: "1a"'),
    "{{☃}}": (2, "unrecognized character in action: U+2603 '☃'"),
}


@pytest.mark.parametrize(("text", "expected"), FAULTS.items(), ids=FAULTS)
def test_faults(text, expected):
    """A fault is the last token, with its place."""
    assert Token("error", *expected) == tokens(text)[-1]


def test_offsets():
    """A token knows where it stands, trimmed or not."""
    assert [token.at for token in tokens("ab {{- .x -}} c")] == [0, 3, 7, 11, 14, 15]


def test_shown():
    """Errors quote a token, cut long ones short, and put keywords into angle brackets."""
    shown = [str(token) for token in tokens("{{if abcdefghijkl 1}}") if token.kind != "space"]
    assert shown == ['"{{"', "<if>", '"abcdefghij"...', '"1"', '"}}"', "EOF"]
