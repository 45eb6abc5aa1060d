"""How loud PCM is, where it is silent, and into what chunks to cut it: pure functions of bytes and numbers.

PCM is little-endian, `s16` or `f32`, channels interleaved. Loudness is RMS in dBFS: 0 is a full-scale square wave, a
full-scale sine is -3, digital silence is minus infinity. Cost: about 50 ns a sample, so 1 ms for 20 ms of 48 kHz mono.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from statistics import median
from typing import Final

Pcm = bytes | bytearray | memoryview

SILENCE_DBFS: Final = -50.0
"""Below this, speech is not heard: room noise after a usual noise gate."""
WINDOW: Final = 0.01
"""Seconds over which loudness is taken; shorter than any syllable."""

_TYPES: Final = {"s16": ("h", 32768.0), "f32": ("f", 1.0)}


@dataclass(frozen=True, slots=True)
class Format:
    """What the bytes are."""

    rate: int = 16_000
    channels: int = 1
    encoding: str = "s16"

    def __post_init__(self) -> None:
        if self.encoding not in _TYPES or self.rate <= 0 or self.channels <= 0:
            raise ValueError(f"PCM format {self}: rate and channels are positive, encoding is {' or '.join(_TYPES)}")

    @property
    def frame_bytes(self) -> int:
        return self.channels * array(_TYPES[self.encoding][0]).itemsize

    def seconds(self, pcm: Pcm) -> float:
        """How long *pcm* plays."""
        return memoryview(pcm).nbytes / (self.frame_bytes * self.rate)


SPEECH: Final = Format()
"""What most speech models take and give."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the audio, in seconds from its start."""

    start: float
    end: float


def dbfs(pcm: Pcm, form: Format = SPEECH) -> float:
    """Loudness of all of *pcm*; an incomplete last sample is left out."""
    return _loudness(_samples(pcm, form), _TYPES[form.encoding][1])


def first_audible(
    pcm: Pcm,
    form: Format = SPEECH,
    *,
    floor: float = SILENCE_DBFS,
) -> float | None:
    """Seconds from the start of *pcm* to its first window louder than *floor*; None when it is silent."""
    return next((start for start, loudness in _windows(pcm, form) if loudness > floor), None)


def voiced(
    pcm: Pcm,
    form: Format = SPEECH,
    *,
    floor: float = SILENCE_DBFS,
    min_silence: float = 0.3,
) -> list[Segment]:
    """The parts worth transcribing: what is left when silences of at least *min_silence* seconds are skipped."""
    found: list[Segment] = []
    total = form.seconds(pcm)
    for start, loudness in _windows(pcm, form):
        if loudness <= floor:
            continue
        end = min(start + WINDOW, total)
        if found and start - found[-1].end < min_silence:
            found[-1] = Segment(found[-1].start, end)
        else:
            found.append(Segment(start, end))
    return found


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How to cut audio: `count` chunks of `seconds` (the last may be shorter), `parallel` of them at a time."""

    seconds: float
    count: int
    parallel: int


def plan_chunks(
    duration: float,
    *,
    free_memory: int,
    cores: int,
    has_gpu: bool = False,
    measured: Sequence[tuple[float, float]] = (),
    target: float = 5.0,
    memory_per_second: int = 4_000_000,
    shortest: float = 5.0,
    longest: float = 60.0,
) -> ChunkPlan:
    """Cut *duration* seconds of audio so that a chunk takes about *target* seconds to process.

    *measured* are (seconds of audio, seconds it took) so far; before the first, a GPU is taken to run at a tenth of
    real time and a core at half. A GPU takes one chunk at a time, cores one each. All chunks in work together use at
    most half of *free_memory* bytes, at *memory_per_second* bytes for a second of audio.
    """
    if duration <= 0:
        return ChunkPlan(0.0, 0, 0)
    ratios = [ratio for audio, took in measured if audio > 0 and (ratio := took / audio) > 0]
    ratio = median(ratios) if ratios else (0.1 if has_gpu else 0.5)
    wanted = min(max(target / ratio, shortest), longest)
    affordable = max(free_memory, 0) / 2 / memory_per_second
    parallel = 1 if has_gpu else max(min(cores, int(affordable // shortest), math.ceil(duration / shortest)), 1)
    # Too little memory for even the shortest chunk: one at a time, and as short as sense allows.
    size = max(min(wanted, affordable / parallel, duration), min(shortest, duration))
    count = math.ceil(duration / size - 1e-9)
    return ChunkPlan(duration / count, count, min(parallel, count))


def _windows(pcm: Pcm, form: Format) -> Iterator[tuple[float, float]]:
    """(start in seconds, loudness) of one window after the other."""
    samples = _samples(pcm, form)
    frames = max(round(WINDOW * form.rate), 1)
    size = frames * form.channels
    for start in range(0, len(samples), size):
        yield start / form.channels / form.rate, _loudness(samples[start : start + size], _TYPES[form.encoding][1])


def _loudness(samples: Sequence[float], full_scale: float) -> float:
    if not samples:
        return -math.inf
    power = sum(map(mul, samples, samples)) / len(samples)
    return 10 * math.log10(power / full_scale**2) if power > 0 else -math.inf


def _samples(pcm: Pcm, form: Format) -> Sequence[float]:
    samples: array[int] | array[float] = array(_TYPES[form.encoding][0])
    whole = memoryview(pcm).cast("B")
    samples.frombytes(whole[: len(whole) - len(whole) % samples.itemsize])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples
