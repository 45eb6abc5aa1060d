"""Content taken out of JSON requests by the rules of `redact`: what stays is what came, character for character.

The text is read token by token and what has to go is noted by its place, so no object is built of it. A `body` that
goes becomes null, which OTLP reads as none; an attribute takes one comma along. Both spellings of a field are known,
since readers differ: `eventName` and `event_name`.

Cost: 0.2 us per character of structure and per text: 40 ms for 512 spans of 12 attributes.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Final, NamedTuple

from otel_latency.forward import content
from otel_latency.forward.content import Denied

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]', re.DOTALL)
_ATTRIBUTES: Final = frozenset({b"attributes", b"filteredAttributes", b"filtered_attributes", b"metadata"})
_RECORDS: Final = frozenset({b"logRecords", b"log_records"})
_EVENTS: Final = b"events"
_TEXTS: Final = frozenset({b"key", b"name", b"eventName", b"event_name", b"stringValue", b"string_value"})
"""Members whose text decides something."""


class _Cut(NamedTuple):
    start: int
    end: int
    replacement: bytes = b""


class _Attribute(NamedTuple):
    """Its place in an array, from behind the bracket or comma before it."""

    start: int
    keys: list[bytes]
    values: list[bytes]


class _Frame:
    """An object or array that is open. `name` is the member it stands under, or its array does."""

    __slots__ = (
        "attributes",
        "bodies",
        "elements",
        "is_array",
        "member",
        "name",
        "start",
        "texts",
        "value_at",
        "values",
    )

    def __init__(self, name: bytes, at: int, *, is_array: bool) -> None:
        self.name = name
        self.is_array = is_array
        self.member: bytes | None = None
        self.value_at = at + 1
        self.texts: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self.values: list[bytes] = []
        self.bodies: list[_Cut] = []
        self.elements: list[_Attribute] = []
        self.attributes: list[tuple[list[_Attribute], int]] = []


def redact_json(body: bytes, denied: Denied) -> bytes:
    """The request without content; *body* itself where there is none. Raises ValueError when it is no JSON."""
    cuts = _Reader(denied).cuts(body)
    if not cuts:
        return body
    pieces: list[bytes] = []
    kept = 0
    for cut in sorted(cuts):
        if cut.start >= kept:
            pieces += (body[kept : cut.start], cut.replacement)
            kept = cut.end
    return b"".join((*pieces, body[kept:]))


class _Reader:
    def __init__(self, denied: Denied) -> None:
        self._denied = denied
        self._open = [_Frame(b"", -1, is_array=True)]
        self._cuts: list[_Cut] = []

    def cuts(self, body: bytes) -> list[_Cut]:
        for token in _TOKEN.finditer(body):
            at = token.start()
            match body[at]:
                case 0x22:  # "
                    self._text(token[0])
                case 0x7B | 0x5B:  # { [
                    self._begin(at, is_array=body[at] == 0x5B)
                case 0x7D | 0x5D:  # } ]
                    self._end(at, is_array=body[at] == 0x5D)
                case 0x2C:  # ,
                    self._close_value(at)
                case _:
                    self._open[-1].value_at = at + 1
        if len(self._open) != 1:
            raise ValueError("the JSON ends early")
        return self._cuts

    def _text(self, token: bytes) -> None:
        frame = self._open[-1]
        if frame.is_array:
            return
        if frame.member is None:
            frame.member = _decoded(token)
        elif frame.member in _TEXTS:
            frame.texts[frame.member].append(_decoded(token))

    def _begin(self, at: int, *, is_array: bool) -> None:
        parent = self._open[-1]
        name = parent.name if parent.is_array else parent.member or b""
        self._open.append(_Frame(name, at, is_array=is_array))

    def _end(self, at: int, *, is_array: bool) -> None:
        self._close_value(at)
        frame = self._open.pop()
        if not self._open or frame.is_array != is_array:
            raise ValueError("the JSON closes what is not open")
        parent = self._open[-1]
        if is_array:
            if frame.elements:
                parent.attributes.append((frame.elements, at))
            return
        self._cut(frame)
        if parent.is_array and frame.name in _ATTRIBUTES:
            keys = frame.texts[b"key"]
            parent.elements.append(_Attribute(parent.value_at, keys, frame.values))
        elif parent.member == b"value":
            parent.values += frame.texts[b"stringValue"] + frame.texts[b"string_value"]

    def _close_value(self, at: int) -> None:
        """A comma or bracket ends what stands in the innermost object or array."""
        frame = self._open[-1]
        if frame.is_array:
            frame.value_at = at + 1
        elif frame.member == b"body" and frame.name in _RECORDS:
            frame.bodies.append(_Cut(frame.value_at, at, b"null"))
        frame.member = None

    def _cut(self, frame: _Frame) -> None:
        """Decide about what an object holds, now that all of it is known."""
        is_event = _is_content_event(frame)
        if is_event and frame.name in _RECORDS:
            self._cuts += frame.bodies
        has_to_be_kept = is_event and frame.name == _EVENTS
        for elements, end in frame.attributes:
            goes = [self._goes(element.keys, has_to_be_kept=has_to_be_kept) for element in elements]
            self._cuts += _cuts_of(elements, goes, end)

    def _goes(self, keys: list[bytes], *, has_to_be_kept: bool) -> bool:
        is_under_gen_ai = bool(keys) and all(key.startswith(content.KEPT_OF_EVENTS) for key in keys)
        return (has_to_be_kept and not is_under_gen_ai) or any(key in self._denied for key in keys)


def _cuts_of(elements: list[_Attribute], goes: list[bool], end: int) -> list[_Cut]:
    """Each takes the comma behind it along; the last ones of an array the comma before them."""
    starts = [*(element.start for element in elements), end]
    last = max((index for index, is_cut in enumerate(goes) if not is_cut), default=-1)
    cuts = [_Cut(starts[index], starts[index + 1]) for index in range(last) if goes[index]]
    if last < len(elements) - 1:
        cuts.append(_Cut(starts[last + 1] - (last >= 0), end))
    return cuts


def _is_content_event(frame: _Frame) -> bool:
    if frame.name == _EVENTS:
        return not content.EVENTS.isdisjoint(frame.texts[b"name"])
    if frame.name not in _RECORDS:
        return False
    named = {*frame.texts[b"eventName"], *frame.texts[b"event_name"]}
    for elements, _ in frame.attributes:
        named.update(value for each in elements if content.EVENT_NAME in each.keys for value in each.values)
    return not content.EVENTS.isdisjoint(named)


def _decoded(token: bytes) -> bytes:
    if b"\\" not in token:
        return token[1:-1]
    text: str = json.loads(token)
    return text.encode(errors="replace")
