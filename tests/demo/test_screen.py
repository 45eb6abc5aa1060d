import pytest

from otel_latency.demo.pipeline import PROVIDERS
from otel_latency.demo.ports import Place
from otel_latency.demo.reading import LastMinute, Reading, TurnReading
from otel_latency.demo.screen import HEADINGS, MAIN_TURN, Figures, document, line, opening

PLACES = {
    "web": Place("web", "127.0.0.1", 45678, 8080, "taken"),
    "otlp.http": Place("otlp.http", "127.0.0.1", 4318, 4318),
    "otlp.grpc": Place("otlp.grpc", "127.0.0.1", 45679, 4317, "taken"),
}


def figures(*turns, slow_provider=""):
    reading = Reading(turns, 40, 1, 12)
    minute = LastMinute(0.0)
    minute.add(reading, 10.0)
    return Figures(1_700_000_000.1234, reading, minute, slow_provider)


MAIN = TurnReading("support-bot", MAIN_TURN, 30, {"0.5": 1.234, "0.95": 2.5}, {"0.5": 0.5, "0.95": 12.0})
OTHER = TurnReading("support-bot", "other", 10, {"0.5": 7.0}, {})


def test_line():
    """The line has the figures of the main turn, each under its heading."""
    expected = "    4.0    1.23 s   2.50 s    0.50 s  12.00 s    2.5 %        12   openai"
    assert expected == line(figures(OTHER, MAIN, slow_provider="openai"))
    ends = [HEADINGS.splitlines()[1].index(heading) + len(heading) for heading in ("turns/s", "errors", "running")]
    assert ["4.0", "%", "12"] == [expected[:end].rsplit(maxsplit=1)[-1] for end in ends]


def test_line_without_figures():
    """Before the first turn there are dashes."""
    assert "    4.0         -        -         -        -    2.5 %        12   -" == line(figures())


@pytest.mark.parametrize("text", [opening(PLACES, 100.0), HEADINGS, line(figures(MAIN, slow_provider=PROVIDERS[0]))])
def test_fits_a_terminal(text):
    """Everything fits into 80 columns, with the longest ports and notes."""
    assert [] == [row for row in text.splitlines() if len(row) > 80]


def test_opening():
    """It names every address, and the ports that had to be changed with what sets them."""
    text = opening(PLACES, 4.0)
    for path in ("/ ", "/metrics ", "/status "):
        assert f"  http://127.0.0.1:45678{path}" in text
    assert "  http://127.0.0.1:4318 " in text
    assert "web: 8080 is taken, using 45678 (OTEL_LATENCY_WEB__PORT sets it)\n" in text
    assert "otlp.grpc: 4317 is taken, using 45679 (OTEL_LATENCY_OTLP__GRPC__PORT sets it)\n" in text
    assert "otlp.http: " not in text


def test_document():
    """JSON has every turn, and null where there is no value."""
    assert {
        "timestamp": 1_700_000_000.123,
        "url": "http://127.0.0.1:45678",
        "otlp": "http://127.0.0.1:4318",
        "turns_per_second": 4.0,
        "error_ratio": 0.025,
        "operations_running": 12,
        "slow_provider": None,
        "turns": [
            {
                "service": "support-bot",
                "turn": "other",
                "count": 10,
                "p50": 7.0,
                "p95": None,
                "first_audio_p50": None,
                "first_audio_p95": None,
            }
        ],
    } == document(figures(OTHER), PLACES)
