"""A turn as bytes: what a table keeps in columns is left out, times count from the turn's start.

MessagePack, deflated with a dictionary of the words that turns are made of. The layout is our own and not that of
`Turn`, whose fields may be put in another order; new fields go to the end of a list, for what was written before is
read with what they had then: nothing.

Cost: 30 us to pack a voice turn of five stages, 12 us to unpack it; about 300 bytes.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

import msgspec

from otel_latency.aggregate.turn import NO_CORRECTIONS, NOTHING, Sentence, Stage, Turn
from otel_latency.records import LLMProfile

MAX_BYTES: Final = 4 << 20
"""What is longer unpacked was not packed by us."""

_WORDS: Final = (
    b"skewedtruncatedno_rootlate\xa7timeout\xa9cancelled\xabinterrupted\xa5error"
    b"\xaaembeddings\xb0generate_content\xb0text_completion\xa9responses"
    b"\xa6client\xa6server\xa9anthropic\xa4groq\xaamistral_ai\xaagcp.gemini\xafazure.ai.openai\xa6ollama"
    b"\xa6openai\xabgpt-4o-mini\xa6gpt-4o\xa0\xa4chat\xa0\xa6client\xc0\x86"
    b"\xaasession_id\xa3e2e\xb2cache_write_tokens\xb1cache_read_tokens\xb0reasoning_tokens"
    b"\xb3audio_output_tokens\xb2audio_input_tokens\xa7retries\xa8duration\xa8cost_usd\xcb?"
    b"\xacinput_tokens\xcd\x02\xadoutput_tokens\xa4tpot\xcb?\xa4ttfc\xcb?\xa4ttft\xcb?\xa4ttfs\xcb?\xa4ttfa\xcb?"
    b"\xabdiarisation\xaaguardrails\xa9embedding\xa9transport\xaeturn_detection\xa3vad\xa4tool\xa6rerank\xa8retrieve"
    b"\xa3llm\xa0\xce\xa9retrieval\xa0\xce\xa3stt\xa0\xce\xabendpointing\xa0\xce\xa3tts\xa0\xce"
    b"\x92\xb2first_answer_token\xce\x92\xadfirst_audible\xce\x92\xa9tts_start\xce"
    b"\x92\xabfirst_chunk\xce\x92\xabfirst_token\xce\x92\xaefirst_sentence\xce\x92\xabfirst_audio\xce"
    b"\xa2ok\x90\x90\xff\x00\xc0\xc0\x80\xc3\x90\xa0\xa0\x90\x80\x00\xa2ok\x90\x90\xff\x00\xc0\xc0\x80\x9d\xc4\x08"
)
"""What is likely stands last, since it is the nearest."""
_WINDOW: Final = 12
_TABLE: Final = 4
"""Small ones, that hold the dictionary and a turn: those that zlib takes otherwise cost ten times as long to set up."""
_PARSED: Final = ("after", "moments")
"""Of a stage's measures: what its `waits` and `milestones` tell."""

_Moments = tuple[tuple[str, int], ...]


class Known(NamedTuple):
    """What is told of a turn in columns of its own."""

    trace_id: bytes
    span_id: bytes
    service: str
    turn: str
    status: str
    session: str
    request_id: str


class _Stage(NamedTuple):
    """Times count from the turn's start, milestones from the stage's. A service that is the turn's is left empty."""

    span_id: bytes
    stage: str
    service: str
    start_ns: int
    length_ns: int
    status: str
    milestones: _Moments
    waits: tuple[tuple[bytes, str], ...]
    parent: int
    inner_ns: int
    llm: tuple[str, str, str, str, str, str] | None
    speech_end_ns: int | None
    measures: dict[str, int | float | str]


class _Turn(NamedTuple):
    """Times count from the turn's start. `is_request`: its trace id is its request id as well, as by default."""

    start_ns: int
    length_ns: int
    origin_ns: int
    milestones: dict[str, int | float]
    moments: _Moments
    stages: tuple[_Stage, ...]
    is_request: bool = False
    sentences: tuple[tuple[int, float | None, float | None, float | None, float | None], ...] = ()
    interruption: str = ""
    fallback: str = ""
    marks: tuple[str, ...] = ()
    corrections: dict[str, int] = {}  # noqa: RUF012 - nobody changes it
    revision: int = 0


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Turn)


def pack(turn: Turn) -> bytes:
    """All of *turn* but its ids, service, name, status and session."""
    at = turn.start_ns
    packed = _Turn(
        at,
        turn.end_ns - at,
        turn.origin_ns - at,
        {name: _exact(seconds) for name, seconds in turn.milestones.items()},
        tuple((name, time_ns - at) for name, time_ns in turn.moments),
        tuple(_pack_stage(stage, turn) for stage in turn.stages),
        turn.request_id == turn.trace_id.hex(),
        turn.sentences,
        turn.interruption,
        turn.fallback,
        tuple(sorted(turn.marks)),
        dict(turn.corrections),
        turn.revision,
    )
    deflate = zlib.compressobj(6, zlib.DEFLATED, -_WINDOW, _TABLE, zlib.Z_DEFAULT_STRATEGY, _WORDS)
    return deflate.compress(_ENCODER.encode(packed)) + deflate.flush()


def unpack(data: bytes, known: Known) -> Turn:
    """The turn that was packed, with what is *known* of it beside. Raises ValueError for other bytes."""
    try:
        packed = _DECODER.decode(zlib.decompressobj(-_WINDOW, zdict=_WORDS).decompress(data, MAX_BYTES))
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"these bytes are no turn ({error})") from error
    at = packed.start_ns
    if packed.is_request:
        known = known._replace(request_id=known.trace_id.hex())
    return Turn(
        **known._asdict(),
        start_ns=at,
        end_ns=at + packed.length_ns,
        origin_ns=at + packed.origin_ns,
        milestones={name: time / 1e9 if isinstance(time, int) else time for name, time in packed.milestones.items()},
        moments=tuple((name, at + time_ns) for name, time_ns in packed.moments),
        stages=tuple(_unpack_stage(stage, at, known.service) for stage in packed.stages),
        sentences=tuple(Sentence(*sentence) for sentence in packed.sentences),
        interruption=packed.interruption,
        fallback=packed.fallback,
        marks=frozenset(packed.marks),
        corrections=packed.corrections or NO_CORRECTIONS,
        revision=packed.revision,
    )


def _pack_stage(stage: Stage, turn: Turn) -> _Stage:
    start_ns, length_ns, llm = stage.start_ns, stage.end_ns - stage.start_ns, stage.llm
    return _Stage(
        stage.span_id,
        stage.stage,
        "" if stage.service == turn.service else stage.service,
        start_ns - turn.start_ns,
        length_ns,
        stage.status,
        tuple((name, time_ns - start_ns) for name, time_ns in stage.milestones),
        stage.waits,
        stage.parent,
        length_ns - stage.busy_ns,
        (llm.provider, llm.model, llm.task, llm.operation, llm.error_type, llm.origin) if llm else None,
        stage.speech_end_ns - turn.start_ns if stage.speech_end_ns else None,
        {name: value for name, value in dict(stage.measures).items() if name not in _PARSED},
    )


def _unpack_stage(stage: _Stage, at: int, service: str) -> Stage:
    start_ns = at + stage.start_ns
    return Stage(
        stage.span_id,
        stage.stage,
        stage.service or service,
        start_ns,
        start_ns + stage.length_ns,
        stage.status,
        tuple((name, start_ns + time_ns) for name, time_ns in stage.milestones),
        stage.waits,
        stage.parent,
        stage.length_ns - stage.inner_ns,
        LLMProfile(*stage.llm) if stage.llm else None,
        at + stage.speech_end_ns if stage.speech_end_ns is not None else 0,
        stage.measures or NOTHING,
    )


def _exact(seconds: float) -> int | float:
    """Whole nanoseconds, which take less room, where they stand for the same number."""
    whole = round(seconds * 1e9)
    return whole if whole / 1e9 == seconds else seconds
