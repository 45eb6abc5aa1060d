import pytest

from otel_latency.errors import DecodeError, Overloaded
from otel_latency.ingest.faults import REMEMBERED, Faults
from otel_latency.ingest.intake import Outcome, Signal
from otel_latency.testing import FakeClock

SECRET = "sk-a-prompt"


def call(faults, body):
    return faults(Signal.TRACES, body, is_json=False, transport="http")


def test_passed_on(recorder):
    """Outcomes and our own errors pass as they are."""
    faults = Faults(recorder, FakeClock())
    recorder.outcome = Outcome(2, "why")
    assert call(faults, b"x") == Outcome(2, "why")
    recorder.outcome = DecodeError("bad")
    with pytest.raises(DecodeError, match="bad"):
        call(faults, b"x")


@pytest.mark.parametrize("error", [KeyError(SECRET), RecursionError(SECRET), MemoryError(), ConnectionError(SECRET)])
def test_later_then_never(recorder, error):
    """A body that meets a bug may come back once; the second time it is refused for good."""
    faults = Faults(recorder, FakeClock())
    recorder.outcome = error
    for body in (b"x", b"y"):
        with pytest.raises(Overloaded):
            call(faults, body)
    for body in (b"x", b"y"):
        with pytest.raises(DecodeError):
            call(faults, body)


def test_memory_is_bounded(recorder):
    """Only the last bodies that failed are remembered."""
    faults = Faults(recorder, FakeClock())
    recorder.outcome = KeyError()
    for number in range(REMEMBERED + 1):
        with pytest.raises(Overloaded):
            call(faults, b"%d" % number)
    with pytest.raises(Overloaded):
        call(faults, b"0")


async def test_log(recorder, caplog):
    """A bug is logged once a minute per place, with the kind and the place but nothing of the request."""
    clock = FakeClock()
    faults = Faults(recorder, clock)

    def fail(error, number):
        recorder.outcome = error
        with pytest.raises(Overloaded):
            call(faults, b"%d" % number)

    fail(KeyError(SECRET), 0)
    fail(KeyError(SECRET), 1)
    assert len(caplog.records) == 1
    assert "http receiver: KeyError at " in caplog.text
    assert "conftest.py:" in caplog.text
    fail(ValueError(SECRET), 2)
    assert len(caplog.records) == 2
    await clock.advance(60)
    fail(KeyError(SECRET), 3)
    assert len(caplog.records) == 3
    assert SECRET not in caplog.text
