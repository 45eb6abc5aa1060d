"""Record the spans that a real package makes of calls to `fake_openai`: `python record.py TOOL`, see README.md.

Writes ../TOOL.json. Content never gets in: attributes that are known to hold it, or that hold the canary which the
server and the prompts contain, are left out, and so is whatever names a place on the recording machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from fake_openai import CANARY, MODEL, serve
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

GOLDEN = Path(__file__).parent.parent
MESSAGES = [{"role": "user", "content": f"{CANARY}?"}]
NOWHERE = "http://127.0.0.1:9"

CONTENT = re.compile(
    r"^(code\.|thread\.|metadata\.|hidden_params|request_data|lk\.pii\.|lk\.input|logfire\.(json_schema|metrics)"
    r"|langsmith\.metadata\.LANG|gen_ai\.(prompt|completion|tool\.definitions|(in|out)put\.messages|system_instr)"
    r"|model_request_parameters|error\.(message|stack_trace)|embedding\.embeddings|ai\.(embedding|value|prompt))"
)
PLACE = re.compile(r"/tmp/|/home/|site-packages")

exporter = InMemorySpanExporter()


def openllmetry(url: str, provider: TracerProvider) -> None:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    call_openai(url)


def genai(url: str, provider: TracerProvider) -> None:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    call_openai(url)


def openinference(url: str, provider: TracerProvider) -> None:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    call_openai(url)


def openlit(url: str, provider: TracerProvider) -> None:
    import openlit

    openlit.init(disable_metrics=True, disable_batch=True, disabled_instrumentors=["httpx"])
    call_openai(url)


def logfire(url: str, provider: TracerProvider) -> None:
    import logfire
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    processor = SimpleSpanProcessor(exporter)
    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[processor])
    with logfire.instrument_openai(), logfire.span("answer {question}", question="why"):
        call_openai(url)
        logfire.info("answered")
    logfire.instrument_pydantic_ai()
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=url, api_key="none"))
    asyncio.run(_stream(Agent(model, name="helper")))


async def _stream(agent: object) -> None:
    async with agent.run_stream(CANARY) as result:
        async for _ in result.stream_text():
            pass


def langfuse(url: str, provider: TracerProvider) -> None:
    os.environ.update(LANGFUSE_PUBLIC_KEY="none", LANGFUSE_SECRET_KEY="none", LANGFUSE_HOST=NOWHERE)
    from langfuse import Langfuse, observe, propagate_attributes
    from langfuse.openai import OpenAI

    client = Langfuse(tracer_provider=provider)

    @observe
    def answer() -> None:
        call_openai(url, client=OpenAI)
        with client.start_as_current_observation(name="search", as_type="retriever"):
            pass
        with client.start_as_current_observation(name="priced", as_type="generation", model="own") as generation:
            usage = {"input": 5, "output": 3, "cache_read_input_tokens": 2}
            generation.update(usage_details=usage, cost_details={"input": 0.01, "output": 0.02})

    with propagate_attributes(session_id="session-1"):
        answer()


def langsmith(url: str, provider: TracerProvider) -> None:
    os.environ.update(LANGSMITH_OTEL_ENABLED="true", LANGSMITH_OTEL_ONLY="true", LANGSMITH_TRACING="true")
    os.environ.update(LANGSMITH_API_KEY="none", LANGSMITH_ENDPOINT=NOWHERE, OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE)
    import openai
    from langsmith import traceable
    from langsmith.run_trees import get_cached_client
    from langsmith.wrappers import wrap_openai

    @traceable(run_type="retriever")
    def search() -> list[str]:
        return []

    @traceable
    def answer() -> None:
        call_openai(url, client=lambda **options: wrap_openai(openai.OpenAI(**options)))
        search()

    answer(langsmith_extra={"metadata": {"session_id": "session-1"}})
    get_cached_client().flush()


def litellm(url: str, provider: TracerProvider) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

    litellm.callbacks = [OpenTelemetry(OpenTelemetryConfig(exporter=exporter), tracer_provider=provider)]

    async def call() -> None:
        options = {"api_base": url, "api_key": "none", "max_retries": 0}
        await litellm.acompletion(model=f"openai/{MODEL}", messages=MESSAGES, **options)
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        async for _ in await litellm.acompletion(model=f"openai/{MODEL}", messages=MESSAGES, **stream, **options):
            pass
        with suppress(litellm.InternalServerError):
            await litellm.acompletion(model="openai/broken", messages=MESSAGES, **options)
        await litellm.aembedding(model="openai/text-embedding-3-small", input=CANARY, api_base=url, api_key="none")
        await asyncio.sleep(2)  # its callbacks run in the background

    asyncio.run(call())


def livekit(url: str, provider: TracerProvider) -> None:
    from livekit.agents import Agent, AgentSession, telemetry
    from livekit.plugins import openai

    telemetry.set_tracer_provider(provider)

    async def converse() -> None:
        async with (
            openai.LLM(model=MODEL, base_url=url, api_key="none") as model,
            AgentSession(llm=model) as session,
        ):
            await session.start(Agent(instructions=CANARY))
            await session.run(user_input=CANARY)

    asyncio.run(converse())


def vercel(url: str, provider: TracerProvider) -> None:
    """Node does the calls: `vercel.mjs` prints its spans."""


TOOLS: dict[str, tuple[str, Callable[[str, TracerProvider], None]]] = {
    "genai": ("opentelemetry-instrumentation-genai-openai", genai),
    "openllmetry": ("opentelemetry-instrumentation-openai", openllmetry),
    "openinference": ("openinference-instrumentation-openai", openinference),
    "openlit": ("openlit", openlit),
    "logfire": ("logfire", logfire),
    "langfuse": ("langfuse", langfuse),
    "langsmith": ("langsmith", langsmith),
    "litellm": ("litellm", litellm),
    "livekit": ("livekit-agents", livekit),
    "vercel": ("ai", vercel),
}


def call_openai(url: str, client: Callable[..., object] | None = None) -> None:
    """A call, a streamed call, a failing call and embeddings."""
    import openai

    api = (client or openai.OpenAI)(base_url=url, api_key="none", max_retries=0)
    api.chat.completions.create(model=MODEL, messages=MESSAGES)
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    for _ in api.chat.completions.create(model=MODEL, messages=MESSAGES, **stream):
        pass
    with suppress(openai.APIError):
        api.chat.completions.create(model="broken", messages=MESSAGES)
    api.embeddings.create(model="text-embedding-3-small", input=CANARY)


@contextmanager
def quiet() -> Iterator[None]:
    """Spans are exported to nowhere besides: what the tools say about that is of no interest."""
    sys.stdout, kept = sys.stderr, sys.stdout
    try:
        yield
    finally:
        sys.stdout = kept


def recorded(span: ReadableSpan) -> dict[str, object]:
    scope, start_ns = span.instrumentation_scope, span.start_time
    return {
        "name": span.name,
        "kind": span.kind.value + 1,
        "scope": {"name": scope.name, "version": scope.version or ""},
        "resource": {"service.name": span.resource.attributes.get("service.name", "")},
        "root": span.parent is None,
        "start_ns": start_ns,
        "end_ns": span.end_time,
        "status": span.status.status_code.value,
        "attributes": dict(span.attributes or {}),
        "events": [{"name": one.name, "seconds": (one.timestamp - start_ns) * 1e-9} for one in span.events],
    }


def scrubbed(attributes: dict[str, object]) -> dict[str, object]:
    def is_fit(key: str, value: object) -> bool:
        text = str(value)
        return not CONTENT.search(key) and CANARY not in text and not PLACE.search(text)

    return {key: value for key, value in attributes.items() if is_fit(key, value)}


def main(tool: str) -> None:
    package, record = TOOLS[tool]
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    with serve() as url, quiet():
        if tool == "vercel":
            done = subprocess.run(["node", "vercel.mjs", url], check=True, capture_output=True, text=True)
            seen, spans = json.loads(done.stdout).values()
        else:
            record(url, provider)
            seen, spans = version(package), [recorded(span) for span in exporter.get_finished_spans()]
    for span in spans:
        span["attributes"] = scrubbed(span["attributes"])
    path = GOLDEN / f"{tool}.json"
    expected = json.loads(path.read_text())["expected"] if path.exists() else []
    golden = {"package": package, "version": seen, "source": "recorded", "spans": spans, "expected": expected}
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
