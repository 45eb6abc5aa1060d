"""Other tools' names for what we measure, one file per tool. A new tool is one file and one line in `DIALECTS`.

The order is the order of trust: where two attributes of a span give one field, the earlier one wins.
"""

from __future__ import annotations

from otel_latency.ingest.dialects.datadog import DATADOG
from otel_latency.ingest.dialects.dialect import Dialect
from otel_latency.ingest.dialects.hosts import SGLANG, VLLM
from otel_latency.ingest.dialects.langfuse import LANGFUSE
from otel_latency.ingest.dialects.langsmith import LANGSMITH
from otel_latency.ingest.dialects.langwatch import LANGWATCH
from otel_latency.ingest.dialects.litellm import LITELLM
from otel_latency.ingest.dialects.livekit import LIVEKIT
from otel_latency.ingest.dialects.logfire import LOGFIRE
from otel_latency.ingest.dialects.mlflow import MLFLOW
from otel_latency.ingest.dialects.openinference import OPENINFERENCE
from otel_latency.ingest.dialects.openlit import OPENLIT
from otel_latency.ingest.dialects.openllmetry import OPENLLMETRY
from otel_latency.ingest.dialects.otel import GENAI, OURS
from otel_latency.ingest.dialects.pipecat import PIPECAT
from otel_latency.ingest.dialects.trulens import TRULENS
from otel_latency.ingest.dialects.vercel import VERCEL

DIALECTS: tuple[Dialect, ...] = (
    OURS,
    GENAI,
    LIVEKIT,
    OPENLIT,
    OPENINFERENCE,
    OPENLLMETRY,
    LANGFUSE,
    PIPECAT,
    VERCEL,
    LANGSMITH,
    TRULENS,
    LITELLM,
    LOGFIRE,
    MLFLOW,
    VLLM,
    SGLANG,
    DATADOG,
    LANGWATCH,
)
