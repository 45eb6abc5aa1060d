"""MLflow tracing: every attribute is JSON, so that even plain text comes in quotes."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, json, json_cost, text

MLFLOW = Dialect(
    name="mlflow",
    seen="mlflow 3.17 (source)",
    scopes=("mlflow",),
    sources={
        "mlflow.chat.tokenUsage": json(
            {
                "input_tokens": "input_tokens",
                "output_tokens": "output_tokens",
                "cache_read_input_tokens": "cache_read_tokens",
                "cache_creation_input_tokens": "cache_write_tokens",
            }
        ),
        "mlflow.llm.cost": json_cost("cost_usd"),
        "mlflow.trace.session": text("session"),
    },
    operations={
        "mlflow.spanType": {
            "LLM": "chat",
            "CHAT_MODEL": "chat",
            "EMBEDDING": "embeddings",
            "RETRIEVER": "retrieval",
            "RERANKER": "rerank",
            "TOOL": "execute_tool",
            "AGENT": "invoke_agent",
        }
    },
    models=("mlflow.llm.model",),
)
