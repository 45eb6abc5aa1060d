"""Links and events of a span as text in its row, the same from every scanner and encoding."""

from __future__ import annotations

import json
import time

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

import otel_latency as latency
from otel_latency.ingest.details import MAX_MOMENTS, add_details
from otel_latency.ingest.otlp_traces import TraceDecoder
from otel_latency.instrument.voice import Reply
from otel_latency.testing import capture_spans


def test_only_what_is_there_is_added():
    """Most spans have none of it."""
    measures: dict[str, float | str] = {"ttft": 0.5}
    add_details({"other": 1}, measures)
    assert measures == {"ttft": 0.5}


def test_gates_moments_and_sentences():
    """Times that are none, or no numbers, are null; a sentence without its number has its place."""
    measures: dict[str, float | str] = {}
    foreign = {
        "otel_latency.after": [(b"producer", "first_sentence")],
        "moments": {"built": 0.125},
        "sentences": [
            {"otel_latency.sentence.index": 3, "otel_latency.sentence.arrived": 0.5},
            {"otel_latency.sentence.played": "late", "otel_latency.sentence.audio_ready": float("nan")},
        ],
    }
    add_details(foreign, measures)
    assert {key: json.loads(value) for key, value in measures.items()} == {
        "after": [[b"producer".hex(), "first_sentence"]],
        "moments": {"built": 0.125},
        "sentences": [[3, 0.5, None, None, None], [1, None, None, None, None]],
    }


def test_moments_are_bounded():
    """The first of them are kept."""
    measures: dict[str, float | str] = {}
    add_details({"moments": {f"m{number}": 0.0 for number in range(100)}}, measures)
    assert len(json.loads(measures["moments"])) == MAX_MOMENTS


def as_json(request) -> bytes:
    """The request in OTLP's JSON, whose ids are hexadecimal."""
    tree = MessageToDict(request)
    spans = tree["resourceSpans"][0]["scopeSpans"][0]["spans"]
    for shown, sent in zip(spans, request.resource_spans[0].scope_spans[0].spans, strict=True):
        shown |= {
            "traceId": sent.trace_id.hex(),
            "spanId": sent.span_id.hex(),
            "parentSpanId": sent.parent_span_id.hex(),
        }
        for link, told in zip(shown.get("links", ()), sent.links, strict=True):
            link["spanId"] = told.span_id.hex()
    return json.dumps(tree).encode()


@pytest.mark.parametrize("way", ["compiled", "python", "json"])
def test_what_our_library_sends(way):
    """A turn with a gate, a milestone of the user's own, a spoken reply and a fallback."""
    with capture_spans() as spans, latency.turn("answer") as turn:
        with latency.llm_call("draft", provider="openai", model="gpt-4o") as call:
            call.milestone("prompt_cached", at=time.monotonic_ns())
            call.milestone("first_sentence")
        with latency.stage("tts", after=(call, "first_sentence")):
            pass
        with Reply(turn) as reply:
            reply.sentence().tts_started()
        turn.fallback("canned")
    request = encode_spans(spans)
    body = as_json(request) if way == "json" else request.SerializeToString()
    rows, rejected = TraceDecoder(compiled=way != "python").decode(body, is_json=way == "json")
    assert rejected == {}
    said = {row[0].stage or row[0].turn: row[6] for row in rows}
    producer = next(row[2] for row in rows if row[0].llm)
    assert json.loads(said["tts"]["after"]) == [[producer.hex(), "first_sentence"]]
    assert list(json.loads(said["llm"]["moments"])) == ["prompt_cached"]
    assert said["answer"]["fallback"] == "canned"
    ((number, arrived, tts_started, *rest),) = json.loads(said["answer"]["sentences"])
    assert (number, rest) == (0, [None, None])
    assert 0 < arrived <= tts_started == pytest.approx(said["answer"]["tts_start"])
