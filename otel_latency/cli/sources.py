"""Where `timeline`, `sessions` and `compare` get requests from: event logs, OTLP/JSON files, an agent.

What is odd about a file is told on stderr by its line, the first few in full and the rest by their number; so is how
far reading has come, once it takes longer than a second.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote

from otel_latency.cli.client import AgentClient, NotFound
from otel_latency.cli.painting import shown
from otel_latency.errors import ConfigError, OtelLatencyError
from otel_latency.insight import events, otlp_file
from otel_latency.insight.events import Event, Notice, Reader
from otel_latency.insight.requests import Request, request_of
from otel_latency.insight.turns import request_of_document
from otel_latency.instrument.timing import DEFAULT_PATH, VARIABLE

SHOWN_NOTICES: Final = 5
PATIENCE: Final = 1.0
"""Seconds without a word before progress is shown, and between two lines of it where they are not refreshed."""
REPORT_EVERY: Final = 2_000
"""Requests between two looks at the clock."""
MAX_TURNS: Final = 1_000
"""Turns that an agent is asked for at most."""


class Stderr:
    """Notices and progress."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._now = now
        self._spoke = now()
        self._refreshes = False
        self._notices: dict[str, int] = {}

    def notice(self, notice: Notice) -> None:
        """Tell it, unless there were many of that file already."""
        name = str(notice.path)
        self._notices[name] = count = self._notices.get(name, 0) + 1
        if count <= SHOWN_NOTICES:
            self._end_line()
            print(notice, file=self._stream)

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far *what* is, once in a while."""
        now = self._now()
        if now - self._spoke < (PATIENCE / 10 if self._refreshes else PATIENCE):
            return
        self._spoke = now
        line = f"{what}: {done / max(total, 1):4.0%}"
        if self._stream.isatty():
            self._refreshes = True
            print(f"\r{line}\x1b[K", end="", file=self._stream, flush=True)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Sum up what was not told in full."""
        self._end_line()
        for name, count in self._notices.items():
            if count > SHOWN_NOTICES:
                print(f"{name}: {count - SHOWN_NOTICES:,} more lines like these", file=self._stream)

    def _end_line(self) -> None:
        if self._refreshes:
            print("\r\x1b[K", end="", file=self._stream)
        self._refreshes = False


def log_path(named: str | None, environ: Mapping[str, str]) -> Path:
    """The file that is meant: as `log_timing` finds it where none is named."""
    if named:
        return Path(named)
    path = environ.get(VARIABLE) or DEFAULT_PATH
    if path == "off":
        raise ConfigError(f"{VARIABLE}=off: nothing is logged: name a log, or an agent with --agent")
    return Path(path)


def requests_of(path: Path, stderr: Stderr) -> list[Request]:
    """The requests that a file, with its archives if it is an event log, tells of; by their start."""
    files = events.files(path)
    if not files:
        raise ConfigError(f"{path}: there is no such file: name an event log or an OTLP/JSON file")
    if path in files and otlp_file.is_otlp(path):
        found = otlp_file.read(path, stderr.notice)
    else:
        found = _from_events(files, stderr)
    stderr.close()
    return found


def _from_events(files: Sequence[Path], stderr: Stderr) -> list[Request]:
    """Raises ConfigError when no line of a log that is not empty holds an event."""

    def progress(done: int, total: int) -> None:
        stderr.progress(f"reading {files[-1]}", done, total)

    with _without_collection():
        by_id = Reader(stderr.notice, progress).read(files)
        found = sorted(_built(by_id, stderr), key=_start)
    if not found and any(events.size_of(file) for file in files):
        stderr.close()
        raise ConfigError(f"{files[-1]}: no line of it is an event: is it an event log, or OTLP/JSON?")
    return found


@contextmanager
def _without_collection() -> Iterator[None]:
    """Millions of tuples without a cycle: looking through them for garbage would take as long as making them."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _built(by_id: dict[str, list[Event]], stderr: Stderr) -> Iterable[Request]:
    """Takes the events out of *by_id* as it goes, so that memory does not hold both."""
    total = len(by_id)
    for number, request_id in enumerate(list(by_id), 1):
        yield request_of(request_id, by_id.pop(request_id))
        if number % REPORT_EVERY == 0:
            stderr.progress("pairing events", number, total)


def requests_at(client: AgentClient, stderr: Stderr, *, limit: int | None = None) -> list[Request]:
    """The latest turns that an agent knows, by their start.

    A turn whose root never came has no span of its own to ask for: where its trace has another turn, that one is told
    in its place, and shown once.
    """
    rows = _latest(client, min(limit or MAX_TURNS, MAX_TURNS))
    found: dict[tuple[str, float, float], Request] = {}
    for number, row in enumerate(rows, 1):
        with suppress(NotFound):  # let go of since
            turn = _turn_at(client, str(row.get("trace_id")), row.get("span_id"))
            found[str(row.get("trace_id")), turn.start, turn.total] = turn
        stderr.progress("asking for turns", number, len(rows))
    stderr.close()
    return sorted(found.values(), key=_start)


def request_at(client: AgentClient, request_id: str) -> Request:
    """The turn of a request's or trace's id; else the latest one whose id begins so. Raises NotFound."""
    try:
        return _turn_at(client, request_id)
    except NotFound:
        begun = (row for row in _latest(client, MAX_TURNS) if _begins(row, request_id))
        row = next(begun, None)
        if row is None:
            raise
        return _turn_at(client, str(row["trace_id"]), row.get("span_id"))


def _latest(client: AgentClient, limit: int) -> list[Mapping[str, Any]]:
    return [row for row in client.rows("/api/v1/turns", "turns", limit=limit) if isinstance(row, dict)]


def _turn_at(client: AgentClient, identity: str, span_id: object = None) -> Request:
    document = client.get(f"/api/v1/turns/{quote(identity, safe='')}", span_id=span_id)
    try:
        return request_of_document(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise OtelLatencyError(
            f"/api/v1/turns/{shown(identity)}: the agent's answer is no turn: is it of our version?"
        ) from None


def _begins(row: Mapping[str, Any], request_id: str) -> bool:
    return any(str(row.get(key) or "").startswith(request_id) for key in ("trace_id", "request_id"))


def _start(request: Request) -> float:
    return request.start
