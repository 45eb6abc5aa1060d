from otel_latency.rules.marked import Mark, parse
from otel_latency.rules.promql.parse import parse as parse_expression
from otel_latency.rules.strict import Strict, mark_of, text_of


def entries(text):
    strict = Strict("f")
    return strict, strict.entries(parse(text, "f"), "a thing", ("name", "for", "labels", "items"))


def told(strict):
    return [str(fault) for fault in strict.faults]


def test_fields():
    """Fields are read as what they are, absent ones as nothing."""
    strict, found = entries("name: n\nfor: 1m\nlabels: {a: 1, b: }\nitems: [x]")
    assert ("n", 60_000, 250) == (
        strict.scalar(found, "name").value,
        strict.duration_ms(found, "for"),
        strict.duration_ms(found, "other", 250),
    )
    assert {"a": "1", "b": ""} == strict.texts(found, "labels")
    assert ["x"] == [strict.text(item, "items") for item in strict.items(found, "items")]
    assert ("n", "") == (text_of(found, "name"), text_of(found, "other"))
    assert (Mark(1, 7), Mark(1, 1)) == (mark_of(found, "name"), mark_of(found, "other"))
    assert [] == told(strict)


def test_null():
    """A field without a value is as good as none."""
    strict, found = entries("name:\nfor:\nlabels:\nitems:")
    assert strict.scalar(found, "name") is None
    assert (0, {}, ()) == (
        strict.duration_ms(found, "for"),
        strict.texts(found, "labels"),
        strict.items(found, "items"),
    )
    assert [] == told(strict)


def test_faults():
    """Everything that does not fit is told of, with the part of the file that is being read."""
    strict, found = entries("name: [n]\nfor: soon\nlabels: x\nitems: {}\nlabel: {}")
    strict.where = "rule 1"
    strict.scalar(found, "name")
    strict.duration_ms(found, "for")
    strict.texts(found, "labels")
    strict.items(found, "items")
    assert [
        "f:5:1: unknown field 'label': did you mean labels?",
        "f:1:7: rule 1: name holds more than one value: write a text",
        'f:2:6: rule 1: for: not a valid duration string: "soon": write 250ms, 30s, 5m or 1h30m',
        "f:3:9: rule 1: labels holds no names: write name: value under it",
        "f:4:8: rule 1: items holds no list: begin each entry with -",
    ] == told(strict)


def test_parsed():
    """What a parser refuses is told where its culprit stands."""
    strict, found = entries("name: |\n  sum(\n    rat(x[5m])\n  )")
    assert strict.parsed(strict.scalar(found, "name"), parse_expression) is None
    assert ['f:3:5: unknown function with name "rat": did you mean rate?'] == told(strict)
