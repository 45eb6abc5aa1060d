"""The promise as a whole: what promtool printed, in microseconds' worth of bounded work, and never an exception."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.errors import EvaluationError, ExpressionError
from otel_latency.rules.template import parse

TESTDATA = Path(__file__).parent / "testdata"
GOLDEN = json.loads(TESTDATA.joinpath("template_golden_promtool_2.42.json").read_text())
OWN = json.loads(TESTDATA.joinpath("own_templates_promtool_2.42.json").read_text())

# The first series of test_promtool.py, for which OWN was rendered.
LABELS = {
    "__name__": "v",
    "html": """<b a='1'>&"x"</b>""",
    "instance": "web1.example.com:9090",
    "job": "a b",
    "n": "0",
    "zone": "Zürich",
}


def rendered(template, semantics=3, value=1.5, **given):
    return parse(template, alert="A", semantics=semantics).render(labels=LABELS, value=value, **given)


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["value"])
def test_golden(row):
    """Numbers print and humanize as promtool does it, cell by cell."""
    value = float(row["value"])
    assert row["outputs"] == [rendered(template, 2, value) for template in GOLDEN["templates"]]


def query(expression):
    """The series that promtool had, as (labels, value)."""
    many = [({**LABELS, "n": str(position)}, 1.5) for position in range(12)]
    return {"v": many, "one": [({"__name__": "one", "n": "7"}, 12345.5)], "none": []}[expression]


# These print the values of all series, which only test_promtool.py has.
OF_ONE_SERIES = {template: text for template, text in OWN["rendered"].items() if "$s.Value" not in template}


@pytest.mark.parametrize(("template", "expected"), OF_ONE_SERIES.items(), ids=OF_ONE_SERIES)
def test_rendered(template, expected):
    """A template prints what promtool printed, errors included."""
    outside = {"region": "eu", "tier": "<1>"}
    url = "http://prometheus.example:9090/graphs"
    assert expected == rendered(template, 2, external_labels=outside, external_url=url, query=query)


@pytest.mark.parametrize(("template", "expected"), OWN["refused"].items(), ids=OWN["refused"])
def test_refused(template, expected):
    """A faulty template is refused with promtool's words."""
    with pytest.raises(ExpressionError) as refused:
        parse(template, semantics=2)
    assert expected == refused.value.fact


# What promtool 2.42 has no opinion on: the younger Go, the younger functions, and the two that crash there.
NEWER = {
    "{{ range 3 }}x{{ . }}{{ end }}": "x0x1x2",
    "{{ range $n := 2 }}{{ $n }}{{ else }}none{{ end }}{{ range 0 }}{{ else }}none{{ end }}": "01none",
    "{{ with .Labels.x }}a{{ else with .Labels.job }}{{ . }}{{ else }}c{{ end }}": "a b",
    "{{ toDuration 90061.5 }} {{ (toDuration 0.25).Milliseconds }} {{ toDuration 0.0000015 }}": "25h1m1.5s 250 1.5µs",
    "{{ now | humanizeTimestamp }}": "2026-01-01 00:00:00.5 +0000 UTC",
    '{{ urlQueryEscape "a b/é" }}': "a+b%2F%C3%A9",
    "{{ externalURL }} {{ pathPrefix }}": "http://x.example/sub/path /sub/path",
}


@pytest.mark.parametrize(("template", "expected"), NEWER.items(), ids=NEWER)
def test_semantics_3(template, expected):
    """What came after 2.42 works with semantics 3."""
    assert expected == rendered(template, now=1767225600.5, external_url="http://x.example/sub/path")


def test_comparison_of_types_in_semantics_3():
    """The younger Go names the types that do not go together."""
    assert "incompatible types for comparison: float64 and int>" in rendered("{{ eq $value 1 }}")


COMPLIANCE = """{{ define "row" }}{{ .arg0 | toUpper }}={{ .arg1 | humanizeDuration }};{{ end -}}
{{ range query "v" | sortByLabel "n" -}}
{{ if match "^1" .Labels.n }}{{ template "row" (args (reReplaceAll "1(.)" "x$1" .Labels.n) .Value) }}{{ end -}}
{{ end -}}
{{ with query "one" }}{{ . | first | value }}{{ end }} {{ "a b" | title }} {{ stripPort $labels.instance }}
{{- parseDuration "1h" }}"""


def test_compliance_functions():
    """define, template, args, with, range, sortByLabel and the rest work together, as in the compliance rules."""
    assert rendered(COMPLIANCE, query=query) == "1=1.5s;X0=1.5s;X1=1.5s;12345.5 A B web1.example.com3600"


def test_strange_labels():
    """A lone surrogate, which is no character, harms nothing."""
    template = parse("{{ $labels }}{{ len $labels.a }}{{ html $labels.a }}{{ range $labels }}{{ . }}{{ end }}")
    assert "map[a:" in template.render(labels={"a": "\ud800"}, value=1.0)


def test_name_and_place_in_errors():
    """An error while expanding names alert, line and column, and the alert's text is this error."""
    expected = 'template: __alert_A:2:11: executing "__alert_A" at <$value.x>: can\'t evaluate field x in type float64'
    error = rendered("one\né{{ $value.x }}")
    assert error == f"<error expanding template: error executing template __alert_A: {expected}>"


def test_place_in_refusals():
    """A refusal knows the offset of the culprit in the text."""
    with pytest.raises(ExpressionError) as refused:
        parse("{{ $value }} {{ nope }}")
    assert (refused.value.fact, refused.value.at) == ('function "nope" not defined', 16)


@pytest.mark.parametrize("error", [EvaluationError("two series match"), KeyError("broken")])
def test_failing_query(error):
    """Whatever a query raises becomes text."""

    def failing(_):
        raise error

    assert f"error calling query: {error}>" in rendered('{{ query "v" }}', query=failing)


def test_without_query_and_time():
    """What was not given cannot be asked."""
    assert "error calling query: there is nothing to query here" in rendered('{{ query "v" }}')
    assert "error calling now: the time is not known here" in rendered("{{ now }}")


def test_queries_see_labels_as_pairs():
    """A query may answer with labels as the engine keeps them: sorted pairs."""
    assert rendered('{{ query "v" | first | label "a" }}', query=lambda _: [((("a", "b"),), 1.0)]) == "b"


def test_reuse():
    """One render leaves nothing behind for the next, nor in the caller's labels."""
    template = parse("{{ $x := $value }}{{ $x = 2 }}{{ $labels.a }}{{ $x }}")
    labels = {"a": "b"}
    assert [template.render(labels=labels, value=value) for value in (1, 3)] == ["b2", "b2"]
    assert labels == {"a": "b"}


def test_cut_character():
    """A text cut inside of a character leaves as valid UTF-8."""
    assert rendered('{{ slice "é" 0 1 }}') == "\ufffd"


BRANCHING = """{{ define "t" }}{{ if lt (len .) 40 }}{{ template "t" (print . "x") }}{{ template "t" (print . "x") }}
{{- end }}{{ end }}{{ template "t" "" }}"""
GREEDY = {
    "output": ("{{ range 5000 }}01234567890123456789{{ end }}", "the output has more than 65536 bytes"),
    "loops": ("{{ range 9000 }}{{ range 9000 }}{{ end }}{{ end }}", "the template takes more than 20000 steps"),
    "huge loop": ("{{ range 1000000000000 }}{{ end }}", "the template takes more than 20000 steps"),
    "recursion": ('{{ define "t" }}{{ template "t" }}{{ end }}{{ template "t" }}', "maximum template depth (50)"),
    "branching": (BRANCHING, "the template takes more than 20000 steps"),
    "doubling": ('{{ $x := "ab" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}', "a text may have 65536 bytes"),
    "nesting map": ("{{ $x := args }}{{ range 3000 }}{{ $x = args $x }}{{ end }}{{ $x }}", "nests too deeply"),
    "branching map": ("{{ $x := args 1 }}{{ range 40 }}{{ $x = args $x $x }}{{ end }}{{ $x }}", "may have 65536 bytes"),
    "width": ('{{ printf "%999999d" 1 }}', "a text may have 65536 bytes"),
    "star": ('{{ printf "%*d" 999999 1 }}', "a text may have 65536 bytes"),
    "precision": ('{{ printf "%.999999f" $value }}', "a text may have 65536 bytes"),
    "layout": (
        '{{ $x := printf "%64000s" "" }}{{ printf (reReplaceAll " " "%[1]s" (slice $x 0 9000)) $x }}',
        "a text may have 65536 bytes",
    ),
    "replacement": (
        '{{ $x := printf "%64000s" "" }}{{ reReplaceAll "" $x $x }}',
        "a text may have 65536 bytes",
    ),
    "queries": ('{{ range 1000 }}{{ $x := query "v" }}{{ end }}', "the template takes more than 20000 steps"),
}


@pytest.mark.parametrize(("template", "expected"), GREEDY.values(), ids=GREEDY)
def test_bounds(template, expected):
    """A template that wants too much ends soon, with a text that says why."""
    assert expected in rendered(template, query=lambda _: [])


@pytest.mark.parametrize("opening", ["{{ (" + "(" * 500, "{{ if 1 }}" * 500], ids=["parentheses", "ifs"])
def test_deep_text(opening):
    """Text that nests too deeply is refused."""
    with pytest.raises(ExpressionError, match="max expression depth exceeded"):
        parse(opening)


PIECES = (
    "{{",
    "}}",
    "{{-",
    "-}}",
    " ",
    "$labels",
    "$value",
    ".",
    ".a",
    "|",
    "(",
    ")",
    '"%5.2v x"',
    "'a'",
    "1",
    "-2.5",
    ":=",
    "=",
    ",",
)
WORDS = (
    *PIECES,
    "$x",
    "if",
    "else",
    "end",
    "range",
    "with",
    "define",
    "template",
    "nil",
    "true",
    "printf",
    "print",
    "eq",
    "lt",
)
MORE = (
    *WORDS,
    "index",
    "slice",
    "len",
    "args",
    "query",
    "first",
    "label",
    "value",
    "humanize",
    "toTime",
    "now",
    "/*",
    "*/",
    "é",
)


@given(st.lists(st.sampled_from(MORE), max_size=25).map(" ".join))
def test_never_raises(text):
    """Any text is refused with an ExpressionError or renders to a text."""
    try:
        template = parse(text)
    except ExpressionError:
        return
    assert isinstance(template.render(labels=LABELS, value=1.5, query=lambda _: [(LABELS, 2.0)]), str)


@given(st.text(alphabet="%[]*.#+-0 123456789vsqxXdfegGbcoOUtTwp!é", max_size=12))
def test_any_layout(layout):
    """No layout of printf breaks anything, whatever it is given."""
    operands = 'printf $labels.x $value "text" 7 true nil $labels (query "v" | first) (query "v") (toTime 5) (args 1)'
    template = parse("{{ " + operands + " }}")
    assert isinstance(template.render(labels={"x": layout}, value=1.5, query=lambda _: [(LABELS, 2.0)]), str)
