"""Times the spoken reply of a turn: sentence by sentence, to the first audio and to the first that can be heard.

    with Reply(turn) as reply:
        for text in sentences:
            sentence = reply.sentence()              # it has arrived
            sentence.tts_started()
            for pcm in synthesize(text):
                sentence.audio_ready()               # the first time counts
                reply.audio(pcm)                     # as it is handed to playback
            sentence.played()
        ...
        reply.interrupted(user_spoke_at=...)         # barge-in: an outcome, not a latency

Times count from the start of the turn: give it `started_at`, the end of the user's speech, where that is known. Audio
is heard when its turn comes: what is handed over faster than it plays waits for what was handed over before. So
leading silence delays the first audible moment, and a piece that comes after the one before has been played is an
underrun. `at` is a moment of the monotonic clock in nanoseconds; without it, now.

The first audible moment costs a look at the samples until it is found; then `audio` takes about 1 us.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final, Protocol, Self

from otel_latency import semconv
from otel_latency.instrument.audio import SILENCE_DBFS, SPEECH, Format, Pcm, first_audible
from otel_latency.instrument.guard import guard

MAX_SENTENCES: Final = 100
"""Sentences with an event of their own; a span carries 128 events. Of a longer reply the rest is counted."""
JITTER: Final = 0.001
"""Seconds that audio may come late without a gap that anyone hears."""

_NS: Final = 1_000_000_000


class Turn(Protocol):
    """What a reply reports to: a turn or a stage."""

    @property
    def start_monotonic_ns(self) -> int:
        """When the user stopped speaking, or the work began."""

    def milestone(self, name: str, *, at: int | None = None) -> object:
        """Something was reached."""

    def event(self, name: str, *, at: int | None = None, **attributes: Any) -> object:
        """Something happened."""

    def set(self, **attributes: Any) -> object:
        """Put attributes on the span."""

    def interrupt(self, reason: str = "") -> object:
        """The user cut it short."""


class Sentence:
    """The way of one sentence from the model to the ear. Of each moment the first time counts."""

    __slots__ = ("_clock", "_moments", "_reached", "index")

    def __init__(self, index: int, clock: Callable[[], int], reached: Callable[[str, int], None], arrived: int) -> None:
        self.index = index
        self._clock = clock
        self._reached = reached
        self._moments = {"arrived": arrived}

    def tts_started(self, *, at: int | None = None) -> None:
        """Speech synthesis has been asked for it."""
        self._reach("tts_started", at)

    def audio_ready(self, *, at: int | None = None) -> None:
        """Its first audio has come."""
        self._reach("audio_ready", at)

    def played(self, *, at: int | None = None) -> None:
        """The user has heard it to its end."""
        self._reach("played", at)

    def moments(self) -> dict[str, int]:
        """Name -> nanoseconds of the monotonic clock, for what has been reached."""
        return dict(self._moments)

    def _reach(self, name: str, at: int | None) -> None:
        if name not in self._moments:
            self._moments[name] = moment = self._clock() if at is None else at
            self._reached(name, moment)


class Reply:
    """All that is spoken in a turn. `finish`, or the end of the `with` block, writes what is only known then."""

    def __init__(
        self,
        turn: Turn,
        *,
        audio: Format = SPEECH,
        floor: float = SILENCE_DBFS,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._turn = turn
        self._format = audio
        self._floor = floor
        self._clock = clock
        self._sentences: list[Sentence] = []
        self._playback = _Playback()
        self._is_audible = False
        self._is_finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.finish()

    def sentence(self, *, at: int | None = None) -> Sentence:
        """The next sentence has arrived from the model."""
        arrived = self._clock() if at is None else at
        sentence = Sentence(len(self._sentences), self._clock, self._reached, arrived)
        self._sentences.append(sentence)
        self._turn.milestone("first_sentence", at=arrived)
        return sentence

    def audio(self, pcm: Pcm, *, at: int | None = None) -> None:
        """*pcm* is handed to playback."""
        now = self._clock() if at is None else at
        try:
            starts = self._playback.add(now, self._format.seconds(pcm))
            self._turn.milestone("first_audio", at=now)
            if not self._is_audible:
                self._look_for_sound(pcm, starts)
        except Exception as fault:
            guard.caught("audio", fault)

    def interrupted(self, *, user_spoke_at: int | None = None, stopped_at: int | None = None) -> None:
        """The user has cut in; playback stops at *stopped_at*, and what is left of it is not heard."""
        stopped = self._clock() if stopped_at is None else stopped_at
        self._playback.stop(stopped)
        onset = stopped if user_spoke_at is None else user_spoke_at
        self._turn.set(**{semconv.BARGE_IN_STOP: max(stopped - onset, 0) / _NS})
        self._turn.interrupt("barge_in")

    def finish(self) -> None:
        """Write the sentences and totals; once."""
        if self._is_finished:
            return
        self._is_finished = True
        for sentence in self._sentences[:MAX_SENTENCES]:
            self._write(sentence)
        self._turn.set(**self._totals())

    def _reached(self, name: str, moment: int) -> None:
        if name == "tts_started":
            self._turn.milestone("tts_start", at=moment)
        elif name == "audio_ready":
            self._turn.milestone("first_audio", at=moment)

    def _look_for_sound(self, pcm: Pcm, starts: int) -> None:
        offset = first_audible(pcm, self._format, floor=self._floor)
        if offset is not None:
            self._is_audible = True
            self._turn.milestone("first_audible", at=starts + round(offset * _NS))

    def _write(self, sentence: Sentence) -> None:
        moments = sentence.moments()
        start = self._turn.start_monotonic_ns
        since = {f"{semconv.SENTENCE}.{name}": (moment - start) / _NS for name, moment in moments.items()}
        self._turn.event("sentence", at=moments["arrived"], **{f"{semconv.SENTENCE}.index": sentence.index, **since})

    def _totals(self) -> dict[str, float]:
        played = self._playback
        return {
            semconv.SENTENCES: len(self._sentences),
            semconv.SYNTHESIS_SECONDS: sum(map(_synthesis, self._sentences)),
            semconv.AUDIO_SECONDS: played.seconds,
            semconv.UNDERRUNS: played.underruns,
            semconv.UNDERRUN_SECONDS: played.underrun_seconds,
        }


class _Playback:
    """When audio that is handed over gets its turn."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.underruns = 0
        self.underrun_seconds = 0.0
        self._end: int | None = None
        """When all that was handed over will have been played."""

    def add(self, now: int, seconds: float) -> int:
        """Take *seconds* of audio; return when they start to play."""
        late = 0.0 if self._end is None else (now - self._end) / _NS
        if late > JITTER:
            self.underruns += 1
            self.underrun_seconds += late
        starts = now if self._end is None else max(now, self._end)
        self._end = starts + round(seconds * _NS)
        self.seconds += seconds
        return starts

    def stop(self, now: int) -> None:
        """Forget what has not been played by *now*."""
        if self._end is not None and self._end > now:
            self.seconds = max(self.seconds - (self._end - now) / _NS, 0.0)
            self._end = now


def _synthesis(sentence: Sentence) -> float:
    """Seconds from the request for synthesis to its first audio."""
    moments = sentence.moments()
    if "tts_started" not in moments or "audio_ready" not in moments:
        return 0.0
    return max(moments["audio_ready"] - moments["tts_started"], 0) / _NS
