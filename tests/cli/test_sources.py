import io
from pathlib import Path

import pytest
from voice_log import lines, write

from otel_latency.cli.sources import Stderr, requests_of
from otel_latency.errors import ConfigError
from otel_latency.insight.events import Notice


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Time:
    now = 0.0

    def __call__(self):
        return self.now


def test_progress_in_a_file():
    """Nothing is said of quick work; of slow work a line a second."""
    stream, time = io.StringIO(), Time()
    stderr = Stderr(stream, time)
    for time.now in (0.1, 0.9, 1.0, 1.5, 2.0):
        stderr.progress("reading", round(time.now * 10), 20)
    stderr.close()
    assert "reading:  50%\nreading: 100%\n" == stream.getvalue()


def test_progress_on_a_terminal():
    """On a terminal it is one line, refreshed ten times a second once a second has passed, and wiped out in the end."""
    stream, time = Terminal(), Time()
    stderr = Stderr(stream, time)
    for time.now in (0.9, 1.0, 1.05, 1.1):
        stderr.progress("reading", 1, 2)
    stderr.notice(Notice(Path("log"), 3, "odd"))
    stderr.close()
    assert "\rreading:  50%\x1b[K\rreading:  50%\x1b[K\r\x1b[Klog:3: odd\n" == stream.getvalue()


def test_many_notices():
    """The first five of each file are told in full, the rest by their number."""
    stream = io.StringIO()
    stderr = Stderr(stream)
    for name in ("a", "b"):
        for number in range(6 if name == "a" else 5):
            stderr.notice(Notice(Path(name), number, "odd"))
    stderr.close()
    told = stream.getvalue().splitlines()
    assert (11, "a: 1 more lines like these") == (len(told), told[-1])


def test_order(tmp_path):
    """Requests come by their start, not by their lines."""
    path = write(tmp_path / "log.jsonl", lines(request_id="b", start=20.0), lines(request_id="a", start=10.0))
    assert ["a", "b"] == [request.request_id for request in requests_of(path, Stderr(io.StringIO()))]


def test_nothing_readable(tmp_path):
    """A file of which no line is an event is no event log."""
    path = tmp_path / "log.jsonl"
    path.write_text("hello\n")
    with pytest.raises(ConfigError, match="no line of it is an event"):
        requests_of(path, Stderr(io.StringIO()))
