"""Metric families on the wire: three formats, one set of records, one rule of what may be shown.

    families --legal--> families --Text | OpenMetrics | Protobuf--> bytes

A renderer is pure but for what it remembers: label sets are escaped once and kept while pages use them. It is not
thread-safe; give each to one thread.
"""

from otel_latency.web.exposition.legal import Shown, legal
from otel_latency.web.exposition.openmetrics import OpenMetrics
from otel_latency.web.exposition.protobuf import Protobuf
from otel_latency.web.exposition.text import Text

__all__ = ["OpenMetrics", "Protobuf", "Shown", "Text", "legal"]
