"""One line for existing code: `client = latency.wrap(OpenAI())` makes each request of the client an LLM call.

Works for the clients of `openai` and `anthropic`, sync and async, Azure, Bedrock and Vertex included. Only this one
client object is changed, in its own attributes: the class, other clients and the package stay as they are, and what is
returned is the object that was handed in. Copies (`with_options`) are wrapped too. Every way to a request is covered,
since all of them pass through the client's `request`: `create`, `parse`, the `stream()` helpers, embeddings.

A request inside an `llm_call` of yours is that call and no second one. Of the body, only the model's name is read;
of the answer, the token counts and the shape of chunks.

Cost: an LLM call's; for other requests of the client one look at a path.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current

from otel_latency.instrument.context import current
from otel_latency.instrument.finish import FINISH_REASONS, finish_reasons
from otel_latency.instrument.guard import guard
from otel_latency.instrument.llm import STREAMED, LLMCall
from otel_latency.instrument.stream import Outcome, StreamTimer
from otel_latency.instrument.usage import Source, usage_of

Client = TypeVar("Client")

_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/completions": "text_completion",
    "/responses": "chat",
    "/embeddings": "embeddings",
    "/v1/messages": "chat",
    "/v1/complete": "text_completion",
}
"""Path of a request -> OpenTelemetry's `gen_ai.operation.name`. Other requests pass untouched."""

_PROVIDERS: Final = {
    "api.anthropic.com": "anthropic",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
_CLASSES: Final = (("Azure", "azure.ai.openai"), ("Bedrock", "aws.bedrock"), ("Vertex", "gcp.vertex_ai"))
_MARK: Final = "_otel_latency"


def wrap(client: Client, *, task: str | None = None, provider: str | None = None) -> Client:
    """Time the requests of *client* from now on, and return it.

    *task* is what to call them (else the operation: chat, embeddings); *provider* who serves them, where the client's
    class and address do not tell. A client that is wrapped already, or of a kind not known, comes back unchanged.
    """
    try:
        if not _is_known(client):
            guard.complain("wrap", "wrap() knows the clients of openai and anthropic; use call.stream() for others")
        elif _MARK not in vars(client):
            vars(client)[_MARK] = True
            _watch_inner_calls(trace.get_tracer_provider())
            _Wrapping(client, task, provider or _provider(client)).install(client)
    except Exception as fault:
        guard.caught("wrap", fault)
    return client


class _Wrapping:
    """What stands in for a client's `request`, `copy` and `with_options`."""

    def __init__(self, client: Any, task: str | None, provider: str) -> None:
        self._task = task
        self._provider = provider
        # A strong reference would form a cycle, which keeps the client's connections open until garbage collection.
        self._client = weakref.ref(client)
        self._is_async = iscoroutinefunction(client.request)

    def install(self, client: Any) -> None:
        vars(client)["request"] = self._timed(self._original(client, "request"))
        for name in ("copy", "with_options"):
            if callable(getattr(client, name, None)):
                vars(client)[name] = self._copying(self._original(client, name))

    def _original(self, client: Any, name: str) -> Callable[..., Any]:
        if name in vars(client):  # somebody else has been here
            found: Callable[..., Any] = vars(client)[name]
            return found
        method = getattr(type(client), name)
        return lambda *arguments, **options: method(self._client(), *arguments, **options)

    def _copying(self, copy: Callable[..., Any]) -> Callable[..., Any]:
        def copied(*arguments: Any, **options: Any) -> Any:
            return wrap(copy(*arguments, **options), task=self._task, provider=self._provider)

        return copied

    def _timed(self, request: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            exchange = self._begin(arguments, options)
            if exchange is None:
                return request(*arguments, **options)
            try:
                answer = request(*arguments, **options)
            except BaseException as failure:
                exchange.fail(failure)
                raise
            return exchange.take(answer)

        async def timed_async(*arguments: Any, **options: Any) -> Any:
            exchange = self._begin(arguments, options)
            if exchange is None:
                return await request(*arguments, **options)
            try:
                answer = await request(*arguments, **options)
            except BaseException as failure:
                exchange.fail(failure)
                raise
            return exchange.take(answer)

        return timed_async if self._is_async else timed

    def _begin(self, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> _Exchange | None:
        """Start a call, unless the request is none."""
        try:
            request = options["options"] if "options" in options else arguments[1]
            operation = _OPERATIONS.get(urlsplit(request.url).path)
            if operation is None or request.method.lower() != "post":
                return None
            around = _around()
            if around is not None:
                return _Exchange(around, None, is_streamed=bool(options.get("stream")))
            body = request.json_data
            model = body.get("model") if isinstance(body, Mapping) else None
            call = LLMCall(self._task or operation, provider=self._provider, model=model, operation=operation)
            outer = get_current()
            return _Exchange(call.__enter__(), outer, is_streamed=bool(options.get("stream")))
        except Exception as fault:
            guard.caught("wrap", fault)
            return None


class _Exchange:
    """One request and its answer. *outer* is the context before a call of our own; None says that it is the user's."""

    __slots__ = ("_call", "_is_streamed", "_outer")

    def __init__(self, call: LLMCall, outer: Context | None, *, is_streamed: bool) -> None:
        self._call = call
        self._is_streamed = is_streamed
        self._outer = outer
        if is_streamed:
            call.describe({STREAMED: True})

    def fail(self, failure: BaseException) -> None:
        if self._outer is not None:
            self._call.close(failure)

    def take(self, answer: Any) -> Any:
        """The answer to hand on: a stream is timed and ends the call, anything else has its tokens counted."""
        try:
            if self._is_streamed and _is_stream(answer):
                return self._watched(answer)
            if reasons := finish_reasons(answer):
                self._call.describe({FINISH_REASONS: reasons})
            usage = usage_of(answer)
            if usage is not None:
                self._call.count(usage.counts(), Source.CLIENT)
        except Exception as fault:
            guard.caught("wrap", fault)
        if self._outer is not None:
            self._call.close()
        return answer

    def _watched(self, stream: Any) -> Any:
        call = self._call
        if self._outer is None:
            return call.stream(stream, source=Source.CLIENT)
        if get_current() is call.own_context:
            attach(self._outer)  # the stream is read in the reader's own context

        def end(outcome: Outcome, failure: BaseException | None, at: int) -> None:
            if outcome is Outcome.ABANDONED:
                call.status = "cancelled"
            call.stream_ended(outcome, failure, at)
            call.close(failure, at=at)

        return StreamTimer(call, on_end=end, source=Source.CLIENT).watch(stream)


def _watch_inner_calls(provider: object) -> None:
    """A client's own span for a request is no second call. `configure` sees to that, too, for what it installs."""
    if hasattr(provider, "add_span_processor"):
        from otel_latency.instrument import inner

        inner.install(provider)


def _around() -> LLMCall | None:
    """The user's call that the request belongs to: the innermost one, stages within it skipped."""
    timed = current()
    while timed is not None and not isinstance(timed, LLMCall):
        timed = None if timed.outer is None else current(timed.outer)
    return timed


def _is_known(client: object) -> bool:
    packages = {kind.__module__.partition(".")[0] for kind in type(client).__mro__}
    return bool(packages & {"openai", "anthropic"}) and callable(getattr(client, "request", None))


def _is_stream(answer: object) -> bool:
    return hasattr(type(answer), "__next__") or hasattr(type(answer), "__anext__")


def _provider(client: Any) -> str:
    names = [kind.__name__ for kind in type(client).__mro__]
    for part, provider in _CLASSES:
        if any(part in name for name in names):
            return provider
    host = urlsplit(str(getattr(client, "base_url", ""))).hostname or ""
    return _PROVIDERS.get(host) or _package(type(client).__mro__)


def _package(kinds: Iterable[type]) -> str:
    return next(name for kind in kinds if (name := kind.__module__.partition(".")[0]) in {"openai", "anthropic"})
