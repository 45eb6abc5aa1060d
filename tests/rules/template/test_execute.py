import pytest

from otel_latency.rules.template.execute import ExecutionError, Trees, execute
from otel_latency.rules.template.functions import FUNCTIONS
from otel_latency.rules.template.parser import parse
from otel_latency.rules.template.values import Arguments, Context, Struct

DATA = Struct("struct {}", {"M": {"b": "2", "a": "1"}, "A": Arguments(n=1), "S": "text", "N": 3})


def run(text, semantics=3):
    bodies = parse(text, name="main", functions=FUNCTIONS, has_else_with=semantics >= 3)
    variables = [("$value", 1.5)]
    return execute(Trees("main", text, bodies), DATA, variables, Context(semantics, "", None, None))


OUTPUTS = {
    "{{ range $k, $v := .M }}{{ $k }}{{ $v }}{{ end }}": "a1b2",
    "{{ range .M }}{{ . }}{{ break }}{{ end }}": "1",
    '{{ range .M }}{{ if eq . "1" }}{{ continue }}{{ end }}{{ . }}{{ end }}': "2",
    "{{ range .M }}{{ range $.M }}{{ break }}{{ end }}{{ . }}{{ end }}": "12",
    "{{ $x := 1 }}{{ range .M }}{{ $x = . }}{{ end }}{{ $x }}": "2",
    "{{ $x := 1 }}{{ with .S }}{{ $x := 2 }}{{ end }}{{ $x }}": "1",
    "{{ with .A.none }}a{{ else }}b{{ end }}{{ .A.none }}": "b<no value>",
    '{{ define "t" }}{{ $ }}{{ end }}{{ template "t" .S }}{{ template "t" }}': "text<no value>",
    '{{ or .A.none "x" }}{{ and .S 0 }}{{ 0 | or "" }}': "x00",
    "{{ .S | len | printf `%d%d` 1 }}": "14",
}


@pytest.mark.parametrize(("text", "expected"), OUTPUTS.items(), ids=OUTPUTS)
def test_outputs(text, expected):
    """Control flow, scopes and pipelines work as in Go."""
    assert expected == run(text)


FAULTS = {
    "{{ .None }}": "<.None>: can't evaluate field None in type struct {}",
    "{{ .A.none.x }}": "<.A.none.x>: nil pointer evaluating interface {}.x",
    "{{ .A.n.x }}": "<.A.n.x>: can't evaluate field x in type interface {}",
    "{{ toUpper .N }}": "<.N>: wrong type for value; expected string; got int",
    "{{ toUpper .A.none }}": "<.A.none>: wrong type for value; expected string; got interface {}",
    "{{ len }}": "<len>: wrong number of args for len: want 1 got 0",
    "{{ .S 1 }}": "<.S>: S has arguments but cannot be invoked as function",
    "{{ range .S }}{{ end }}": "<.S>: range can't iterate over text",
    "{{ range $a, $b := .N }}{{ end }}": "<.N>: can't use 3 to iterate over more than one variable",
    '{{ template "t" }}': '<{{template "t"}}>: template "t" not defined',
}


@pytest.mark.parametrize(("text", "expected"), FAULTS.items(), ids=FAULTS)
def test_faults(text, expected):
    """What cannot be done names the expression and says why."""
    with pytest.raises(ExecutionError) as fault:
        run(text)
    assert str(fault.value).endswith(expected)


def test_loops_over_numbers_are_young():
    """Prometheus 2 does not count."""
    with pytest.raises(ExecutionError, match="range can't iterate over 3"):
        run("{{ range .N }}{{ end }}", semantics=2)
