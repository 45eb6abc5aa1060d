"""The SDK's exporter over OTLP/HTTP for spans that are encoded already.

Connection, TLS, headers, compression, retries and all the variables that set them stay the SDK's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.common import http
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_latency.instrument.encode import SpanEncoder
from otel_latency.instrument.quick_span import is_sdk_measured

LARGE: Final = 16 << 20
"""Bytes of a request that is sent in two halves."""


class QuickSpanExporter(OTLPSpanExporter):
    """Sends the rows of *encoder*. None as the *endpoint* leaves it to the standard variables."""

    def __init__(self, endpoint: str | None, encoder: SpanEncoder) -> None:
        super().__init__(endpoint=endpoint)
        self._encoder = encoder
        self._sender: Any = getattr(self, "_client", None)

    @classmethod
    def is_usable(cls) -> bool:
        """Whether the SDK sends bytes in the way that is known here, and need not count them."""
        return not is_sdk_measured() and hasattr(http, "_OTLPHTTPClient")

    def export(self, rows: Sequence[Any]) -> SpanExportResult:
        body = self._encoder.body(rows)
        if len(body) > LARGE and len(rows) > 1:
            half = len(rows) // 2
            results = {self.export(rows[:half]), self.export(rows[half:])}
            return results.pop() if len(results) == 1 else SpanExportResult.FAILURE
        is_sent = not self._shutdown and self._sender.export(body).success
        return SpanExportResult.SUCCESS if is_sent else SpanExportResult.FAILURE
