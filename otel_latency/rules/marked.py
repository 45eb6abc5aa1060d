"""YAML that knows its places: each value has its line and column, and each character inside a text has them too.

For rule files and their tests, whose expressions are refused where they are wrong. Texts stay texts, as in
`config.document`, whose limits hold here as well. Anchors, aliases and merge keys are taken, since Prometheus takes
them; what is merged keeps its places. Refused are duplicate keys, tags, further documents, control characters and deep
nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from otel_latency.config.document import LOADER, MAX_DEPTH, Refused, in_our_words, refuse_control_characters
from otel_latency.errors import ConfigError

_ESCAPE = re.compile(r"\\(x.{2}|u.{4}|U.{8}|.)|.", re.DOTALL)
_MERGE = "<<"  # unquoted
_NAMED_WHITE = frozenset("tnr \nvfLPN_\t")  # what the escapes of white space are called, a line's end among them


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file: line and column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text; `source` is how it is spelled in the file: quotes, block header, indentation and all."""

    value: str
    mark: Mark
    source: str = field(default="", repr=False)
    is_null: bool = False

    def place(self, offset: int) -> Mark:
        """Where the character at *offset* of the value stands in the file; white space counts as what follows it."""
        # However YAML folds or indents a text, its other characters stay, and stay in order.
        before = sum(not character.isspace() for character in self.value[:offset])
        index = end = 0
        for start, after in _dark(self.source):
            index, end = start, after
            if not before:
                break
            before -= 1
        else:
            index = end
        ahead = self.source[:index]
        column = index - ahead.rfind("\n") if "\n" in ahead else self.mark.column + index
        return Mark(self.mark.line + ahead.count("\n"), column)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    values: Sequence[Marked]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping; `keys` tells where each key stands."""

    values: Mapping[str, Marked]
    keys: Mapping[str, Mark]
    mark: Mark


Marked: TypeAlias = Scalar | Items | Entries


def parse(text: str, place: str) -> Marked | None:
    """The document in *text*; None when there is none. Raises ConfigError, which *place*, line and column begin."""
    try:
        refuse_control_characters(text)
        return _Composer(text).document()
    except Refused as error:
        refused = error
    except yaml.MarkedYAMLError as error:
        refused = in_our_words(error, text)
    raise ConfigError(f"{place}:{refused.line}:{refused.column}: {refused.text}")


class _Composer:
    """Turns the parser's events into values; remembers what the anchors stand for."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=LOADER)
        self._anchors: dict[str, Marked] = {}

    def document(self) -> Marked | None:
        found: Marked | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.NodeEvent):
                found = self._node(event, 0)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _refused(event, "a second document starts here, which Prometheus would ignore: keep one")
        return found

    def _node(self, event: yaml.Event, depth: int) -> Marked:
        if depth > MAX_DEPTH:
            raise _refused(event, f"more than {MAX_DEPTH} levels are nested here: flatten them")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if getattr(event, "tag", None) is not None:
            raise _refused(event, "a tag stands here: remove it, or quote a text that begins with !")
        node = self._value(event, depth)
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node
        return node

    def _value(self, event: yaml.Event, depth: int) -> Marked:
        match event:
            case yaml.SequenceStartEvent():
                return Items(list(self._list(depth)), _mark(event))
            case yaml.MappingStartEvent():
                return self._mapping(event, depth)
            case _:
                assert isinstance(event, yaml.ScalarEvent)
                return self._scalar(event)

    def _alias(self, event: yaml.AliasEvent) -> Marked:
        name = event.anchor or ""
        if name not in self._anchors:
            raise _refused(event, "this alias stands for nothing: define its anchor before, or quote the text")
        return self._anchors[name]

    def _list(self, depth: int) -> Iterator[Marked]:
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._node(event, depth + 1)

    def _mapping(self, start: yaml.Event, depth: int) -> Entries:
        values: dict[str, Marked] = {}
        keys: dict[str, Mark] = {}
        merged: Sequence[Entries] | None = None
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, depth)
            if key.source == _MERGE:
                if merged is not None:
                    raise _refused(event, "a merge key stands in this mapping already: write <<: [*one, *other]")
                merged = self._merged(next(self._events), depth)
                continue
            if key.value in keys:
                raise _refused(event, f"this key stands on line {keys[key.value].line} already: keep one")
            keys[key.value] = _mark(event)
            values[key.value] = self._node(next(self._events), depth + 1)
        # What stands here itself comes first, then what was merged first.
        for other in merged or ():
            values = {**other.values, **values}
            keys = {**other.keys, **keys}
        return Entries(values, keys, _mark(start))

    def _key(self, event: yaml.Event, depth: int) -> Scalar:
        key = self._node(event, depth + 1)
        if not isinstance(key, Scalar):
            raise _refused(event, "a key is a list or a mapping: write a plain name")
        return key

    def _merged(self, event: yaml.Event, depth: int) -> Sequence[Entries]:
        """The mappings that a merge key names."""
        node = self._node(event, depth + 1)
        found = node.values if isinstance(node, Items) else [node]
        mappings = [one for one in found if isinstance(one, Entries)]
        if len(mappings) < len(found):
            raise _refused(event, "only mappings can be merged: write <<: *name, or quote the key")
        return mappings

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        assert event.start_mark is not None
        assert event.end_mark is not None
        source = self._text[event.start_mark.index : event.end_mark.index]
        is_null = event.implicit[0] and event.value in {"", "null", "~"}
        return Scalar("" if is_null else event.value, _mark(event), source, is_null)


def _mark(event: yaml.Event) -> Mark:
    assert event.start_mark is not None
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _refused(event: yaml.Event, text: str) -> Refused:
    mark = _mark(event)
    return Refused(mark.line, mark.column, text)


def _dark(source: str) -> Iterator[tuple[int, int]]:
    """From where to where each character that is no white space is spelled in *source*."""
    match source[:1]:
        case '"':
            for found in _ESCAPE.finditer(source, 1, len(source) - 1):
                is_white = found[1] in _NAMED_WHITE if found[1] else found[0].isspace()
                if not is_white:
                    yield found.span()
        case "'":
            for found in re.finditer(r"''|\S", source[1:-1]):
                yield found.start() + 1, found.end() + 1
        case "|" | ">":
            header = source.find("\n") + 1
            for found in re.finditer(r"\S", source[header:]):
                yield found.start() + header, found.end() + header
        case _:
            for found in re.finditer(r"\S", source):
                yield found.span()
