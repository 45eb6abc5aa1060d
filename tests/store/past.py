"""Made-up pasts: spans, minutes, and work done step by step."""

from otel_latency.records import LLMProfile, Profile
from otel_latency.sketch import Sketch
from otel_latency.store import operations, windows
from otel_latency.store.windows import Minute, SeriesIds

NOW = 1_700_000_100.0  # a whole quarter of an hour
NAME = "otel_latency_stage_duration_seconds"
LLM = (("service", "bot"), ("stage", "llm"))
TTS = (("service", "bot"), ("stage", "tts"))

CALL = Profile("bot", stage="llm", llm=LLMProfile("openai", "gpt-4o", "draft", "chat"))
FAILED = Profile("bot", stage="llm", status="error", llm=LLMProfile("groq", "llama", "draft", "chat", "timeout"))
TURN = Profile("bot", turn="answer")
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


def fill(connection, rows):
    """Operations that ended a second apart, numbered from the latest on."""
    with connection:
        connection.execute("BEGIN")
        operations.insert(connection, [span(end=NOW - number, number=number) for number in range(rows)], NOW)


def finish(steps):
    """Do all steps; how many there were."""
    return sum(1 for _ in steps)


def count(connection, table):
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
