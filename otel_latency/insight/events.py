"""Event logs read back: each line an event, by whatever language wrote it; what cannot be read is told by its line.

A log is read with its archives, oldest first. Files may begin with a byte order mark (UTF-8, UTF-16); lines that are
torn, not JSON, not UTF-8 or without what an event needs are left out, with one notice each. A clock that went back
within a request is noticed, too.

Cost: 1 us and 350 bytes an event.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from sys import intern
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from otel_latency.errors import ConfigError
from otel_latency.instrument.rotation import archives

CLOCK_TOLERANCE: Final = 0.05
"""Seconds by which lines may be out of order: writers take the time before they get to write."""
LATEST: Final = 1e11
"""Unix seconds of the year 5138; a larger number counts milliseconds."""
CHARACTERS_PER_TOKEN: Final = 4
PROGRESS_EVERY: Final = 1 << 20
"""Bytes between two reports of progress."""


class Known(msgspec.Struct, frozen=True, gc=False):
    """What of an event's metadata is understood: whose session it was, and how long the prompt.

    There is no standard for these names in a log, so the usual ones are all taken, the first of them first.
    """

    session_id: Any = None
    session: Any = None
    dotted_session: Any = msgspec.field(name="session.id", default=None)
    conversation_id: Any = None
    conversation: Any = msgspec.field(name="gen_ai.conversation.id", default=None)
    prompt_tokens: Any = None
    input_tokens: Any = None
    usage_tokens: Any = msgspec.field(name="gen_ai.usage.input_tokens", default=None)
    prompt_eval_count: Any = None
    prompt_size: Any = None
    prompt_length: Any = None
    prompt_chars: Any = None

    def session_of(self) -> str:
        said = (self.session_id, self.session, self.dotted_session, self.conversation_id, self.conversation)
        return next((str(each) for each in said if isinstance(each, str | int) and each != ""), "")

    def tokens(self) -> float | None:
        """Tokens of the prompt; characters count as a quarter of one."""
        counts = (self.prompt_tokens, self.input_tokens, self.usage_tokens, self.prompt_eval_count, self.prompt_size)
        characters = (self.prompt_chars, self.prompt_length)
        said = [*counts, *(each / CHARACTERS_PER_TOKEN if _is_number(each) else None for each in characters)]
        return next((float(each) for each in said if _is_number(each)), None)


NOTHING: Final = Known()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


class Event(msgspec.Struct, gc=False):
    """One line. `line` is its number in its file, from 1."""

    timestamp: float
    request_id: str
    event: str
    service: str = ""
    metadata: Known | None = None
    line: int = 0


class Notice(NamedTuple):
    """Something odd in a file."""

    path: Path
    line: int
    fact: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.fact}"


class Reader:
    """Reads event logs; *notice* hears what is odd, *progress* the bytes read so far out of how many."""

    def __init__(self, notice: Callable[[Notice], None], progress: Callable[[int, int], None]) -> None:
        self._notice = notice
        self._progress = progress

    def read(self, paths: Iterable[Path]) -> dict[str, list[Event]]:
        """The events of each request, in the order of the lines. Raises ConfigError when a file cannot be read."""
        paths = list(paths)
        requests: dict[str, list[Event]] = {}
        read, total = 0, sum(map(size_of, paths))
        for path in paths:
            try:
                self._add(path, self._events(path, read, total), requests)
            except OSError as error:
                raise unreadable(path, error) from None
            read += size_of(path)
        return requests

    def _add(self, path: Path, events: Iterable[Event], requests: dict[str, list[Event]]) -> None:
        for event in events:
            known = requests.get(event.request_id)
            if known is None:
                requests[event.request_id] = [event]
                continue
            if event.timestamp < known[-1].timestamp - CLOCK_TOLERANCE:
                self._notice(Notice(path, event.line, _went_back(known[-1], event)))
            known.append(event)

    def _events(self, path: Path, before: int, total: int) -> Iterator[Event]:
        decode = msgspec.json.Decoder(Event).decode
        done = reported = 0
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), 1):
                done += len(line)
                if done - reported >= PROGRESS_EVERY:
                    reported = done
                    self._progress(before + done, total)
                try:
                    event = decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    if line.strip():
                        self._notice(Notice(path, number, _fault(line, error)))
                    continue
                if not 0 <= event.timestamp < LATEST:
                    self._notice(Notice(path, number, "left out: its timestamp is not in Unix seconds"))
                    continue
                event.line = number
                event.service = intern(event.service)
                event.event = intern(event.event)
                if event.metadata == NOTHING:
                    event.metadata = None
                yield event
        self._progress(before + done, total)


def files(log: Path) -> list[Path]:
    """The log's archives, oldest first, and the log itself, as far as they are there."""
    found = archives(log) if log.parent.is_dir() else []
    return [*found, log] if log.exists() else found


def is_event_log(path: Path) -> bool:
    """Whether its beginning looks like events, or it is empty."""
    try:
        with path.open("rb") as file:
            start = file.read(65_536)
    except OSError as error:
        raise unreadable(path, error) from None
    return b'"request_id"' in start.replace(b"\0", b"") or not start.strip()


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> ConfigError:
    reason = error.strerror or "it is no regular file"
    return ConfigError(f"{path}: the file cannot be read ({reason}): check the name and its rights")


def _lines(file: BinaryIO) -> Iterable[bytes]:
    """Lines of UTF-8, whatever Unicode the file is in."""
    start = file.read(4)
    file.seek(0)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return (line.encode() for line in codecs.getreader("utf-16")(file, "replace"))
    if start.startswith(codecs.BOM_UTF8):
        file.seek(len(codecs.BOM_UTF8))
    return file


def _went_back(previous: Event, event: Event) -> str:
    seconds = previous.timestamp - event.timestamp
    return (
        f"the clock went back {seconds:.3f} s between {previous.event} and {event.event} of request "
        f"{event.request_id[:80]!r}: the step between them counts as no time (sort the log if it was put together)"
    )


def _fault(line: bytes, error: Exception) -> str:
    """What is wrong with a line, without quoting it: metadata may hold anything."""
    try:
        line.decode()
    except UnicodeDecodeError as undecodable:
        return f"left out: byte {undecodable.start + 1} of the line is not UTF-8"
    if isinstance(error, msgspec.ValidationError):
        return f"left out: {_plainly(str(error))}"
    return "left out: torn in its midst" if not line.endswith(b"\n") or line.startswith(b"{") else "left out: no JSON"


def _plainly(text: str) -> str:
    """What msgspec says of a missing or wrong field, as a log's reader would say it."""
    missing = re.fullmatch(r"Object missing required field `(\w+)`.*", text)
    if missing:
        return f"it has no {missing[1]}"
    wrong = re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?([^`]*)`)?", text)
    if wrong:
        return f"{wrong[3] or 'the line'} is {wrong[2]}, not {wrong[1]}"
    return "no event"
