"""Made-up pasts: spans, minutes, and work done step by step."""

from otel_latency.aggregate.stages import build
from otel_latency.records import LLMProfile, Profile
from otel_latency.sketch import Sketch
from otel_latency.store import operations, turns, windows
from otel_latency.store.names import Names
from otel_latency.store.windows import Minute, SeriesIds

NOW = 1_700_000_100.0  # a whole quarter of an hour
NAME = "otel_latency_stage_duration_seconds"
LLM = (("service", "bot"), ("stage", "llm"))
TTS = (("service", "bot"), ("stage", "tts"))

CALL = Profile("bot", stage="llm", llm=LLMProfile("openai", "gpt-4o", "draft", "chat"))
FAILED = Profile("bot", stage="llm", status="error", llm=LLMProfile("groq", "llama", "draft", "chat", "timeout"))
TURN = Profile("bot", turn="answer")
SPEECH = Profile("bot", stage="tts")
NOTHING = Profile("bot")


def span(profile=CALL, end=NOW, seconds=1.0, number=1, **measures):
    """A finished span as ingest hands it over; *number* is in its ids."""
    ends = round(end * 1e9)
    ids = number.to_bytes(16, "big"), number.to_bytes(8, "big")
    return profile, *ids, b"", ends - round(seconds * 1e9), ends, measures or None


def minute(slot, values, labels=LLM, name=NAME):
    return Minute(name, labels, slot, Sketch(values))


def write(connection, minutes, run=1):
    windows.insert(connection, SeriesIds(), run, minutes)


def write_spans(connection, spans, now=NOW):
    operations.insert(connection, Names(), spans, now)


def fill(connection, rows):
    """Operations that ended a second apart, numbered from the latest on."""
    with connection:
        connection.execute("BEGIN")
        write_spans(connection, [span(end=NOW - number, number=number) for number in range(rows)])


def turn(end=NOW, seconds=3.0, number=1, changes=None, **measures):
    """A finished turn of a call and its speech as the assembler hands it over; *number* is in its ids."""
    trace, root, call, speech = number.to_bytes(16, "big"), *((4 * number + n).to_bytes(8, "big") for n in range(3))
    ends = round(end * 1e9)
    start = ends - round(seconds * 1e9)
    rows = [
        (CALL, trace, call, root, start + 10**8, start + 10**9, {"ttft": 0.25, "input_tokens": 512, "tpot": 0.1}),
        (SPEECH, trace, speech, root, start + 6 * 10**8, ends, {"ttfa": 0.1}),
        (TURN, trace, root, b"", start, ends, measures or None),
    ]
    return build(rows[-1], rows)._replace(**(changes or {}))


def write_turns(connection, *finished, now=NOW):
    turns.insert(connection, Names(), finished, now)


def finish(steps):
    """Do all steps; how many there were."""
    return sum(1 for _ in steps)


def count(connection, table):
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
