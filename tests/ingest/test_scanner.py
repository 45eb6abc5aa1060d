"""Both scanners keep one contract: what a span is, what it costs to be malformed, and where the limits lie."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_latency.ingest.scanner import (
    DETAIL,
    FOREIGN,
    IGNORED,
    LABEL,
    LINK,
    MAX_ATTRIBUTES,
    MAX_SPAN_BYTES,
    MAX_SPANS,
    MAX_TEXT,
    MEASURE,
    OTHERS,
    UNREADABLE,
    PythonScanner,
    make_scanner,
)
from otel_latency.records import Profile

ATTRIBUTES = {
    "model": (LABEL, ""),
    "stream": (LABEL, ""),
    "tokens": (MEASURE, "input_tokens"),
    "gen_ai.usage.output_tokens": (MEASURE, "output_tokens"),
    "first": (FOREIGN, ""),
    "waited_for": (LINK, ""),
}
EVENTS = {"First Token": (FOREIGN, "event:First Token"), "first": (FOREIGN, "event:first")}
ALL_EVENTS = EVENTS | {
    "first_token": (MEASURE, "ttft"),
    "sentence": (DETAIL, "sentences"),
    "exception": (IGNORED, ""),
    OTHERS: (FOREIGN, "moments"),
}
IDS = b"0123456789abcdef", b"01234567", b"parentid"

_scanner = pytest.importorskip(
    "otel_latency.ingest._scanner", reason="the compiled scanner was not built (no C compiler)"
)


class Asked:
    """Plays the part of `TraceDecoder`, and notes what it was asked."""

    def __init__(self, *, compiled: bool, context: int = 7, events=EVENTS) -> None:
        self.resolved: list[tuple[object, ...]] = []
        self.foreign: list[dict[str, object]] = []
        self.origins: list[tuple[bytes, bytes]] = []
        self._context = context
        self.scanner = make_scanner(ATTRIBUTES, events, self.number, self.resolve, self.convert, compiled=compiled)

    def number(self, resource: bytes, scope: bytes) -> int:
        self.origins.append((resource, scope))
        return self._context

    def resolve(self, *shape: object) -> Profile:
        self.resolved.append(shape)
        return Profile(repr(shape))

    def convert(self, context, profile, foreign, measures, start, end) -> None:
        self.foreign.append(foreign)
        if "first" in foreign:
            measures["ttft"] = str(foreign["first"])

    def scan(self, body: bytes):
        """Rows with the profile's text for the profile, and the spans refused."""
        rows, rejected = self.scanner.scan(body)
        return [(row[0].service, *row[1:]) for row in rows], dict(sorted(rejected.items()))


@pytest.fixture(params=[True, False], ids=["compiled", "python"])
def asked(request) -> Asked:
    return Asked(compiled=request.param)


def span(**changes) -> Span:
    fields = dict(zip(("trace_id", "span_id", "parent_span_id"), IDS, strict=True))
    fields |= {"name": "chat", "kind": 3, "start_time_unix_nano": 1_000_000_000, "end_time_unix_nano": 3_000_000_000}
    attributes = changes.pop("attributes", {})
    one = Span(**(fields | changes))
    for key, value in attributes.items():
        kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
        setattr(one.attributes.add(key=key).value, kind[type(value)], value)
    return one


def request(*spans: Span | bytes) -> bytes:
    """A request with one resource and scope; bytes stand for a span that no library would encode."""
    raw = [each if isinstance(each, bytes) else each.SerializeToString() for each in spans]
    scope_spans = field(1, b"\x0a\x05scope") + b"".join(field(2, each) for each in raw)
    return field(1, field(1, b"resource") + field(2, scope_spans))


def field(number: int, body: bytes) -> bytes:
    length, encoded = len(body), b""
    while length > 127:
        encoded += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + body


def test_a_span_becomes_a_row(asked):
    """Ids, times, the labels that decide its profile, and its measures."""
    attributes = {"model": "gpt", "stream": True, "tokens": 12, "other": "x", "gen_ai.usage.output_tokens": 3}
    rows, rejected = asked.scan(request(span(attributes=attributes)))
    assert rejected == {}
    assert asked.origins == [(b"resource", b"\x0a\x05scope")]
    assert asked.resolved == [(7, "chat", 3, False, 0, {"model": "gpt", "stream": True})]
    measures = {"input_tokens": 12, "output_tokens": 3}
    assert [row[1:] for row in rows] == [(*IDS, 1_000_000_000, 3_000_000_000, measures)]


def test_profiles_are_resolved_once_per_shape(asked):
    """Only what decides a profile makes a new one; numbers and ids do not."""
    one, other = {"model": "a", "tokens": 1}, {"model": "a", "tokens": 2}
    asked.scan(request(span(attributes=one), span(attributes=other, span_id=b"other id"), span(name="tts")))
    asked.scan(request(span(attributes=other), span(attributes={"model": "b"})))
    assert [shape[1:] for shape in asked.resolved] == [
        ("chat", 3, False, 0, {"model": "a"}),
        ("tts", 3, False, 0, {}),
        ("chat", 3, False, 0, {"model": "b"}),
    ]
    asked.scanner.forget()
    asked.scan(request(span(attributes=one)))
    assert len(asked.resolved) == 4


def test_values_of_another_kind_are_other_labels(asked):
    """True, 1, 1.0 and "1" are four different labels."""
    asked.scan(request(*(span(attributes={"model": value}) for value in (True, 1, 1.0, "1", True))))
    assert [list(shape[5].values()) for shape in asked.resolved] == [[True], [1], [1.0], ["1"]]
    assert [type(value) for shape in asked.resolved for value in shape[5].values()] == [bool, int, float, str]


@pytest.mark.parametrize("value", [-1, 86_401, 1e300, float("nan"), True, "12", float("-inf")])
def test_a_measure_that_is_no_plain_number_is_looked_at_by_convert(asked, value):
    """Under its attribute's key."""
    rows, _ = asked.scan(request(span(attributes={"tokens": value})))
    assert repr(asked.foreign) == repr([{"tokens": value}])
    assert rows[0][6] is None


def test_foreign_values_are_converted_into_the_row(asked):
    """What `convert` adds is in the row's measures."""
    rows, _ = asked.scan(request(span(attributes={"first": 0.25, "tokens": 5})))
    assert rows[0][6] == {"input_tokens": 5, "ttft": "0.25"}


def test_the_first_event_of_a_name_counts_in_seconds_from_the_start(asked):
    """Later ones, unknown ones and such before the start do not."""
    one = span()
    for name, ns in (("First Token", 500_000_000), ("noise", 1_200_000_000)):
        one.events.add(name=name, time_unix_nano=ns)
    for ns in (1_500_000_000, 1_700_000_000):
        one.events.add(name="First Token", time_unix_nano=ns)
    asked.scan(request(one))
    assert asked.foreign == [{"event:First Token": 0.5}]


@pytest.fixture(params=[True, False], ids=["compiled", "python"])
def detailed(request) -> Asked:
    return Asked(compiled=request.param, events=ALL_EVENTS)


def with_events(*events: tuple[str, float, dict[str, object]], **changes) -> Span:
    """A span with events: name, seconds from its start, attributes."""
    one = span(**changes)
    for name, seconds, attributes in events:
        event = one.events.add(name=name, time_unix_nano=1_000_000_000 + round(seconds * 1e9))
        event.attributes.extend(span(attributes=attributes).attributes)
    return one


def test_a_milestone_may_be_an_event(detailed):
    """It is the measure of that name, without a detour; what an attribute says goes before, and the first counts."""
    body = request(
        with_events(("first_token", 0.25, {}), ("first_token", 0.5, {})),
        with_events(("first_token", -0.5, {})),
    )
    assert [row[6] for row in detailed.scan(body)[0]] == [{"ttft": 0.25}, None]
    assert detailed.foreign == []


def test_events_with_other_plain_names_are_told_together(detailed):
    """Sentences, dotted names, such before the start and the ignored ones are not among them."""
    events = [("built", 0.5, {"k": 1}), ("built", 0.75, {}), ("x" * 65, 1, {}), ("a.b", 1, {}), ("exception", 1, {})]
    detailed.scan(request(with_events(*events, ("early", -0.5, {}), ("naïve", 1, {}), ("*", 1, {}), ("_2", 1, {}))))
    assert detailed.foreign == [{"moments": {"built": 0.5, "_2": 1.0}}]


def test_the_attributes_of_an_event_that_is_looked_into(detailed):
    """Of each of them, all that are scalars."""
    said = {"index": 0, "arrived": 0.5, "text": "é", "heard": True, "raw": b"x"}
    detailed.scan(request(with_events(("sentence", 0, said), ("sentence", -1, {}))))
    assert detailed.foreign == [{"sentences": [{"index": 0, "arrived": 0.5, "text": "é", "heard": True}, {}]}]


def test_links_tell_what_was_waited_for(detailed):
    """Those with the attribute that is looked for, if it is text; on the span itself it means nothing."""
    one = span(attributes={"waited_for": "nothing"})
    for number, attributes in enumerate([{"waited_for": "first"}, {"x": 1}, {"waited_for": 5}, {"waited_for": "end"}]):
        link = one.links.add(trace_id=IDS[0], span_id=bytes([number]) * 8)
        link.attributes.extend(span(attributes=attributes).attributes)
    one.links.add(span_id=b"short").attributes.extend(span(attributes={"waited_for": "first"}).attributes)
    detailed.scan(request(one))
    assert detailed.foreign == [{"waited_for": [(bytes(8), "first"), (bytes([3]) * 8, "end")]}]


@pytest.mark.parametrize(
    "damage",
    [
        field(13, b"\xff"),
        field(13, field(4, field(1, b"\xff"))),
        field(11, field(2, b"sentence") + field(3, b"\xff")),
        field(11, field(2, b"sentence") + field(3, field(1, b"\xff"))),
    ],
)
def test_a_broken_link_or_detail_costs_its_span(detailed, damage):
    """As any other part of it that cannot be read."""
    assert detailed.scan(request(span().SerializeToString() + damage)) == ([], {"malformed": 1})


def test_only_so_many_links_are_read(detailed):
    """The first sixteen."""
    one = span()
    for number in range(20):
        one.links.add(span_id=bytes([number + 1]) * 8).attributes.extend(
            span(attributes={"waited_for": "m"}).attributes
        )
    detailed.scan(request(one))
    assert len(detailed.foreign[0]["waited_for"]) == 16


def test_a_root_has_no_parent(asked):
    """An empty parent id, one of zeros and one of the wrong length are none."""
    rows, _ = asked.scan(request(*(span(parent_span_id=parent) for parent in (b"", bytes(8), b"short"))))
    assert [row[3] for row in rows] == [b""] * 3
    assert asked.resolved == [(7, "chat", 3, True, 0, {})]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (span(trace_id=b""), "invalid_trace_id"),
        (span(trace_id=bytes(16)), "invalid_trace_id"),
        (span(trace_id=b"fifteen bytes.."), "invalid_trace_id"),
        (span(span_id=bytes(8)), "invalid_span_id"),
        (span(span_id=b"nine byte"), "invalid_span_id"),
        (span().SerializeToString() + field(5, b"\xff\xfe"), "malformed"),
        (span().SerializeToString() + field(5, "\ud800".encode("utf-8", "surrogatepass")), "malformed"),
        (span().SerializeToString() + field(9, field(1, b"\xc3")), "malformed"),
        (span().SerializeToString() + field(9, field(2, field(1, b"\xf5\x80\x80\x80"))), "malformed"),
        (span().SerializeToString() + field(11, field(2, b"\xc0\xaf")), "malformed"),
        (span().SerializeToString() + field(15, b"\x1a"), "malformed"),
        (span().SerializeToString() + b"\x5b\x5c", "malformed"),
        (span().SerializeToString() + b"\x4a\x7f", "malformed"),
        (span().SerializeToString() + b"\xff" * 11, "malformed"),
        (b"", "invalid_trace_id"),
        (span(name="x" * MAX_SPAN_BYTES), "too_large"),
    ],
)
def test_a_bad_span_costs_one_span(asked, bad, reason):
    """Its neighbours are taken, and the reason is counted."""
    rows, rejected = asked.scan(request(span(), bad, span(span_id=b"12345678")))
    assert [row[2] for row in rows] == [b"01234567", b"12345678"]
    assert rejected == {reason: 1}


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0b\x0c",
        b"\xff" * 12,
        b"\x00\x00",
        field(1, b"\x12\x7f"),
        b"\x0d\x01",
        b"not protobuf",
    ],
)
def test_broken_framing_is_refused_whole(asked, body):
    """Nothing of it is taken."""
    with pytest.raises(ValueError, match=r".+"):
        asked.scan(body)


@pytest.mark.parametrize("body", [b"", field(1, b""), field(1, field(2, b"")), field(9, b"unknown")])
def test_empty_requests_hold_nothing(asked, body):
    """Empty envelopes and unknown fields are no error."""
    assert asked.scan(body) == ([], {})


def test_too_many_spans_are_refused_before_they_are_built(asked):
    """A structural bomb: two million empty spans, or envelopes, in four megabytes."""
    for bomb in (
        field(1, field(2, b"\x12\x00" * 2_000_000)),
        field(1, b"\x12\x00" * 2_000_000),
        b"\x0a\x00" * 2_000_000,
    ):
        with pytest.raises(OverflowError, match="20000 spans"):
            asked.scan(bomb)


def test_exactly_as_many_spans_as_allowed_are_taken():
    """The limit itself is inside."""
    asked = Asked(compiled=True)
    rows, _ = asked.scan(request(*[span()] * MAX_SPANS))
    assert len(rows) == MAX_SPANS


def test_attributes_beyond_the_limit_are_not_looked_at(asked):
    """The first 128 count; the span is taken all the same."""
    many = {f"key {n}": 1 for n in range(MAX_ATTRIBUTES - 1)}
    rows, _ = asked.scan(request(span(attributes={**many, "tokens": 1, "model": "late"})))
    assert rows[0][6] == {"input_tokens": 1}
    assert asked.resolved[0][5] == {}


def test_long_text_is_cut_between_characters(asked):
    """4 KiB of a label are enough, and a character is never cut in two."""
    asked.scan(request(span(attributes={"model": "x" + "é" * 4000})))
    label = asked.resolved[0][5]["model"]
    assert label == "x" + "é" * ((MAX_TEXT - 1) // 2)


def test_arrays_maps_and_nothing_are_no_values(asked):
    """Only scalars are labels or measures; deep nesting is not followed."""
    one = span()
    one.attributes.add(key="model").value.array_value.values.add(string_value="x")
    one.attributes.add(key="tokens").value.kvlist_value.values.add(key="x")
    one.attributes.add(key="stream")
    deep = b""
    for _ in range(20_000):
        deep = field(5, field(1, deep)) if len(deep) < 60_000 else deep
    rows, rejected = asked.scan(request(one, span(span_id=b"12345678").SerializeToString() + field(9, field(2, deep))))
    assert (len(rows), rejected) == (2, {})
    assert {repr(shape) for shape in asked.resolved} == {repr((7, "chat", 3, False, 0, {}))}


def test_key_and_value_may_come_in_any_order_and_the_last_counts(asked):
    """As protobuf has it."""
    value, other = field(2, field(1, b"late")), field(2, field(1, b"early"))
    raw = span().SerializeToString() + field(9, other + value + field(1, b"model"))
    asked.scan(request(raw))
    assert asked.resolved[0][5] == {"model": "late"}


@pytest.mark.parametrize("compiled", [True, False])
def test_spans_of_a_malformed_origin_are_malformed(compiled):
    """Nobody could say whose they are."""
    asked = Asked(compiled=compiled, context=UNREADABLE)
    assert asked.scan(request(span(), span())) == ([], {"malformed": 2})


@pytest.mark.parametrize("compiled", [True, False])
def test_an_error_in_a_callback_passes_through(compiled):
    """It is ours to see, and nothing leaks or crashes."""

    def fail(*_: object):
        raise LookupError("nothing here")

    ask = (lambda *_: 1), (lambda *_: Profile("x")), (lambda *_: None)
    for position in range(3):
        callbacks = [fail if n == position else each for n, each in enumerate(ask)]
        scanner = make_scanner(ATTRIBUTES, EVENTS, *callbacks, compiled=compiled)
        with pytest.raises(LookupError, match="nothing here"):
            scanner.scan(request(span(attributes={"first": 1})))


def test_more_shapes_than_the_cache_holds():
    """The cache starts over; every span still gets its own profile."""
    asked = Asked(compiled=True)
    for start in range(0, 20_000, 5_000):
        rows, _ = asked.scan(request(*(span(name=f"name {n}") for n in range(start, start + 5_000))))
        assert [f"name {n}" in row[0] for n, row in enumerate(rows, start)] == [True] * 5_000
    assert len(asked.resolved) == 20_000


BODIES = [
    request(
        span(attributes={"model": "gpt", "tokens": 5, "first": 0.5, "x": "é"}, status={"code": 2, "message": "no"}),
        span(name="", attributes={"tokens": -3.5, "stream": False}, parent_span_id=b"", trace_state="a=b", flags=1),
    ),
    request(span(events=[Span.Event(name="First Token", time_unix_nano=2_000_000_000)], attributes={"model": b"raw"})),
    request(
        with_events(
            ("first_token", 0.5, {}),
            ("sentence", 0.5, {"index": 0, "text": "é"}),
            ("built", 0.5, {}),
            links=[Span.Link(span_id=b"producer", attributes=span(attributes={"waited_for": "end"}).attributes)],
        )
    ),
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(BODIES), st.randoms(use_true_random=False), st.integers(1, 6))
def test_both_scanners_agree_on_damaged_requests(body, source: random.Random, damages):
    """Bytes changed, dropped, doubled or cut: the same rows, the same refusals, and never a crash."""
    data = bytearray(body)
    for _ in range(damages):
        at = source.randrange(len(data)) if data else 0
        action = source.randrange(4)
        if action == 0 and data:
            data[at] = source.choice([0, 1, 2, 0x0A, 0x12, 0x7F, 0x80, 0xFF, source.randrange(256)])
        elif action == 1:
            del data[at : at + source.randrange(1, 4)]
        elif action == 2:
            data[at:at] = data[at : at + source.randrange(1, 40)]
        else:
            del data[at + source.randrange(1, 60) :]
    outcomes = []
    for compiled in (True, False):
        asked = Asked(compiled=compiled, events=ALL_EVENTS)
        try:
            outcomes.append((repr(asked.scan(bytes(data))), set(map(repr, asked.resolved)), repr(asked.foreign)))
        except (ValueError, OverflowError) as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_hold_spans(data):
    """Anything may come."""
    outcomes = []
    for compiled in (True, False):
        try:
            outcomes.append(repr(Asked(compiled=compiled).scan(data)))
        except (ValueError, OverflowError) as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_the_python_scanner_serves_where_nothing_was_compiled():
    """`make_scanner` falls back by itself, and on demand."""
    assert isinstance(
        make_scanner({}, {}, lambda *_: 0, lambda *_: Profile(""), lambda *_: None, compiled=False), PythonScanner
    )


def test_a_compiled_scanner_that_was_not_initialised_says_so():
    """An error and no crash."""
    scanner = _scanner.Scanner.__new__(_scanner.Scanner)
    with pytest.raises(RuntimeError, match="not initialised"):
        scanner.scan(request(span()))
    with pytest.raises(RuntimeError, match="not initialised"):
        scanner.forget()
