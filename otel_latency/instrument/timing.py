"""The event log: one JSON line per moment of a request, from any thread of any process, into one file.

    request_id = generate_request_id()
    log_timing(request_id, "v34", Events.V34_OLLAMA_SENT, {"temperature": 0.4})

Nothing needs to be configured. The file is `OTEL_LATENCY_LOG`, or `otel-latency-timing.jsonl` in the directory where
the first event is logged; `OTEL_LATENCY_LOG=off` turns it off. It is archived at 64 MiB and at midnight UTC, and
archives are deleted after 30 days (`rotation`). An event also becomes an event of the current span, if there is one, so
that it reaches whatever receives the spans; outside of spans it is sent as a log record (`otel_latency.timing`), once
`configure` was called.

`log_timing` never raises. An event that cannot be written (no such directory, disk full) is counted in
`TimingLog.dropped` and otherwise forgotten. Each line is one `write` to a file opened for appending, which Linux keeps
whole on local file systems.

Cost: about 15 us an event.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from json import JSONEncoder
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context

from otel_latency import semconv
from otel_latency.instrument.attributes import carried
from otel_latency.instrument.rotation import Rotation, archive, first_written
from otel_latency.instrument.runtime import runtime

DEFAULT_PATH: Final = "otel-latency-timing.jsonl"
VARIABLE: Final = "OTEL_LATENCY_LOG"
MAX_DEPTH: Final = 8


def generate_request_id() -> str:
    """16 hexadecimal digits from the system's source of randomness."""
    return os.urandom(8).hex()


def log_timing(request_id: str, service: str, event: str, metadata: Mapping[str, object] | None = None) -> None:
    """Log that *event* happened in *service* for the request, now. Never raises."""
    try:
        default_log().log(request_id, service, event, metadata)
        _tell(request_id, service, event, metadata)
    except Exception:  # the promise: whatever goes wrong in here, the program does not notice
        _Default.faults += 1


def line_of(now: float, request_id: str, service: str, event: str, metadata: Mapping[str, object] | None) -> bytes:
    """One line of the log. Metadata that JSON cannot hold is simplified: an object becomes the name of its type."""
    record: dict[str, object] = {
        "timestamp": now,
        "iso_time": datetime.fromtimestamp(now, UTC).isoformat(),
        "request_id": request_id,
        "service": service,
        "event": event,
        "metadata": metadata or {},
    }
    try:
        text = _encode(record)
    except (TypeError, ValueError, RecursionError):
        text = _encode(_plain(record))
    return text.encode("ascii") + b"\n"


class TimingLog:
    """One log file, shared by all threads of a process and with other processes."""

    def __init__(
        self, path: str | Path, rotation: Rotation | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path).absolute()
        self.dropped = 0
        self._rotation = rotation or Rotation()
        self._now = now
        self._descriptor = -1
        self._inode = (0, 0)
        self._began = 0.0
        self._is_torn = False
        # Re-entrant: a signal handler or a destructor may log while this thread is logging.
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._after_fork)

    def log(self, request_id: str, service: str, event: str, metadata: Mapping[str, object] | None = None) -> None:
        """Append one line; a file that cannot be written costs the line."""
        now = self._now()
        line = line_of(now, request_id, service, event, metadata)
        try:
            with self._lock:
                self._make_ready(len(line), now)
                self._append(line)
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _make_ready(self, incoming_bytes: int, now: float) -> None:
        """Have the file open that stands at the path now: it may have been archived, cleared or deleted by anyone."""
        try:
            found = os.stat(self.path)  # noqa: PTH116  # half the cost of Path.stat, on each line
        except FileNotFoundError:
            self._open(now)
            return
        if self._is_due(found, incoming_bytes, now):
            archive(self.path, self._rotation, incoming_bytes, now)
            self._open(now)

    def _is_due(self, found: os.stat_result, incoming_bytes: int, now: float) -> bool:
        if self._descriptor < 0 or (found.st_ino, found.st_dev) != self._inode:
            self._open(now)
        return self._rotation.is_due(found.st_size, self._began, incoming_bytes, now)

    def _open(self, now: float) -> None:
        self.close()
        self._descriptor = os.open(
            self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644
        )
        found = os.fstat(self._descriptor)
        self._inode = (found.st_ino, found.st_dev)
        self._began = now
        if found.st_size:
            # Another process may just have archived it: then this line goes to the archive still, the next one not.
            with suppress(OSError):
                self._began = first_written(self.path, now)

    def _append(self, line: bytes) -> None:
        if self._is_torn:
            line = b"\n" + line  # the disk was full in the midst of a line: let the next one begin afresh
        written = os.write(self._descriptor, line)
        self._is_torn = written < len(line)
        if self._is_torn:
            self.dropped += 1

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # the parent's may be held by a thread that does not exist here


class _Default:
    """The log of `log_timing`, opened by its first event."""

    log: TimingLog | _Off | None = None
    faults = 0
    lock = threading.Lock()


class _Off:
    """What is logged to when `OTEL_LATENCY_LOG=off`."""

    def log(self, *_event: object) -> None:
        return


def default_log() -> TimingLog | _Off:
    if _Default.log is None:
        with _Default.lock:
            if _Default.log is None:
                path = os.environ.get(VARIABLE) or DEFAULT_PATH
                _Default.log = _Off() if path == "off" else TimingLog(path)
    return _Default.log


def _tell(request_id: str, service: str, event: str, metadata: Mapping[str, object] | None) -> None:
    """Let whatever receives our telemetry have the event, too."""
    span = trace.get_current_span()
    is_in_span = span.is_recording()
    emit = runtime.emit
    if not (is_in_span or emit):
        return
    about = carried({semconv.REQUEST_ID: request_id, "service": service, **(metadata or {})})
    if is_in_span:
        span.add_event(event, about)
    elif emit:
        emit(semconv.TIMING, Context(), {**about, semconv.EVENT: event})


def _type_name(value: object) -> str:
    # Not its text: that may run the user's code, take a lock, or tell a secret.
    return f"<{type(value).__name__}>"


_encode: Final = JSONEncoder(default=_type_name, allow_nan=False, separators=(",", ":")).encode


def _plain(value: object, depth: int = 0) -> object:
    """*value* in what JSON has: no NaN, no keys but text, no cycles, `MAX_DEPTH` levels."""
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if value is None or isinstance(value, str | int):
        return value
    if depth >= MAX_DEPTH:
        return _type_name(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else _key(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    return _type_name(value)


def _key(key: object) -> str:
    return str(key) if isinstance(key, int | float) else _type_name(key)
