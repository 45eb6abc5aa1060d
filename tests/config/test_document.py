import pytest

from otel_latency.config.document import parse
from otel_latency.config.tree import Text
from otel_latency.errors import ConfigError

SCALARS = ["on", "no", "yes", "True", "22:22", "010", "0x1F", "1_000", "1.10", ".inf", "2026-11-21", "<<", "=", "-"]


@pytest.mark.parametrize("scalar", SCALARS)
def test_scalars_stay_texts(scalar):
    """Nothing is read into a scalar, quoted or not."""
    assert {"key": Text(scalar)} == parse(f"key: '{scalar}'", "file")
    if scalar != "-":
        assert {"key": Text(scalar)} == parse(f"key: {scalar}", "file")


@pytest.mark.parametrize("null", ["", "null", "~"])
def test_null(null):
    """A plain null is nothing, a quoted one a text."""
    assert {"key": None} == parse(f"key: {null}", "file")
    assert {"key": Text(null)} == parse(f"key: '{null}'", "file")


def test_structure():
    """Mappings and lists nest, in flow and in block form."""
    expected = {"a": [{"b": Text("1")}, [Text("2"), None]], "c": {"d": Text("two\nlines\n")}}
    assert expected == parse("a:\n- b: 1\n- [2, ~]\nc:\n  d: |\n    two\n    lines\n", "file")


def test_alias_bomb_takes_no_memory():
    """References are refused where the first one stands, before anything is multiplied."""
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    with pytest.raises(ConfigError, match=r"^bomb\.yaml:1:5: an anchor stands here"):
        parse(bomb, "bomb.yaml")


def test_half_a_million_brackets():
    """Nesting is refused at a fixed depth, not at the end of the stack."""
    with pytest.raises(ConfigError, match=r"^file:1:22: more than 20 levels are nested here: flatten them$"):
        parse("[" * 500_000, "file")
