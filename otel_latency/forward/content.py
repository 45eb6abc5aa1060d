"""Which attributes and events hold what users said and what models answered, as data.

Sources: OpenTelemetry's GenAI conventions, which call these "likely to contain sensitive information", and the names of
OpenInference, OpenLLMetry, Langfuse, Logfire, MLflow, Vercel's AI SDK, Google's ADK, LiveKit and others for the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Denied:
    """What is taken out: attributes whose key, in UTF-8, is one of `keys` or begins with one of `prefixes`."""

    keys: frozenset[bytes]
    prefixes: tuple[bytes, ...]

    def __contains__(self, key: bytes) -> bool:
        return key in self.keys or key.startswith(self.prefixes)


EVENTS: Final = frozenset(
    {
        b"gen_ai.system.message",
        b"gen_ai.user.message",
        b"gen_ai.assistant.message",
        b"gen_ai.tool.message",
        b"gen_ai.choice",
        b"gen_ai.content.prompt",
        b"gen_ai.content.completion",
        b"gen_ai.client.inference.operation.details",
    }
)
"""A log record that is one of these keeps no body; a span event no attributes but those of `gen_ai.` not denied."""
KEPT_OF_EVENTS: Final = b"gen_ai."
EVENT_NAME: Final = b"event.name"

_KEYS: Final = (
    # OpenTelemetry
    b"gen_ai.input.messages",
    b"gen_ai.output.messages",
    b"gen_ai.system_instructions",
    b"gen_ai.tool.definitions",
    b"gen_ai.tool.call.arguments",
    b"gen_ai.tool.call.result",
    b"gen_ai.event.content",
    b"gen_ai.retrieval.query.text",
    b"gen_ai.retrieval.documents",
    b"gen_ai.evaluation.explanation",
    b"db.statement",
    b"db.query.text",
    b"url.query",
    # OpenInference
    b"input.value",
    b"output.value",
    b"tool.parameters",
    b"embedding.text",
    b"reranker.query",
    # OpenLLMetry
    b"traceloop.entity.input",
    b"traceloop.entity.output",
    # Langfuse
    b"langfuse.observation.input",
    b"langfuse.observation.output",
    b"langfuse.trace.input",
    b"langfuse.trace.output",
    # Logfire
    b"all_messages_events",
    b"pydantic_ai.all_messages",
    b"request_data",
    b"response_data",
    b"tool_arguments",
    b"tool_response",
    b"final_result",
    # MLflow
    b"mlflow.spanInputs",
    b"mlflow.spanOutputs",
    # Vercel's AI SDK
    b"ai.prompt",
    b"ai.response.text",
    b"ai.response.toolCalls",
    b"ai.response.object",
    b"ai.toolCall.args",
    b"ai.toolCall.result",
    # Google's ADK
    b"gcp.vertex.agent.llm_request",
    b"gcp.vertex.agent.llm_response",
    b"gcp.vertex.agent.tool_call_args",
    b"gcp.vertex.agent.tool_response",
    b"gcp.vertex.agent.data",
    # LiveKit
    b"lk.user_input",
    b"lk.instructions",
    b"lk.chat_ctx",
    b"lk.response.text",
    b"lk.input_text",
    b"lk.user_transcript",
    b"lk.function_tool.arguments",
    b"lk.function_tool.output",
    # LangWatch, LiteLLM, TruLens, Pipecat
    b"langwatch.input",
    b"langwatch.output",
    b"langwatch.contexts",
    b"langwatch.params",
    b"llm.openai.messages",
    b"llm.openai.choices",
    b"ai.observability.record_root.input",
    b"ai.observability.record_root.output",
    b"ai.observability.call.return",
    b"ai.observability.retrieval.query_text",
    b"ai.observability.retrieval.retrieved_contexts",
    b"input",
    b"output",
    b"prompt",
    b"completion",
    b"messages",
    b"transcript",
    # what travels with requests
    b"authorization",
    b"cookie",
    b"set-cookie",
)
_HEADERS: Final = (
    "authorization",
    "proxy-authorization",
    "proxy_authorization",
    "cookie",
    "set-cookie",
    "set_cookie",
    "x-api-key",
    "x_api_key",
    "api-key",
    "api_key",
)
_PREFIXES: Final = (
    b"gen_ai.prompt",
    b"gen_ai.completion",
    b"llm.input_messages",
    b"llm.output_messages",
    b"llm.prompts",
    b"llm.completions",
    b"llm.prompt_template.",
    b"llm.function_call",
    b"llm.tools",
    b"retrieval.documents",
    b"reranker.input_documents",
    b"reranker.output_documents",
    b"embedding.embeddings",
    b"ai.prompt.",
    b"ai.observability.call.kwargs.",
    *(f"http.{side}.header.{name}".encode() for side in ("request", "response") for name in _HEADERS),
)


def denied(more: Iterable[str] = ()) -> Denied:
    """The list above and *more* keys; one that ends with `*` stands for all that begin alike."""
    added = [key.encode() for key in more]
    keys = frozenset((*_KEYS, *(key for key in added if not key.endswith(b"*"))))
    return Denied(keys, (*_PREFIXES, *(key.removesuffix(b"*") for key in added if key.endswith(b"*"))))
