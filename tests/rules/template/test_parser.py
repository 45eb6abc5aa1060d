import pytest

from otel_latency.errors import ExpressionError
from otel_latency.rules.template.nodes import (
    Action,
    Break,
    Call,
    Chain,
    Command,
    Field,
    Identifier,
    If,
    Number,
    Pipe,
    Range,
    Text,
    Variable,
)
from otel_latency.rules.template.parser import parse


def trees(text, *, has_else_with=True):
    return parse(text, name="main", functions={"f", "g"}, has_else_with=has_else_with)


def test_action():
    """A pipeline holds commands, a command its operands, each with its place."""
    field = Field(9, ("a", "b"))
    commands = (Command(3, (Identifier(3, "f"), Variable(5, "$", ()), field)), Command(14, (Identifier(14, "g"),)))
    assert trees("{{ f $ .a.b | g }}")["main"] == (Action(3, Pipe(3, (), False, commands)),)


def test_chain():
    """Fields behind parentheses belong to what is inside."""
    (action,) = trees("{{ (f).a }}")["main"]
    (operand,) = action.pipe.commands[0].operands
    assert isinstance(operand, Chain)
    assert operand.names == ("a",)


def test_control():
    """A loop declares its variables for its body, and a break belongs to it."""
    (loop,) = trees("{{range $i, $x := .}}a{{break}}{{else}}b{{end}}")["main"]
    assert isinstance(loop, Range)
    assert [variable.name for variable in loop.pipe.declared] == ["$i", "$x"]
    assert (loop.body, loop.otherwise) == ((Text(21, "a"), Break(24)), (Text(39, "b"),))


def test_else_if():
    """An else with a condition is an if in the else."""
    (first,) = trees("{{if .a}}a{{else if .b}}b{{else}}c{{end}}")["main"]
    (second,) = first.otherwise
    assert isinstance(second, If)
    assert (second.body, second.otherwise) == ((Text(24, "b"),), (Text(33, "c"),))


def test_definitions():
    """Definitions and blocks are trees of their own; a block is called where it stands."""
    found = trees('{{define "a"}}A{{end}}{{block "b" .}}B{{end}}')
    assert (found["a"], found["b"]) == ((Text(14, "A"),), (Text(37, "B"),))
    (call,) = found["main"]
    assert isinstance(call, Call)
    assert call.name == "b"


def test_empty_definition_gives_way():
    """A definition of nothing may be followed by one of something."""
    assert trees('{{define "a"}} {{end}}{{define "a"}}A{{end}}')["a"] == (Text(36, "A"),)


NUMBERS = {
    "1": 1,
    "0x1F": 31,
    "0b11": 3,
    "0o17": 15,
    "017": 15,
    "1_000": 1000,
    "-3": -3,
    "1.5": 1.5,
    "1e3": 1000.0,
    "'a'": 97,
}


@pytest.mark.parametrize(("text", "expected"), NUMBERS.items(), ids=NUMBERS)
def test_numbers(text, expected):
    """A number is an integer unless it has a point or an exponent."""
    (action,) = trees("{{ " + text + " }}")["main"]
    (number,) = action.pipe.commands[0].operands
    assert isinstance(number, Number)
    assert (number.value, type(number.value)) == (expected, type(expected))


REFUSED = {
    "{{ h }}": ('function "h" not defined', 3),
    "a\n{{ $y }}": ('undefined variable "$y"', 5),
    '{{define "a"}}{{ $labels }}{{end}}': ('undefined variable "$labels"', 17),
    "{{ 0x1p99999 }}": ('illegal number syntax: "0x1p99999"', 3),
    "{{ if .a }}": ("unexpected EOF", 11),
    "{{end}}": ("unexpected {{end}}", 2),
    "{{ f\n": ("unclosed action started at line 1", 5),
    "{{ (f\n}}": ("unclosed left paren in action started at line 1", 6),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items(), ids=REFUSED)
def test_refused(text, expected):
    """A fault comes with its place in the text."""
    with pytest.raises(ExpressionError) as refused:
        trees(text)
    assert expected == (refused.value.fact, refused.value.at)


def test_long_number():
    """A number of thousands of digits is refused as one that overflows."""
    with pytest.raises(ExpressionError, match="integer overflow"):
        trees("{{ " + "1" * 5000 + " }}")


def test_else_with_is_young():
    """Prometheus 2 knows no `else with`."""
    with pytest.raises(ExpressionError, match="unexpected <with> in else"):
        trees("{{with .a}}{{else with .b}}{{end}}", has_else_with=False)
