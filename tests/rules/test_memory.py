import logging
import math
from dataclasses import replace

import pytest

from otel_latency.rules.memory import Memory, RuleMemory
from otel_latency.rules.state import AlertState, State

LABELS = (("alertname", "Slow"), ("stage", "llm"))
FIRING = AlertState(LABELS, (("summary", "é"),), 1.5, 1001, State.FIRING, 1251, None, 1501, 1251)


def rule(*alerts):
    return RuleMemory("latency.yaml", "latency", "Slow", (("severity", "page"),), alerts)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alerts.json"


@pytest.mark.parametrize("value", [1.5, 0.1 + 0.2, math.inf, -math.inf])
def test_round_trip(path, value):
    """What was saved is what is loaded, to the millisecond and to the last bit."""
    expected = [rule(replace(FIRING, value=value))]
    assert Memory(path).save(expected)
    assert expected == Memory(path).load()


def test_nan(path):
    """Not a number is a value as well."""
    Memory(path).save([rule(replace(FIRING, value=math.nan))])
    [loaded] = Memory(path).load()
    assert math.isnan(loaded.alerts[0].value)


def test_private(path):
    """Nobody else on the machine reads the labels of our alerts."""
    Memory(path).save([rule(FIRING)])
    assert path.stat().st_mode & 0o777 == 0o600


def test_first_start(path):
    """Where there is no file, there is nothing to remember."""
    assert [] == Memory(path).load()


def test_written_when_a_state_changes(path):
    """A value that moves costs no write; a state, a time or an end that was told does."""
    memory = Memory(path)
    resolved = replace(FIRING, state=State.INACTIVE, resolved_at_ms=2000)
    told = replace(resolved, last_sent_ms=2000)
    steps = [FIRING, replace(FIRING, value=9.0, annotations=(), last_sent_ms=1750), resolved, told, told]
    assert [True, False, True, True, False] == [memory.save([rule(step)]) for step in steps]
    assert memory.save([])


def test_not_written_after_loading(path):
    """A restart by itself changes nothing."""
    Memory(path).save([rule(FIRING)])
    memory = Memory(path)
    assert not memory.save(memory.load())


DAMAGED = {
    "cut off": b'{"version":1,"rules":[{"file":"a',
    "empty": b"",
    "another shape": b'{"version":1,"rules":[{"file":"a"}]}',
    "a later version": b'{"version":2,"rules":[]}',
    "not a number": b'{"version":1,"rules":[{"file":"f","group":"g","rule":"r","labels":{},"alerts":[{"labels":{},'
    b'"annotations":{},"value":"high","state":"pending","active_at_ms":1,"fired_at_ms":null,"resolved_at_ms":null,'
    b'"keep_firing_since_ms":null,"last_sent_ms":null}]}]}',
    "fires since no time": b'{"version":1,"rules":[{"file":"f","group":"g","rule":"r","labels":{},"alerts":[{"labels":'
    b'{},"annotations":{},"value":"1","state":"firing","active_at_ms":1,"fired_at_ms":null,"resolved_at_ms":null,'
    b'"keep_firing_since_ms":null,"last_sent_ms":null}]}]}',
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged(path, data, caplog):
    """A damaged file is set aside and told of; alerts start anew, and can be saved."""
    path.write_bytes(data)
    with caplog.at_level(logging.ERROR):
        memory = Memory(path)
        assert [] == memory.load()
    assert "alerts.json.damaged" in caplog.text
    assert data == path.with_name("alerts.json.damaged").read_bytes()
    assert memory.save([rule(FIRING)])
    assert [rule(FIRING)] == Memory(path).load()


def test_unreadable(path, caplog):
    """Something that is no file at all is not fatal either."""
    path.mkdir()
    assert [] == Memory(path).load()
    assert "their states cannot be read" in caplog.text


def test_replaced_in_one_step(path, tmp_path):
    """A reader sees the old file or the new one, never one that is being written."""
    Memory(path).save([rule(FIRING)])
    before = tmp_path / "before"
    before.hardlink_to(path)
    Memory(path).save([])
    assert [rule(FIRING)] == Memory(before).load()


def test_crash_while_writing(path):
    """What a crash left of a new file does not matter: the old one counts until the new one is complete."""
    Memory(path).save([rule(FIRING)])
    path.with_name("alerts.json.new").write_bytes(b'{"version":1,')
    assert [rule(FIRING)] == Memory(path).load()
