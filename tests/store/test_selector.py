import pytest

from otel_latency.errors import ExpressionError
from otel_latency.store.selector import MAX_CHARACTERS, Selector, parse

GOOD = {
    "name": Selector("name"),
    " a:b_1 ": Selector("a:b_1"),
    "name{}": Selector("name"),
    'name{stage="llm"}': Selector("name", (("stage", "llm", True),)),
    ' name { a = "1" , b != "2", } ': Selector("name", (("a", "1", True), ("b", "2", False))),
    r"""name{a='say "hi", it\'s \\ \"'}""": Selector("name", (("a", 'say "hi", it\'s \\ "', True),)),
    r'name{a="say \"hi\", \\ } é\n"}': Selector("name", (("a", 'say "hi", \\ } é\n', True),)),
}


@pytest.mark.parametrize(("text", "expected"), GOOD.items())
def test_parse(text, expected):
    """Names and labels are read as PromQL writes them."""
    assert expected == parse(text)


BAD = {
    "": (0, "begins with its name"),
    "9lives": (0, "begins with its name"),
    "name" * MAX_CHARACTERS: (0, "begins with its name"),
    "name stage": (5, "stand in braces"),
    'name{a="1"': (4, "stand in braces"),
    "name{a=1}": (5, "no condition"),
    'name{a="1" b="2"}': (11, "separated by commas"),
    'name{a=~"1.*"}': (6, "no patterns"),
    r'name{a="\q"}': (7, "not quoted well"),
}


@pytest.mark.parametrize(("text", "place"), BAD.items(), ids=range(len(BAD)))
def test_faults(text, place):
    """What is wrong is told with its place."""
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    at, fact = place
    assert at == raised.value.at
    assert fact in str(raised.value)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ('n{a="1"}', {"a": "1", "b": "2"}, True),
        ('n{a="1"}', {"a": "2"}, False),
        ('n{a!="1"}', {}, True),
        ('n{a=""}', {}, True),
        ('n{a!=""}', {}, False),
    ],
)
def test_matches(text, labels, expected):
    """A label that a series has not is the same as an empty one."""
    assert expected is parse(text).matches(labels)
