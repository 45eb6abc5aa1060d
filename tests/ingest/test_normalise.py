"""Spans of any tool mean the same in our words as they do in the tool's own."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.ingest import normalise
from otel_latency.ingest.dialects import DIALECTS
from otel_latency.ingest.normalise import EVENT_PREFIX, EVENTS, FIELDS, FOREIGN, LABELS, MEASURES, Normaliser, resource
from otel_latency.records import LLMProfile

GOLDEN = Path(__file__).parent / "golden"
INTERNAL, SERVER, CLIENT = 1, 2, 3
UNSET, OK, ERROR = 0, 1, 2
START_NS, END_NS = 1_000_000_000, 3_000_000_000


def meaning(
    name="step",
    kind=INTERNAL,
    scope="app",
    version="",
    root=False,
    status=UNSET,
    attributes=None,
    events=None,
    times=(START_NS, END_NS),
):
    """The profile and measures of a span, asked for as a scanner does; *events* are names with their seconds."""
    normaliser, origin = Normaliser(), resource({"service.name": "bot"}, scope, version)
    scalars = {key: value for key, value in (attributes or {}).items() if isinstance(value, str | bool | int | float)}
    labels = {key: value for key, value in scalars.items() if key in LABELS}
    measures = {MEASURES[key]: value for key, value in scalars.items() if key in MEASURES}
    foreign = {key: value for key, value in scalars.items() if key in FOREIGN}
    for event, seconds in events or ():
        if event in EVENTS:
            foreign.setdefault(EVENT_PREFIX + event, seconds)
    profile = normaliser.profile(origin, name, kind, root, status, labels)
    if foreign:
        normaliser.convert(profile, origin, foreign, measures, *times)
    return profile, measures


def golden_spans():
    for path in sorted(GOLDEN.glob("*.json")):
        golden = json.loads(path.read_text())
        for number, (span, expected) in enumerate(zip(golden["spans"], golden["expected"], strict=True)):
            yield pytest.param(span, expected, id=f"{path.stem}-{number}-{span['name'][:30]}")


@pytest.mark.parametrize(("span", "expected"), list(golden_spans()))
def test_golden(span, expected):
    """What a real package emitted becomes what it meant."""
    profile, measures = meaning(
        name=span["name"],
        kind=span["kind"],
        scope=span["scope"]["name"],
        version=span["scope"]["version"],
        root=span["root"],
        status=span["status"],
        attributes=span["attributes"],
        events=[(event["name"], event["seconds"]) for event in span["events"]],
        times=(span["start_ns"], span["end_ns"]),
    )
    assert expected == {
        "stage": profile.stage,
        "turn": profile.turn,
        "status": profile.status,
        "llm": shown(profile.llm),
        "measures": {k: value if isinstance(value, str) else float(f"{value:.9g}") for k, value in measures.items()},
    }


def shown(call: LLMProfile | None) -> dict[str, str] | None:
    """A model call's fields."""
    return None if call is None else dataclasses.asdict(call)


def test_classes_are_disjoint():
    """A scanner needs one table only: no attribute is a label, a measure and foreign at once."""
    assert LABELS & FOREIGN == LABELS & MEASURES.keys() == FOREIGN & MEASURES.keys() == set()
    assert set(MEASURES.values()) <= FIELDS.keys()


# What a span is.

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}

ROLES = {
    "a root is a turn and nothing else": ({"name": "answer", "root": True}, "answer", "", False),
    "a child is a stage": ({"name": "search"}, "", "search", False),
    "a name loses its ids": ({"name": "search 8412"}, "", "search {n}", False),
    "a nameless span": ({"name": ""}, "", "unnamed", False),
    "a model call is a stage named by its span": ({"name": "chat gpt-4o", "attributes": CHAT}, "", "chat gpt-4o", True),
    "a root model call is all three": ({"name": "chat", "root": True, "attributes": CHAT}, "chat", "chat", True),
    "our stage attribute names it": ({"attributes": {"otel_latency.stage": "rank"}}, "", "rank", False),
    "so does pipeline.stage": ({"attributes": {"pipeline.stage": "rank"}}, "", "rank", False),
    "our turn attribute, under a web server's span": ({"attributes": {"otel_latency.turn": "ask"}}, "ask", "", False),
    "a stage of ours outside of turns": (
        {"name": "load", "scope": "otel_latency", "root": True},
        "load",
        "load",
        False,
    ),
    "a turn of ours": (
        {"name": "ask", "scope": "otel_latency", "root": True, "attributes": {"otel_latency.turn": "ask"}},
        "ask",
        "",
        False,
    ),
    "our task makes a call": ({"name": "draft", "attributes": {"otel_latency.task": "draft"}}, "", "draft", True),
    "a tool is no call": (
        {"name": "execute_tool search", "attributes": {**CHAT, "gen_ai.operation.name": "execute_tool"}},
        "",
        "execute_tool search",
        False,
    ),
    "an agent is no call": (
        {"name": "invoke_agent a", "kind": CLIENT, "attributes": {**CHAT, "gen_ai.operation.name": "invoke_agent"}},
        "",
        "invoke_agent a",
        False,
    ),
    "a client span with a model is a call": (
        {"name": "x", "kind": CLIENT, "attributes": {"gen_ai.request.model": "m"}},
        "",
        "x",
        True,
    ),
    "an internal span with a model is not": (
        {"name": "x", "attributes": {"gen_ai.request.model": "m"}},
        "",
        "x",
        False,
    ),
    "LiveKit's node is the stage": ({"name": "llm_node", "scope": "livekit-agents"}, "", "llm", False),
    "another's llm_node is not LiveKit's": ({"name": "llm_node"}, "", "llm_node", False),
    "a session is no turn": (
        {"name": "agent_session", "scope": "livekit-agents", "root": True},
        "",
        "agent_session",
        False,
    ),
    "its turns are": ({"name": "agent_turn", "scope": "livekit-agents"}, "agent_turn", "", False),
    "the announcement of a span is nothing": (
        {"name": "chat", "scope": "logfire.openai", "attributes": {**CHAT, "logfire.span_type": "pending_span"}},
        "",
        "",
        False,
    ),
    "a log line sent as a span is nothing": (
        {"name": "hello", "scope": "logfire", "attributes": {"logfire.span_type": "log"}},
        "",
        "",
        False,
    ),
}


@pytest.mark.parametrize(("span", "turn", "stage", "is_call"), ROLES.values(), ids=ROLES)
def test_role(span, turn, stage, is_call):
    """A span is a turn, a stage, a model call, or some of these."""
    profile, _ = meaning(**span)
    assert (turn, stage, is_call) == (profile.turn, profile.stage, profile.llm is not None)


@pytest.mark.parametrize(("version", "is_call"), [("5.2.0", False), ("4.30.0", True), ("", True)])
def test_opening_of_a_stream(version, is_call):
    """Logfire's span of a streamed call is not the call, from the version that lets us know."""
    name = "Chat Completion with {request_data[model]!r}"
    profile, _ = meaning(name, CLIENT, "logfire.openai", version, attributes=CHAT)
    assert is_call == (profile.llm is not None)


STATUSES = {
    "unset": (UNSET, {}, "ok"),
    "ok": (OK, {}, "ok"),
    "error": (ERROR, {}, "error"),
    "an error type alone": (UNSET, {"error.type": "ValueError"}, "error"),
    "timeout": (ERROR, {"error.type": "openai.APITimeoutError"}, "timeout"),
    "timeout, the convention's word": (ERROR, {"error.type": "timeout"}, "timeout"),
    "cancelled": (ERROR, {"error.type": "asyncio.exceptions.CancelledError"}, "cancelled"),
    "ours wins": (ERROR, {"error.type": "ValueError", "otel_latency.status": "interrupted"}, "interrupted"),
    "not one of ours": (UNSET, {"otel_latency.status": "great"}, "ok"),
    "interrupted speech": (UNSET, {"lk.interrupted": True}, "interrupted"),
    "uninterrupted speech": (UNSET, {"lk.interrupted": False}, "ok"),
    "an error is worse than an interruption": (ERROR, {"lk.interrupted": True}, "error"),
    "Langfuse's level": (UNSET, {"langfuse.observation.level": "ERROR"}, "error"),
}


@pytest.mark.parametrize(("code", "attributes", "expected"), STATUSES.values(), ids=STATUSES)
def test_status(code, attributes, expected):
    """Every ending is one of five."""
    assert expected == meaning(status=code, attributes=attributes)[0].status


ERROR_TYPES = {
    "named": (ERROR, {"error.type": "RateLimitError"}, "RateLimitError"),
    "unnamed": (ERROR, {}, "_OTHER"),
    "none": (UNSET, {}, ""),
    "our timeout": (UNSET, {"otel_latency.status": "timeout"}, "timeout"),
}


@pytest.mark.parametrize(("code", "attributes", "expected"), ERROR_TYPES.values(), ids=ERROR_TYPES)
def test_error_type(code, attributes, expected):
    """A failed call always has an error type, another never."""
    assert expected == meaning(status=code, attributes={**CHAT, **attributes})[0].llm.error_type


PROVIDERS = {
    "az.ai.openai": "azure.ai.openai",
    "OpenAI": "openai",
    "openai.chat": "openai",
    "google.generative-ai": "gcp.gemini",
    "aws.bedrock": "aws.bedrock",
    "xai": "x_ai",
    "Our Own": "Our Own",
    "": "",
}


@pytest.mark.parametrize(("system", "expected"), PROVIDERS.items())
def test_provider(system, expected):
    """Old and foreign spellings of a provider become the registry's; an unknown one stays."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.system": system}
    assert expected == meaning(attributes=attributes)[0].llm.provider


def test_model_is_the_one_asked_for():
    """Failed calls have no response model: they must not make a series of their own."""
    asked = meaning(attributes=CHAT)[0].llm
    answered = meaning(attributes={**CHAT, "gen_ai.response.model": "gpt-4o-2024-08-06"})[0].llm
    assert asked == answered


def test_labels_are_cleaned():
    """What becomes part of a series is short and on one line."""
    llm = meaning(attributes={**CHAT, "gen_ai.request.model": "m\n\0" + "x" * 500})[0].llm
    assert llm.model == "m \ufffd" + "x" * 197


# What a span measured.

FIRSTS = {
    "OTel's first chunk": ({"gen_ai.response.time_to_first_chunk": 0.2}, {"ttfc": 0.2}),
    "LiveKit means a token by it": ({"gen_ai.response.time_to_first_chunk": 0.2}, {"ttft": 0.2}),
    "OpenLIT, named like a server's": ({"gen_ai.server.time_to_first_token": 0.2}, {"ttfc": 0.2}),
    "Sentry, named like a token": ({"gen_ai.response.time_to_first_token": 0.2}, {"ttfc": 0.2}),
    "vLLM": ({"gen_ai.latency.time_to_first_token": 0.2}, {"server_ttft": 0.2}),
}


@pytest.mark.parametrize(("attributes", "expected"), FIRSTS.values(), ids=FIRSTS)
def test_first_token(attributes, expected, request):
    """A first chunk, a first token and a host's first token are three things, whatever they are called."""
    scope = "livekit-agents" if "LiveKit" in request.node.callspec.id else "app"
    assert expected == meaning(kind=CLIENT, scope=scope, attributes={**CHAT, **attributes})[1]


@given(
    st.dictionaries(st.sampled_from(sorted(FOREIGN)), st.floats(0, 100) | st.just("2026-11-21T11:20:00Z")),
    st.sampled_from(["app", "ai", "openlit", "langfuse-sdk", "pipecat", "logfire.openai", "trulens"]),
)
def test_first_chunks_stay_first_chunks(attributes, scope):
    """Only three names give a first token, and none of them is another tool's first chunk."""
    truths = {"lk.response.ttft", "otel_latency.time_to_first_token", "lk.llm_metrics"}
    _, measures = meaning(kind=CLIENT, scope=scope, attributes={**CHAT, **attributes})
    assert truths & attributes.keys() or "ttft" not in measures


@given(st.dictionaries(st.sampled_from(sorted(FOREIGN - {"otel_latency.time_to_first_token"})), st.floats(0, 100)))
def test_a_host_measures_for_itself(attributes):
    """On the model host's span there is no caller's first token or chunk."""
    profile, measures = meaning(kind=SERVER, attributes={**CHAT, **attributes})
    assert profile.llm.origin == "server"
    assert measures.keys().isdisjoint({"ttft", "ttfc", "tpot"})


TRUST = {
    "the attribute over the event": (
        {"ai.response.msToFirstChunk": 250.0},
        [("ai.stream.firstChunk", 0.3), ("ai.stream.firstChunk", 0.2)],
        {"ttfc": 0.25},
    ),
    "the convention over a tool": (
        {
            "langfuse.observation.completion_start_time": "1970-01-01T00:00:01.5Z",
            "gen_ai.response.time_to_first_chunk": 0.2,
        },
        [],
        {"ttfc": 0.2},
    ),
    "ours over the convention": (
        {"gen_ai.response.time_to_first_chunk": 0.3, "otel_latency.time_to_first_chunk": 0.2},
        [],
        {"ttfc": 0.2},
    ),
    "a measure over its alias": (
        {"gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.input_tokens": 4},
        [],
        {"input_tokens": 4},
    ),
    "the next where the first is unbelievable": (
        {"gen_ai.response.time_to_first_chunk": -1.0, "gen_ai.server.time_to_first_token": 0.4},
        [],
        {"ttfc": 0.4},
    ),
    "session.id over the conversation's": (
        {"gen_ai.conversation.id": "b", "session.id": "a"},
        [],
        {"session": "a"},
    ),
}


@pytest.mark.parametrize(("attributes", "events", "expected"), TRUST.values(), ids=TRUST)
def test_trust(attributes, events, expected):
    """Where several attributes give one field, the most trusted believable one counts."""
    assert expected == meaning(attributes=attributes, events=events)[1]


def test_unstreamed_calls_have_no_first_chunk():
    """The one chunk of a call that did not stream is its end."""
    attributes = {**CHAT, "gen_ai.request.stream": False, "gen_ai.server.time_to_first_token": 1.9}
    assert meaning(kind=CLIENT, attributes=attributes)[1] == {}


def test_input_tokens_are_gross():
    """Where a tool counts without the cache, the cached tokens are added; where it does not, not."""
    usage = {"gen_ai.usage.input_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 900, "metrics.ttfb": 0.4}
    anthropic = {**CHAT, "gen_ai.provider.name": "anthropic", **usage}
    gross = {"input_tokens": 920, "cache_read_tokens": 900}
    assert meaning("llm", scope="pipecat", attributes=anthropic)[1] == {**gross, "ttfc": 0.4}
    as_sent = {"input_tokens": 20, "cache_read_tokens": 900}
    assert meaning("llm", scope="pipecat", attributes={**CHAT, **usage})[1] == {**as_sent, "ttfc": 0.4}
    assert meaning("llm", scope="app", attributes=anthropic)[1] == as_sent


def test_convert_takes_odd_measures():
    """A number that a scanner would not take as it is may be handed over under its own key."""
    measures = {}
    origin = resource({}, "app", "")
    foreign = {
        "gen_ai.usage.input_tokens": "12",
        "gen_ai.usage.output_tokens": 200_000,
        "otel_latency.time_to_first_token": 90_000.0,
        "otel_latency.budget": float("nan"),
    }
    Normaliser().convert(Normaliser().profile(origin, "x", 1, False, 0, {}), origin, foreign, measures, 0, 1)
    assert measures == {"input_tokens": 12, "output_tokens": 200_000}


def test_duration_only_where_the_span_has_none():
    """Logfire's log line carries its call's duration; any other span is as long as it is."""
    origin, normaliser = resource({}, "logfire.openai", "5.2.0"), Normaliser()
    profile = normaliser.profile(origin, "x", 1, False, 0, CHAT)
    for end_ns, expected in ((START_NS, {"duration": 0.1}), (END_NS, {})):
        measures = {}
        normaliser.convert(profile, origin, {"duration": 0.1}, measures, START_NS, end_ns)
        assert expected == measures


def test_scopes_are_matched_whole():
    """`ai` is Vercel's, `aiohttp` is not; `openlit.instrumentation.x` is OpenLIT's."""
    names = {
        scope: normalise._words(scope).dialect.name for scope in ("ai", "aiohttp", "openlit.x.y", "pipecat.turn", "")
    }
    expected = {
        "ai": "vercel",
        "aiohttp": "unknown",
        "openlit.x.y": "openlit",
        "pipecat.turn": "pipecat",
        "": "unknown",
    }
    assert expected == names


@given(
    st.sampled_from([scope for dialect in DIALECTS for scope in dialect.scopes] + ["app"]),
    st.dictionaries(
        st.sampled_from(sorted(LABELS | FOREIGN | MEASURES.keys())),
        st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=300),
        max_size=8,
    ),
)
def test_nothing_breaks_it(scope, attributes):
    """Whatever the attributes hold, there is a profile with clean short names and there are only known fields."""
    profile, measures = meaning(scope=scope, version="5", attributes=attributes)
    assert measures.keys() <= FIELDS.keys()
    for name in (profile.stage, profile.turn, *(dataclasses.astuple(profile.llm) if profile.llm else ())):
        name.encode()
        assert name.isprintable() or "\ufffd" in name or not name.isascii()


# Where a span comes from, and what is kept.


def test_resource():
    """A resource is made clean; the service is never nameless."""
    attributes = {"service.name": "bot\n1", "a\0": "b\ud800", "port": 1, "list": [1], "none": None}
    found = resource(attributes, "scope\n", "1.0")
    assert ("bot 1", "scope ", "1.0") == (found.service, found.scope_name, found.scope_version)
    assert {"service.name": "bot 1", "a\ufffd": "b\ufffd", "port": 1} == found.attributes


@pytest.mark.parametrize("name", [None, "", " ", 3])
def test_unknown_service(name):
    """Without a usable name the service is the convention's unknown one."""
    assert resource({"service.name": name}, "", "").service == "unknown_service"


def test_resource_is_bounded():
    """However many attributes a resource has, 128 are kept."""
    assert len(resource({str(n): n for n in range(1000)}, "", "").attributes) == 128


def test_equal_profiles_are_one():
    """Spans that mean the same have the same profile, though their names and labels differ."""
    normaliser, origin = Normaliser(), resource({}, "app", "")
    one = normaliser.profile(origin, "load 123", INTERNAL, False, UNSET, {})
    assert normaliser.profile(origin, "load 456", SERVER, False, OK, {"gen_ai.request.model": ""}) is one
    assert normaliser.profile(origin, "save 456", SERVER, False, OK, {}) is not one


def test_profiles_are_bounded():
    """The table of profiles is emptied before it grows past its limit."""
    normaliser, origin = Normaliser(), resource({}, "app", "")
    for number in range(normalise.MAX_PROFILES + 10):
        labels = {"otel_latency.stage": "".join(chr(ord("a") + int(digit)) for digit in str(number))}
        normaliser.profile(origin, "x", INTERNAL, False, UNSET, labels)
    assert len(normaliser._profiles) == 10
