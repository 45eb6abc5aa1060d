"""The exporter of spans over HTTP, before a receiver that looks at what it gets."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.exporter.otlp.common import http
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_latency.instrument import span_exporter
from otel_latency.instrument.encode import SpanEncoder
from otel_latency.instrument.quick_span import MEASURES_ITSELF
from otel_latency.instrument.span_exporter import QuickSpanExporter


@contextmanager
def receiving(status=200):
    """The address of a server that answers *status*, and what it got: headers and body of each request."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def batch():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span("one", attributes={"text": "a\ud800"}).end()  # the SDK's encoder drops that
    return exporter.get_finished_spans()


ENCODER = SpanEncoder()


def exporter(endpoint=None):
    return QuickSpanExporter(endpoint, ENCODER)


def rows(batch):
    return [ENCODER.row(span) for span in batch]


def texts(body):
    (span,) = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    return [each.value.string_value for each in span.attributes]


def test_variables_of_the_sdk(monkeypatch, batch):
    """Endpoint, headers and compression come from the standard variables; the encoder is ours."""
    with receiving() as (endpoint, requests):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=value")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        assert SpanExportResult.SUCCESS is exporter().export(rows(batch))
    ((headers, body),) = requests
    assert ("value", "gzip") == (headers["x-key"], headers["Content-Encoding"])
    assert ["a?"] == texts(gzip.decompress(body))


def test_a_large_request(monkeypatch, batch):
    """What is too large for one request is sent in several."""
    monkeypatch.setattr(span_exporter, "LARGE", 10)
    with receiving() as (endpoint, requests):
        assert SpanExportResult.SUCCESS is exporter(f"{endpoint}/v1/traces").export(rows(batch * 3))
    assert [["a?"]] * 3 == [texts(body) for _, body in requests]


def test_the_sdk_does_it(monkeypatch):
    """Where its metrics of itself are on, or it sends in another way, the SDK encodes."""
    assert QuickSpanExporter.is_usable()
    with monkeypatch.context() as patch:
        patch.setenv(MEASURES_ITSELF, "true")
        assert not QuickSpanExporter.is_usable()
    monkeypatch.delattr(http, "_OTLPHTTPClient")
    assert not QuickSpanExporter.is_usable()


def test_failures(batch):
    """A receiver that refuses, and an exporter that was shut down, take nothing."""
    with receiving(400) as (endpoint, requests):
        refusing = exporter(f"{endpoint}/v1/traces")
        refused = refusing.export(rows(batch))
        refusing.shutdown()
        assert (SpanExportResult.FAILURE, SpanExportResult.FAILURE) == (refused, refusing.export(rows(batch)))
    assert 1 == len(requests)
