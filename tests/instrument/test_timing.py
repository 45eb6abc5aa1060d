"""The event log takes a line from anyone at any time, keeps it whole, and never complains."""

import json
import os
import re
import subprocess
import sys
import threading
from datetime import datetime

import pytest

from otel_latency.instrument import timing
from otel_latency.instrument.rotation import Rotation, archives
from otel_latency.instrument.timing import TimingLog, generate_request_id, line_of, log_timing

NOON = 1_800_014_400.0
WRITER = """
import sys, threading
from otel_latency import log_timing
def write(thread):
    for number in range({lines}):
        log_timing(f"{{sys.argv[1]}}-{{thread}}-{{number}}", "v34", "event", {{"filler": "x" * (number % 500)}})
threads = [threading.Thread(target=write, args=(each,)) for each in range({threads})]
[each.start() for each in threads]
[each.join() for each in threads]
"""


def lines(*paths):
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


@pytest.fixture
def log(tmp_path):
    made = TimingLog(tmp_path / "timing.jsonl", now=lambda: NOON)
    yield made
    made.close()


def test_line(log):
    """One line has the time twice, for machines and for people, and says who, where and what."""
    log.log("abc123de", "v34", "v34_ollama_sent", {"temperature": 0.4})
    assert [
        {
            "timestamp": NOON,
            "iso_time": "2027-01-15T12:00:00+00:00",
            "request_id": "abc123de",
            "service": "v34",
            "event": "v34_ollama_sent",
            "metadata": {"temperature": 0.4},
        }
    ] == lines(log.path)


class Secret:
    def __repr__(self):
        raise AssertionError("a user's object is not turned into text")


LOOP = {}
LOOP["self"] = LOOP
STRANGE = {
    "object": ({"x": Secret()}, {"x": "<Secret>"}),
    "NaN": ({"x": float("nan"), "y": [float("inf")]}, {"x": "nan", "y": ["inf"]}),
    "keys": ({1: "a", (2, 3): "b"}, {"1": "a", "<tuple>": "b"}),
    "newlines": ({"x": "a\nb\r\u2028"}, {"x": "a\nb\r\u2028"}),
    "half a character": ({"x": "\ud800"}, {"x": "\ud800"}),
    "nothing": (None, {}),
}


@pytest.mark.parametrize(("metadata", "expected"), STRANGE.values(), ids=STRANGE)
def test_strange_metadata(metadata, expected):
    """Whatever is handed in becomes one line of valid JSON."""
    line = line_of(NOON, "id", "v34", "event", metadata)
    assert (1, expected) == (line.count(b"\n"), json.loads(line, parse_constant=pytest.fail)["metadata"])


def test_cyclic_metadata():
    """A cycle is cut off."""
    assert b"<dict>" in line_of(NOON, "id", "v34", "event", LOOP)


def test_never_raises(tmp_path, monkeypatch):
    """No such directory, a directory in place of the file, a pipe that nobody reads: the line is dropped."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nowhere" / "log.jsonl", tmp_path, tmp_path / "pipe"):
        log = TimingLog(path)
        monkeypatch.setattr(timing._Default, "log", log)
        log_timing("id", "v34", "event")
        log_timing("id", "v34", "event", Secret())
        assert 1 <= log.dropped <= 2


def test_follows_the_file(log):
    """A log that was cleared, deleted or moved by others goes on at its path."""
    log.log("1", "v34", "event")
    log.path.rename(log.path.with_name("moved"))
    log.log("2", "v34", "event")
    log.path.unlink()
    log.log("3", "v34", "event")
    log.path.write_bytes(b"")
    log.log("4", "v34", "event")
    assert ["4"] == [line["request_id"] for line in lines(log.path)]


def test_archived_while_opening(log, monkeypatch):
    """A file that another process archives just as it is opened takes the line with it, whole."""
    log.log("1", "v34", "event")
    log.close()
    first_written = timing.first_written

    def archived_before(path, now):
        path.rename(path.with_name("archived"))
        return first_written(path, now)

    monkeypatch.setattr(timing, "first_written", archived_before)
    log.log("2", "v34", "event")
    monkeypatch.undo()
    log.log("3", "v34", "event")
    files = log.path.with_name("archived"), log.path
    assert ([["1", "2"], ["3"]], 0) == ([[line["request_id"] for line in lines(file)] for file in files], log.dropped)


def test_torn_line(log, monkeypatch):
    """After a line that the disk had no room for, the next one begins on a line of its own."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
    log.log("1", "v34", "event")
    monkeypatch.undo()
    log.log("2", "v34", "event")
    torn, whole = log.path.read_bytes().splitlines()
    assert (20, "2", 1) == (len(torn), json.loads(whole)["request_id"], log.dropped)


def test_rotates(tmp_path):
    """At its size limit the log is archived before the line that would exceed it; no line is lost."""
    log = TimingLog(tmp_path / "timing.jsonl", Rotation(max_bytes=1000), now=lambda: NOON)
    for number in range(50):
        log.log(str(number), "v34", "event")
    log.close()
    files = [*archives(log.path), log.path]
    assert [str(number) for number in range(50)] == [line["request_id"] for line in lines(*files)]
    assert (True, True) == (len(files) > 5, all(path.stat().st_size <= 1000 for path in files))


def test_new_day(tmp_path):
    """The first line after midnight begins a new file, also in a process that has just been started."""
    path, now = tmp_path / "timing.jsonl", [NOON]
    for day in range(3):
        for log in (TimingLog(path, now=lambda: now[0]), TimingLog(path, now=lambda: now[0])):
            log.log(str(day), "v34", "event")
            log.close()
        now[0] += 86_400
    assert [["0", "0"], ["1", "1"], ["2", "2"]] == [
        [line["request_id"] for line in lines(file)] for file in (*archives(path), path)
    ]


def test_threads_and_processes(tmp_path):
    """Lines of four threads in each of three processes are whole and complete, over many rotations."""
    program = WRITER.format(lines=300, threads=4)
    rotate = "import otel_latency.instrument.timing as t, otel_latency.instrument.rotation as r\n"
    rotate += f"t._Default.log = t.TimingLog({str(tmp_path / 'timing.jsonl')!r}, r.Rotation(max_bytes=50_000))\n"
    running = [subprocess.Popen([sys.executable, "-c", rotate + program, str(each)]) for each in range(3)]
    assert [0, 0, 0] == [each.wait(30) for each in running]
    path = tmp_path / "timing.jsonl"
    found = [line["request_id"] for line in lines(*archives(path), path)]
    expected = [f"{p}-{t}-{n}" for p in range(3) for t in range(4) for n in range(300)]
    assert (sorted(expected), True) == (sorted(found), len(archives(path)) > 5)


def test_after_fork(log):
    """A child logs on, even when it was forked while a thread of its parent held the lock."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with log._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        log.log("child", "v34", "event")
        os._exit(0)
    assert 0 == os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    log.log("parent", "v34", "event")
    assert ["child", "parent"] == [line["request_id"] for line in lines(log.path)]


def test_default_path(tmp_path):
    """Without configuration the log stands where the program was started; the variable moves it or turns it off."""
    program = "from otel_latency import log_timing; log_timing('id', 'v34', 'event')"
    for value in ("", "other.jsonl", "off"):
        subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, check=True, env={**os.environ, "OTEL_LATENCY_LOG": value}
        )
    assert ["otel-latency-timing.jsonl", "other.jsonl"] == sorted(path.name for path in tmp_path.iterdir())


def test_span_event(spans, log, monkeypatch):
    """Within a span the event is told on it as well, without what a span cannot carry."""
    from otel_latency.instrument.guard import guard
    from otel_latency.instrument.stage import stage

    monkeypatch.setattr(timing._Default, "log", log)
    with stage("llm"):
        log_timing("abc", "v34", "v34_ollama_sent", {"temperature": 0.4, "model": Secret()})
    (event,) = spans[0].events
    guard.faults.clear()
    assert ("v34_ollama_sent", {"otel_latency.request_id": "abc", "service": "v34", "temperature": 0.4}) == (
        event.name,
        dict(event.attributes),
    )


def test_request_ids():
    """Short, of hexadecimal digits, and never the same."""
    ids = {generate_request_id() for _ in range(10_000)}
    assert (10_000, True) == (len(ids), all(re.fullmatch("[0-9a-f]{16}", each) for each in ids))


def test_iso_time_is_the_timestamp():
    """Both say the same moment."""
    line = json.loads(line_of(NOON + 0.123456, "id", "v34", "event", None))
    assert line["timestamp"] == datetime.fromisoformat(line["iso_time"]).timestamp()
