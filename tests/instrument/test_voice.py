"""A spoken reply told by hand: what is heard when, sentence by sentence."""

from __future__ import annotations

import struct

import pytest
from instrument.recording import Recording, memory_provider

from otel_latency import semconv
from otel_latency.instrument.audio import Format
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.turn import turn
from otel_latency.instrument.voice import MAX_SENTENCES, Reply

MS = 1_000_000
AUDIO = Format(rate=1000)


def loud(milliseconds):
    return struct.pack("<h", 16_000) * milliseconds


def silent(milliseconds):
    return bytes(2 * milliseconds)


class Turn(Recording):
    """Begun at 0; keeps events and interruptions too."""

    def __init__(self):
        super().__init__()
        self.start_monotonic_ns = 0
        self.events = []
        self.reason = None

    def event(self, name, *, at=None, **attributes):
        self.events.append((name, at, attributes))

    def interrupt(self, reason=""):
        self.reason = reason


@pytest.fixture
def spoken():
    return Turn()


@pytest.fixture
def reply(spoken):
    return Reply(spoken, audio=AUDIO)


def test_milestones(spoken, reply):
    """A turn's milestones are those of the first sentence and the first piece of audio."""
    for index in range(2):
        sentence = reply.sentence(at=index * 100 * MS)
        sentence.tts_started(at=(index * 100 + 10) * MS)
        sentence.audio_ready(at=(index * 100 + 60) * MS)
        reply.audio(loud(50), at=(index * 100 + 61) * MS)
    expected = {"first_sentence": 0, "tts_start": 10 * MS, "first_audio": 60 * MS, "first_audible": 61 * MS}
    assert expected == spoken.milestones


def test_sentences(spoken, reply):
    """Each sentence has an event with its four moments, in seconds from the end of the user's speech."""
    sentence = reply.sentence(at=100 * MS)
    sentence.tts_started(at=110 * MS)
    sentence.audio_ready(at=200 * MS)
    sentence.played(at=900 * MS)
    sentence.played(at=950 * MS)
    reply.sentence(at=300 * MS)
    reply.finish()
    reply.finish()
    moments = {"index": 0, "arrived": 0.1, "tts_started": 0.11, "audio_ready": 0.2, "played": 0.9}
    assert [
        ("sentence", 100 * MS, {f"otel_latency.sentence.{name}": value for name, value in moments.items()}),
        ("sentence", 300 * MS, {"otel_latency.sentence.index": 1, "otel_latency.sentence.arrived": 0.3}),
    ] == spoken.events


def test_leading_silence(spoken, reply):
    """Silence that is handed over first is played first, however fast the rest follows."""
    reply.audio(silent(200), at=0)
    reply.audio(silent(100), at=1 * MS)
    reply.audio(silent(30) + loud(50), at=2 * MS)
    assert (0, 330 * MS) == (spoken.milestones["first_audio"], spoken.milestones["first_audible"])


def test_late_sound(spoken, reply):
    """A piece that comes late is heard when it comes."""
    reply.audio(silent(50), at=0)
    reply.audio(loud(50), at=80 * MS)
    assert 80 * MS == spoken.milestones["first_audible"]


def test_never_audible(spoken, reply):
    """Silence alone is never heard."""
    reply.audio(silent(500), at=0)
    assert {"first_audio": 0} == spoken.milestones


def test_totals(spoken, reply):
    """Underruns are gaps after audio that was played to its end; synthesis is summed over sentences."""
    for at in (0, 10, 130):
        reply.audio(loud(50), at=at * MS)
    for start in (0, 100):
        sentence = reply.sentence(at=start * MS)
        sentence.tts_started(at=start * MS)
        sentence.audio_ready(at=(start + 40) * MS)
    reply.finish()
    expected = {
        semconv.SENTENCES: 2,
        semconv.SYNTHESIS_SECONDS: 0.08,
        semconv.AUDIO_SECONDS: 0.15,
        semconv.UNDERRUNS: 1,
        semconv.UNDERRUN_SECONDS: 0.03,
    }
    assert expected == pytest.approx(spoken.attributes)


def test_barge_in(spoken, reply):
    """The user's voice ends the reply: an interruption, with the time until silence; the rest was not played."""
    reply.audio(loud(1000), at=0)
    reply.interrupted(user_spoke_at=300 * MS, stopped_at=450 * MS)
    reply.finish()
    assert ("barge_in", 0.15, 0.45) == (
        spoken.reason,
        spoken.attributes[semconv.BARGE_IN_STOP],
        pytest.approx(spoken.attributes[semconv.AUDIO_SECONDS]),
    )


def test_many_sentences(spoken, reply):
    """A long reply has no more events than a span can carry."""
    for index in range(MAX_SENTENCES + 5):
        reply.sentence(at=index)
    reply.finish()
    assert (MAX_SENTENCES, MAX_SENTENCES + 5) == (len(spoken.events), spoken.attributes[semconv.SENTENCES])


def test_no_pcm(spoken, reply):
    """What is no audio is not looked at, and does no harm."""
    reply.audio("text", at=0)
    assert {} == spoken.milestones


def test_turn():
    """On a real turn all of it stands on the turn's span."""
    provider, exporter = memory_provider()
    before, runtime.tracer = runtime.tracer, provider.get_tracer("test")
    try:
        with turn("answer") as spoken, Reply(spoken, audio=AUDIO) as reply:
            sentence = reply.sentence()
            sentence.tts_started()
            sentence.audio_ready()
            reply.audio(loud(50))
            sentence.played()
            reply.interrupted()
    finally:
        runtime.tracer = before
    [span] = exporter.get_finished_spans()
    names = [event.name for event in span.events]
    assert {"first_sentence", "tts_start", "first_audio", "first_audible", "interrupted", "sentence"} == set(names)
    assert ("interrupted", 1) == (span.attributes[semconv.STATUS], span.attributes[semconv.SENTENCES])
