import os
from pathlib import Path

import pytest
from voice_log import EXAMPLE, line, lines, write

from otel_latency.errors import ConfigError
from otel_latency.insight.events import Known, Notice, Reader, files, is_event_log
from otel_latency.instrument.rotation import Rotation
from otel_latency.instrument.timing import TimingLog


def read(*paths):
    """The events by request, and what was noticed."""
    notices = []
    return Reader(notices.append, lambda *_: None).read(paths), notices


def test_what_log_timing_writes(tmp_path):
    """Events come back with their names, services, times and the numbers of their lines."""
    log = TimingLog(tmp_path / "log.jsonl", now=iter([1.5, 2.5]).__next__)
    log.log("r1", "v34", "v34_ollama_sent", {"session_id": "s", "prompt_tokens": 7, "prompt": "a secret"})
    log.log("r1", "v34", "v34_ollama_received")
    log.close()
    requests, notices = read(tmp_path / "log.jsonl")
    first, second = requests["r1"]
    assert (1.5, "v34", "v34_ollama_sent", 1) == (first.timestamp, first.service, first.event, first.line)
    assert (Known(session_id="s", prompt_tokens=7), None, 2, []) == (
        first.metadata,
        second.metadata,
        second.line,
        notices,
    )


def test_archives(tmp_path):
    """A log is read with its archives, oldest first, as if it had never been rotated."""
    path = tmp_path / "log.jsonl"
    log = TimingLog(path, Rotation(max_bytes=400, daily=False), now=iter(range(1000, 2000)).__next__)
    for number in range(10):
        log.log(f"r{number}", "v34", "v34_ollama_sent")
    log.close()
    found = files(path)
    assert path == found[-1]
    assert len(found) > 3
    assert [f"r{number}" for number in range(10)] == list(read(*found)[0])
    path.unlink()
    assert found[:-1] == files(path)
    assert [] == files(tmp_path / "nowhere" / "log.jsonl")


GOOD = line(0, "v34_ollama_sent")
DAMAGE = {
    "torn, the log's last line": (GOOD[:50].encode(), "left out: torn in its midst"),
    "torn, with the next line behind it": (GOOD[:50].encode() + GOOD.encode() + b"\n", "left out: torn in its midst"),
    "no JSON": (b"Traceback (most recent call last):\n", "left out: no JSON"),
    "zeros, after a crash": (b"\0" * 40 + b"\n", "left out: no JSON"),
    "Latin-1": (
        GOOD.replace("v34_o", "v34_é").encode("latin-1") + b"\n",
        "left out: byte 129 of the line is not UTF-8",
    ),
    "no request": (b'{"timestamp": 1, "event": "e"}\n', "left out: it has no request_id"),
    "a time in words": (
        b'{"timestamp": "noon", "request_id": "r", "event": "e"}\n',
        "left out: timestamp is str, not float",
    ),
    "milliseconds": (
        b'{"timestamp": 1732742400123, "request_id": "r", "event": "e"}\n',
        "left out: its timestamp is not in Unix seconds",
    ),
    "an array": (b"[1, 2]\n", "left out: the line is array, not object"),
}


@pytest.mark.parametrize(("damaged", "fact"), DAMAGE.values(), ids=DAMAGE)
def test_damage(tmp_path, damaged, fact):
    """A line that cannot be read is told by its number, and costs only itself."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(f"{GOOD}\n\n".encode() + damaged + (f"{GOOD}\n".encode() if damaged.endswith(b"\n") else b""))
    requests, notices = read(path)
    assert [Notice(path, 3, fact)] == notices
    assert f"{path}:3: {fact}" == str(notices[0])
    assert (2 if damaged.endswith(b"\n") else 1) == len(requests["abc123de"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_encodings(tmp_path, encoding, newline):
    """Unicode with a byte order mark is read, whichever; so are the line ends of another system."""
    path = tmp_path / "log.jsonl"
    text = "".join(f"{one}{newline}" for one in lines(request_id="größe"))
    path.write_bytes(text.encode(encoding))
    requests, notices = read(path)
    assert ([], len(EXAMPLE)) == (notices, len(requests["größe"]))


def test_clock_back(tmp_path):
    """A clock that went back within a request is told with the line, the step and the way to deal with it."""
    path = write(tmp_path / "log.jsonl", [line(1000, "v34_ollama_sent"), line(400, "v34_ollama_received")])
    [notice] = read(path)[1]
    assert (
        f"{path}:2: the clock went back 0.600 s between v34_ollama_sent and v34_ollama_received of request 'abc123de': "
        "the step between them counts as no time (sort the log if it was put together)"
    ) == str(notice)
    near = write(tmp_path / "near.jsonl", [line(1000, "v34_ollama_sent"), line(980, "v34_ollama_received")])
    assert [] == read(near)[1]


def test_progress(tmp_path):
    """Progress is told in bytes of all files together, once a MiB and at the end of each."""
    paths = [write(tmp_path / f"{n}.jsonl", *(lines(request_id=f"{n}-{i}") for i in range(600))) for n in range(2)]
    told = []
    Reader(pytest.fail, lambda done, total: told.append((done, total))).read(paths)
    size = sum(path.stat().st_size for path in paths)
    assert (size, size) == told[-1]
    assert (paths[0].stat().st_size, size) in told
    assert len(told) == 2 + size // (1 << 20)
    assert told == sorted(told)


KNOWN = {
    "ours": ({"session_id": "s", "prompt_tokens": 9}, ("s", 9.0)),
    "OpenTelemetry's": ({"session.id": "s", "gen_ai.usage.input_tokens": 9}, ("s", 9.0)),
    "Ollama's": ({"conversation_id": "s", "prompt_eval_count": 9}, ("s", 9.0)),
    "a number as session": ({"session": 7, "prompt_size": 9.5}, ("7", 9.5)),
    "characters": ({"prompt_chars": 400}, ("", 100.0)),
    "nonsense": ({"session_id": ["s"], "prompt_tokens": "many", "input_tokens": True}, ("", None)),
}


@pytest.mark.parametrize(("metadata", "expected"), KNOWN.values(), ids=KNOWN)
def test_metadata(tmp_path, metadata, expected):
    """Session and prompt size are found under their usual names, and taken for nothing else."""
    path = write(tmp_path / "log.jsonl", [line(0, "v34_ollama_sent", **metadata)])
    [event] = read(path)[0]["abc123de"]
    assert expected == (event.metadata.session_of(), event.metadata.tokens())


def test_unreadable(tmp_path):
    """A file that is none, or may not be read, is told with its name."""
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no.jsonl", "No such file or directory")):
        with pytest.raises(ConfigError) as raised:
            read(path)
        assert f"{path}: the file cannot be read ({reason}): check the name and its rights" == str(raised.value)


def test_pipe(tmp_path):
    """A pipe cannot be looked at twice: it is refused in words."""
    read_end, write_end = os.pipe()
    os.close(write_end)
    try:
        with pytest.raises(ConfigError, match="it is no regular file"):
            read(Path(f"/proc/self/fd/{read_end}"))
    finally:
        os.close(read_end)


def test_is_event_log(tmp_path):
    """A log is known by its first lines, so that nothing else is ever emptied."""
    path = tmp_path / "some.jsonl"
    for text, expected in {GOOD: True, "": True, GOOD[60:] + "\n" + GOOD: True, '{"a": 1}': False}.items():
        path.write_text(text)
        assert expected is is_event_log(path)
