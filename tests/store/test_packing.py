from types import MappingProxyType

import pytest
from store.past import NOW, turn

from otel_latency.aggregate.turn import Sentence, Stage, Turn
from otel_latency.aggregate.turn_view import turn_json
from otel_latency.records import LLMProfile
from otel_latency.store.packing import Known, pack, unpack

START = 1_700_000_000_123_456_789
FULL = Turn(
    trace_id=b"t" * 16,
    span_id=b"s" * 8,
    service="bot",
    turn="answer",
    status="error",
    start_ns=START,
    end_ns=START + 3_000_000_001,
    origin_ns=START - 250_000_000,
    milestones={"first_token": 1.100151467, "first_audio": 0.1 + 0.2},
    moments=(("first_token", START + 850_151_467),),
    stages=(
        Stage(
            b"1" * 8,
            "llm",
            "model-host",
            START - 5,
            START + 10**10,
            "timeout",
            (("first_token", START + 7),),
            ((b"2" * 8, "first_sentence"),),
            -1,
            123_456_789,
            LLMProfile("openai", "gpt-4o", "draft", "chat", "timeout", "server"),
            START - 99,
            {"input_tokens": 512, "tpot": 0.0123, "cost_usd": 1e-5, "end_reason": "length"},
        ),
        Stage(b"2" * 8, "tool", "bot", START + 1, START + 2, parent=0, busy_ns=1),
    ),
    sentences=(Sentence(0, 0.5, 0.6, None, 0.9), Sentence(1)),
    session="s1",
    request_id="r1",
    interruption="barge_in",
    fallback="small-model",
    marks=frozenset({"late", "skewed"}),
    corrections={"model-host": -1_000_000},
    revision=3,
)


def known(one):
    return Known(one.trace_id, one.span_id, one.service, one.turn, one.status, one.session, one.request_id)


def test_every_field_comes_back():
    """A turn none of whose fields is as it would be anyway is the same afterwards, to the nanosecond."""
    defaults = Turn._field_defaults | Stage._field_defaults
    values = FULL._asdict() | FULL.stages[0]._asdict()
    assert set() == {name for name, value in defaults.items() if values[name] == value} - {"parent"}
    assert FULL == unpack(pack(FULL), known(FULL))


def test_the_same_is_shown():
    """Its document is that of the turn before; defaults come back as they were."""
    one = turn(session="s", request_id="r")
    again = unpack(pack(one), known(one))
    assert (one, turn_json(one)) == (again, turn_json(again))


def test_what_was_parsed_is_left_out():
    """The texts of links and events, which waits and milestones tell of, are not kept a second time."""
    measures = MappingProxyType({"after": "[]", "moments": "{}", "tpot": 0.5})
    one = FULL._replace(stages=(FULL.stages[1]._replace(measures=measures),))
    (stage,) = unpack(pack(one), known(one)).stages
    assert {"tpot": 0.5} == stage.measures


def test_size():
    """A turn of a call and its speech takes little room."""
    assert len(pack(turn(session="s"))) < 150


GOLDEN = bytes.fromhex(
    "9b7b5e7cfa9c7fb6ad6745cf6dba10c778e9a3a46f43138af18e937ead4636f0b4fd656310309988ea0ca3351eda9380261a"
    "4201283c56e5e6a7a4e6e86600e3edf779060606a610ee27acb01c81aa9f67e2a4231c465080e6a3ff60bd3e1bc43e4c8326"
    "5568f25c0a8cb6b412701a85990acd0e17e6b6a0a5110668b2e834d8c7fb56a3179198ec9efcd8daf138e3e32a6044c543d2"
    "eab29cd4bcf4928cb9081781a37c01232338f01840817768d25486d3f60f18c0e0b4fd6370a0181f386dffe60c089c9dca78"
    "000856242516a5a702d3f5eae2dcc49c1c5d70804c5a022a199615830b8d46a440baf4ffc3de03cc00"
)


def test_what_was_written_before_is_read():
    """These bytes lie in files: a layout that no longer reads them needs another way to tell them apart."""
    assert FULL == unpack(GOLDEN, known(FULL))


OTHER = {
    "nothing": b"",
    "other bytes": b"\x00" * 100,
    "cut short": pack(FULL)[:-20],
    "turned over": bytes(255 - byte for byte in pack(FULL)),
}


@pytest.mark.parametrize("data", OTHER.values(), ids=OTHER)
def test_other_bytes(data):
    """What is no turn is refused."""
    with pytest.raises(ValueError):
        unpack(data, known(FULL))


def test_times_before_1970():
    """Clocks that were never set are no trouble."""
    one = turn(end=5.0)
    assert one == unpack(pack(one), known(one))
    assert NOW > one.end_ns / 1e9
