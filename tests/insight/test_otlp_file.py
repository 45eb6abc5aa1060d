import json

import pytest

from otel_latency.errors import ConfigError
from otel_latency.insight import otlp_file


def span(number, name, start, end, *, parent="", trace="0af7651916cd43dd8448eb211c80319c", **attributes):
    """Times are seconds."""
    base = 1_764_253_805
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": parent,
        "name": name,
        "startTimeUnixNano": str(round((base + start) * 1e9)),
        "endTimeUnixNano": str(round((base + end) * 1e9)),
        "attributes": [
            {
                "key": key.replace("__", "."),
                "value": {"intValue": value} if isinstance(value, int) else {"stringValue": value},
            }
            for key, value in attributes.items()
        ],
    }


def document(*spans, service="bot"):
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


ROOT = "00000000000000a1"
TURN = span(0xA1, "answer", 0, 3, session__id="s-1")
LLM = span(
    0xA2,
    "llm",
    0.5,
    2.5,
    parent=ROOT,
    gen_ai__operation__name="chat",
    gen_ai__provider__name="openai",
    gen_ai__request__model="gpt-4o",
    gen_ai__usage__input_tokens=512,
)


def read(path):
    notices = []
    return otlp_file.read(path, notices.append), notices


def check(found):
    [request] = found
    assert ("s-1", 512.0, 3.0) == (request.session, request.prompt_tokens, request.total)
    assert [2.0] == [pytest.approx(step.seconds) for step in request.steps]


@pytest.mark.parametrize("indent", [None, 2], ids=["one line", "pretty"])
def test_document(tmp_path, indent):
    """One document, however it is laid out."""
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(document(TURN, LLM), indent=indent))
    assert otlp_file.is_otlp(path)
    found, notices = read(path)
    check(found)
    assert [] == notices


def test_lines(tmp_path):
    """One document on each line, as the Collector writes them: a turn may be spread over several."""
    path = tmp_path / "traces.jsonl"
    path.write_text(f"{json.dumps(document(LLM))}\n\n{json.dumps(document(TURN))}\n")
    check(read(path)[0])


def test_damage(tmp_path):
    """A torn line and a span without ids are told by their line, and cost only themselves."""
    path = tmp_path / "traces.jsonl"
    bad = document(TURN, {**LLM, "spanId": ""}, LLM)
    path.write_text(f"{json.dumps(bad)}\n{json.dumps(document(LLM))[:90]}\n")
    found, notices = read(path)
    check(found)
    assert [
        f"{path}:1: 1 spans left out: invalid_span_id",
        f"{path}:2: left out: no OTLP/JSON",
    ] == sorted(map(str, notices))


def test_many_spans(tmp_path):
    """A file may hold more spans than the agent takes in one request."""
    path = tmp_path / "trace.json"
    spans = [span(n, "step", 0, 1, trace=f"{n:032x}") for n in range(1, 20_500)]
    path.write_text(json.dumps(document(*spans)))
    found, notices = read(path)
    assert (20_499, []) == (len(found), notices)


def test_timing_records(tmp_path):
    """What `log_timing` sent as log records is a request of events."""

    def record(at_ms, event):
        said = {"otel_latency.request_id": "r-1", "service": "v34", "otel_latency.event": event, "session_id": "s"}
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in said.items()]
        time = str(1_764_253_805_000_000_000 + at_ms * 1_000_000)
        return {"timeUnixNano": time, "eventName": "otel_latency.timing", "attributes": attributes}

    records = [record(0, "v34_ollama_sent"), record(1500, "v34_ollama_received"), {"body": {"stringValue": "else"}}]
    path = tmp_path / "logs.json"
    path.write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}))
    assert otlp_file.is_otlp(path)
    [found] = read(path)[0]
    assert ("r-1", "s", 1.5, 2) == (found.request_id, found.session, found.llm_seconds, len(found.moments))


def test_nothing(tmp_path):
    """A file without any OTLP/JSON is told to be none."""
    path = tmp_path / "trace.json"
    path.write_text('{"resourceSpans": [')
    assert otlp_file.is_otlp(path)
    with pytest.raises(ConfigError, match="no OTLP/JSON: write one document"):
        read(path)
    path.write_text('{"request_id": 1}')
    assert not otlp_file.is_otlp(path)
