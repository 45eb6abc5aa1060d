"""Loudness, silence and chunk sizes, on PCM made by hand."""

from __future__ import annotations

import math
import struct
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.instrument.audio import SPEECH, ChunkPlan, Format, Segment, dbfs, first_audible, plan_chunks, voiced

F32 = Format(encoding="f32")


def tone(seconds, amplitude=0.5, form=SPEECH):
    """A 400 Hz sine."""
    count = round(seconds * form.rate)
    values = [amplitude * math.sin(2 * math.pi * 400 * n / form.rate) for n in range(count)]
    values = [value for value in values for _ in range(form.channels)]
    if form.encoding == "f32":
        return struct.pack(f"<{len(values)}f", *values)
    return struct.pack(f"<{len(values)}h", *(round(value * 32767) for value in values))


def silence(seconds, form=SPEECH):
    return bytes(round(seconds * form.rate) * form.frame_bytes)


@pytest.mark.parametrize("form", [Format(), F32, Format(rate=48_000, channels=2)])
def test_loudness_of_sine(form):
    """A sine is 3 dB below its peak."""
    assert 20 * math.log10(0.5) - 3.01 == pytest.approx(dbfs(tone(0.1, form=form), form), abs=0.02)


def test_loudness_of_nothing():
    """Silence, and no audio at all, have no loudness."""
    assert (-math.inf, -math.inf) == (dbfs(silence(0.1)), dbfs(b""))


def test_odd_bytes():
    """A sample that is not complete yet is left out."""
    assert dbfs(tone(0.1)) == dbfs(tone(0.1) + b"\x7f")


def test_byte_order(monkeypatch):
    """Samples are little-endian on any machine."""
    monkeypatch.setattr(sys, "byteorder", "big")
    swapped = array("h", tone(0.05))
    swapped.byteswap()
    assert dbfs(swapped.tobytes()) == pytest.approx(-9.03, abs=0.05)


@pytest.mark.parametrize("form", [Format(), F32, Format(rate=8_000, channels=2)])
def test_first_audible(form):
    """The first audible moment lies behind leading silence."""
    assert 0.05 == pytest.approx(first_audible(silence(0.05, form) + tone(0.05, form=form), form))


def test_inaudible():
    """Noise under the floor is not heard."""
    assert first_audible(tone(0.1, amplitude=0.001)) is None


def test_floor():
    """The floor is the caller's to choose."""
    assert 0.0 == first_audible(tone(0.1, amplitude=0.001), floor=-70)


def test_voiced():
    """Long silences are skipped, short pauses kept."""
    pcm = silence(0.5) + tone(0.2) + silence(0.1) + tone(0.2) + silence(0.5) + tone(0.1)
    assert [Segment(0.5, 1.0), Segment(1.5, 1.6)] == [
        Segment(round(each.start, 2), round(each.end, 2)) for each in voiced(pcm)
    ]


def test_nothing_voiced():
    """Silence has nothing worth transcribing."""
    assert [] == voiced(silence(2))


def test_bad_format():
    """A format that cannot be is refused by what it should be."""
    with pytest.raises(ValueError, match="encoding is s16 or f32"):
        Format(encoding="mp3")


GIB = 2**30
PLANS = {
    "cores share": ({"free_memory": 8 * GIB, "cores": 4}, ChunkPlan(10.0, 12, 4)),
    "a GPU takes one at a time": ({"free_memory": 8 * GIB, "cores": 4, "has_gpu": True}, ChunkPlan(40.0, 3, 1)),
    "slow so far: shorter": ({"free_memory": 8 * GIB, "cores": 4, "measured": [(10, 10)]}, ChunkPlan(5.0, 24, 4)),
    "quick so far: longer": ({"free_memory": 8 * GIB, "cores": 4, "measured": [(10, 1)]}, ChunkPlan(40.0, 3, 3)),
    "little memory: fewer": ({"free_memory": 80_000_000, "cores": 4}, ChunkPlan(5.0, 24, 2)),
    "no memory: short, one at a time": ({"free_memory": 0, "cores": 4}, ChunkPlan(5.0, 24, 1)),
}


@pytest.mark.parametrize(("means", "expected"), PLANS.values(), ids=PLANS)
def test_plan(means, expected):
    """Two minutes are cut to suit the means and the times measured so far."""
    assert expected == plan_chunks(120, **means)


def test_no_plan():
    """No audio needs no chunk."""
    assert ChunkPlan(0.0, 0, 0) == plan_chunks(0, free_memory=GIB, cores=2)


@given(
    st.floats(0.01, 10_000),
    st.integers(0, 64 * GIB),
    st.integers(1, 64),
    st.booleans(),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1000)), max_size=3),
)
def test_plan_covers(duration, free_memory, cores, has_gpu, measured):
    """Chunks cover the audio, are never over a minute, and no more run at a time than there are."""
    plan = plan_chunks(duration, free_memory=free_memory, cores=cores, has_gpu=has_gpu, measured=measured)
    assert plan.seconds * plan.count == pytest.approx(duration)
    assert plan.seconds <= 60
    assert 1 <= plan.parallel <= min(plan.count, cores)
