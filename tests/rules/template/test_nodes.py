import pytest

from otel_latency.rules.template.nodes import source
from otel_latency.rules.template.parser import parse

SOURCES = [
    "{{$x := f .a.b $.c}}",
    "{{f \"a\\n\" `b` 'c' 1.50 true nil | f (f .).a.b (f 1)}}",
    '{{template "t"}}',
    "{{template `t` . | f}}",
    "text",
]


@pytest.mark.parametrize("text", SOURCES)
def test_source(text):
    """A node is written back as it was read."""
    (step,) = parse(text, name="main", functions={"f"}, has_else_with=True)["main"]
    assert source(step) == text


def test_assignment():
    """An assignment keeps its sign."""
    _, step = parse("{{$x := 1}}{{$x   =  2}}", name="main", functions=(), has_else_with=True)["main"]
    assert source(step) == "{{$x = 2}}"


@pytest.mark.parametrize("word", ["if", "with", "range"])
def test_control(word):
    """A step with a body is named by its keyword."""
    (step,) = parse(f"{{{{{word} .}}}}{{{{end}}}}", name="main", functions=(), has_else_with=True)["main"]
    assert source(step) == f"{{{{{word}}}}}"
