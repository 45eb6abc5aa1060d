import pytest

from otel_latency.errors import ConfigError
from otel_latency.rules.marked import Entries, Items, Mark, Scalar, parse

SPELLINGS = {
    "plain": "a: sum(x) > !",
    "plain over two lines": "a: sum(x)\n   > !",
    "single quotes": "a: 'it''s > !'",
    "double quotes": 'a: "\\"\\tx\\x41\\" > !"',
    "literal block": "a: |\n  sum(\n    x)\n  > !\n",
    "literal block with indentation": "a: |2\n   sum(x)\n  > !\n",
    "folded block": "a: >- # why\n  sum(x)\n\n  > !\n",
    "in a list": "a: [x, 'sum(x) > !']",
}


def scalar(node):
    while not isinstance(node, Scalar):
        node = node.values["a"] if isinstance(node, Entries) else node.values[-1]
    return node


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_place(text):
    """A character of a value is found where it stands in the file, however the value is spelled."""
    found = scalar(parse(text, "f"))
    line = text[: text.index("!")].count("\n") + 1
    column = text.splitlines()[line - 1].index("!") + 1
    assert Mark(line, column) == found.place(found.value.index("!"))


def test_place_of_the_end():
    """An expression that ends too early is wrong right after its last character."""
    found = scalar(parse("a: |\n  sum(x\n\nb: 1\n", "f"))
    assert Mark(2, 8) == found.place(len(found.value))


def test_marks():
    """Keys, values, lists and mappings know their places; null is a value of its own."""
    tree = parse("a: 1\nb:\n- ~\n- c: {}\n", "f")
    assert isinstance(tree, Entries)
    assert {"a": Mark(1, 1), "b": Mark(2, 1)} == tree.keys
    items = tree.values["b"]
    assert isinstance(items, Items)
    assert [Mark(3, 3), Mark(4, 3)] == [item.mark for item in items.values]
    assert (items.values[0].value, items.values[0].is_null) == ("", True)


def test_no_document():
    """A file of comments holds nothing."""
    assert parse("# nothing\n", "f") is None


REFUSED = {
    "a: &b [*b]": "f:1:8: this alias stands for nothing: define its anchor before, or quote the text",
    "a: 1\na: 2": "f:2:1: this key stands on line 1 already: keep one",
    "[a]: 1": "f:1:1: a key is a list or a mapping: write a plain name",
    "a: &x {}\n<<: *x\n<<: *x": "f:3:1: a merge key stands in this mapping already: write <<: [*one, *other]",
    "a: 1\n<<: b": "f:2:5: only mappings can be merged: write <<: *name, or quote the key",
    "a: 1\n---\nb: 2": "f:2:1: a second document starts here, which Prometheus would ignore: keep one",
    "a: \x01": "f:1:4: a control character stands here: remove it",
    "[" * 5000: "f:1:22: more than 20 levels are nested here: flatten them",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_refused(text, message):
    """What is no plain tree is refused where it stands."""
    with pytest.raises(ConfigError) as error:
        parse(text, "f")
    assert message == str(error.value)


def test_aliases_share():
    """An alias is the value of its anchor, not a copy: nothing can be multiplied."""
    tree = parse("a: &x [1, 2]\nb: *x\n", "f")
    assert tree.values["a"] is tree.values["b"]


def test_merge():
    """A merge key brings what is not there, the first mapping first, each with the place where it was written."""
    text = "a: &x {p: 1, q: 2}\nb: &y {q: 3, r: 4}\nc:\n  <<: [*x, *y]\n  p: 5\nd: {'<<': 6}\ne:\n  <<: *y\n"
    tree = parse(text, "f")
    c, d, e = (tree.values[name] for name in "cde")
    assert {name: value.value for name, value in c.values.items()} == {"p": "5", "q": "2", "r": "4"}
    assert c.keys == {"p": Mark(5, 3), "q": Mark(1, 14), "r": Mark(2, 14)}
    assert (list(d.values), e.values) == (["<<"], tree.values["b"].values)
