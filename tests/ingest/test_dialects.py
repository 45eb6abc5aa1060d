"""The data about other tools is consistent, and its values are read in the unit that each tool writes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency import semconv
from otel_latency.ingest.dialects import DIALECTS
from otel_latency.ingest.dialects.dialect import (
    Unit,
    by_stage,
    json_cost,
    milliseconds,
    number,
    seconds,
    text,
    timestamp,
)
from otel_latency.ingest.dialects.dialect import json as json_text
from otel_latency.ingest.dialects.fields import FIELDS, NET_INPUT_TOKENS, NUMBERS, SECONDS, TEXTS, is_plausible
from otel_latency.ingest.dialects.values import read

GOLDEN = Path(__file__).parent / "golden"

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)


def targets(source):
    return {source.target, *source.targets.values()} - {""}


@every_dialect
def test_fields_exist(dialect):
    """Whatever a dialect maps to is a field, of the kind that its unit gives."""
    assert set(dialect.measures.values()) <= SECONDS.keys() | NUMBERS.keys()
    assert set(dialect.events.values()) <= SECONDS.keys()
    for source in [*dialect.sources.values(), *dialect.scoped.values()]:
        kinds = {Unit.TEXT: TEXTS, Unit.NUMBER: NUMBERS, Unit.JSON_COST: NUMBERS, Unit.JSON: FIELDS}
        known = kinds.get(source.unit, SECONDS)
        assert targets(source)
        assert targets(source) <= {*known, NET_INPUT_TOKENS}


@every_dialect
def test_statuses_exist(dialect):
    """A dialect tells of statuses that there are."""
    assert {status for table in dialect.statuses.values() for status in table.values()} <= set(semconv.STATUSES)


@every_dialect
def test_golden(dialect):
    """Each dialect has a golden file, named for it or for it and a case."""
    assert list(GOLDEN.glob(f"{dialect.name}.json"))


@every_dialect
def test_provenance(dialect):
    """Each dialect says what it was taken from."""
    assert dialect.seen


def test_keys_are_unique():
    """No attribute is claimed by two dialects; only `scoped` may say otherwise about a key."""
    keys = [key for dialect in DIALECTS for key in (*dialect.measures, *dialect.sources)]
    assert sorted(set(keys)) == sorted(keys)
    events = [name for dialect in DIALECTS for name in dialect.events]
    assert sorted(set(events)) == sorted(events)


def test_scopes_are_disjoint():
    """No scope of a dialect lies within that of another, and no two share a name."""
    scopes = [(dialect.name, scope) for dialect in DIALECTS for scope in dialect.scopes]
    clashes = [
        (a, b)
        for owner, a in scopes
        for other, b in scopes
        if owner != other and b.startswith(a) and not b[len(a) : len(a) + 1].isalnum()
    ]
    assert clashes == []
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


def test_every_field_has_a_source():
    """No field is documented that nothing fills, but those of a host, which take the place of a caller's."""
    filled = {field for dialect in DIALECTS for field in (*dialect.measures.values(), *dialect.events.values())}
    filled |= {
        field
        for dialect in DIALECTS
        for source in (*dialect.sources.values(), *dialect.scoped.values())
        for field in targets(source)
    }
    assert FIELDS.keys() - filled == {"server_tpot"}


def test_recordings_hold_no_content():
    """What the fake server and the prompts said is in no golden file."""
    assert [path.name for path in GOLDEN.glob("*.json") if "canary" in path.read_text()] == []


START_NS = 1_795_260_000_000_000_000  # 2026-11-21T11:20:00Z

READINGS = {
    "seconds": (seconds("ttfc"), 0.25, {"ttfc": 0.25}),
    "seconds in text": (seconds("ttfc"), "0.25", {"ttfc": 0.25}),
    "milliseconds": (milliseconds("ttfc"), 250, {"ttfc": 0.25}),
    "timestamp": (timestamp("ttfc"), "2026-11-21T11:20:00.250Z", {"ttfc": 0.25}),
    "timestamp in quotes": (timestamp("ttfc"), '"2026-11-21T11:20:00.25+00:00"', {"ttfc": 0.25}),
    "timestamp elsewhere": (timestamp("ttfc"), "2026-11-21T12:20:00.250+01:00", {"ttfc": 0.25}),
    "timestamp without zone is UTC": (timestamp("ttfc"), "2026-11-21T11:20:00.250", {"ttfc": 0.25}),
    "timestamp before the start": (timestamp("ttfc"), "2026-11-21T11:19:59Z", {}),
    "no timestamp": (timestamp("ttfc"), "soon", {}),
    "count": (number("input_tokens"), 12, {"input_tokens": 12}),
    "count in text": (number("input_tokens"), "12", {"input_tokens": 12}),
    "a flag is no count": (number("input_tokens"), True, {}),
    "words are no count": (number("input_tokens"), "many", {}),
    "text": (text("session"), "s-1", {"session": "s-1"}),
    "text in quotes": (text("session"), '"s-1"', {"session": "s-1"}),
    "text is cleaned": (text("session"), "s\n1\0", {"session": "s 1\ufffd"}),
    "text is cut": (text("session"), "s" * 500, {"session": "s" * 200}),
    "empty text": (text("session"), "", {}),
    "by stage": (by_stage({"llm": "ttfc", "tts": "tts_ttfb"}), 0.2, {"ttfc": 0.2}),
    "another stage": (by_stage({"tts": "tts_ttfb"}), 0.2, {}),
    "JSON": (
        json_text({"a.b": "input_tokens", "c": "output_tokens"}),
        '{"a":{"b":3},"c":4}',
        {"input_tokens": 3, "output_tokens": 4},
    ),
    "JSON with less in it": (json_text({"a.b": "input_tokens"}), '{"a":7}', {}),
    "JSON cut short": (json_text({"a": "input_tokens"}), '{"a":3', {}),
    "JSON that is no object": (json_text({"a": "input_tokens"}), "[3]", {}),
    "JSON too deep": (json_text({"a": "input_tokens"}), "[" * 4000, {}),
    "JSON that is no text": (json_text({"a": "input_tokens"}), 3, {}),
    "JSON of half a character": (json_text({"a": "input_tokens"}), '{"a":"\ud800"}', {}),
    "total cost": (json_cost("cost_usd"), '{"input":1,"output":2,"total":4}', {"cost_usd": 4}),
    "costs without total": (json_cost("cost_usd"), '{"input":1,"output":2}', {"cost_usd": 3}),
    "no costs": (json_cost("cost_usd"), "{}", {}),
    "cost of nothing is unknown": (json_cost("cost_usd"), '{"total":0}', {}),
    "negative": (seconds("ttfc"), -1.0, {}),
    "not a number": (seconds("ttfc"), float("nan"), {}),
    "infinite": (number("input_tokens"), float("inf"), {}),
    "infinite text": (number("input_tokens"), "1e999", {}),
    "a day": (seconds("ttfc"), 86_400, {"ttfc": 86_400}),
    "more than a day": (seconds("ttfc"), 86_401, {}),
    "a million tokens": (number("input_tokens"), 1_000_000, {"input_tokens": 1_000_000}),
    "a number beyond floats": (milliseconds("ttfc"), 10**400, {}),
}


@pytest.mark.parametrize(("source", "value", "expected"), READINGS.values(), ids=READINGS)
def test_read(source, value, expected):
    """Values become seconds, counts, dollars or short clean text; what cannot be believed becomes nothing."""
    assert expected == pytest.approx(dict(read(source, value, "llm", START_NS)), abs=1e-6)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.recursive(st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5).map(
        json.dumps
    ),
)


@given(st.sampled_from([source for one in DIALECTS for source in one.sources.values()]), ANYTHING)
def test_nothing_breaks_reading(source, value):
    """Whatever a tool sends, what is read is text of bounded length or a plausible number."""
    for field, result in read(source, value, "llm", START_NS):
        if field in TEXTS:
            assert 0 < len(result) <= 200
        else:
            assert is_plausible(field, result)
