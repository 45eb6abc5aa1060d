"""A YAML file as it was written: mappings, lists and texts, with nothing read into the texts.

The field that a text ends up in decides how it is read (`schema.Reader`), so `on`, `no`, `22:22`, `010` and `1.10` stay
what they are. Refused, with line and column: duplicate keys, anchors, aliases, tags, a second document, control
characters and nesting beyond `MAX_DEPTH`. No message repeats the file's text, for it may hold secrets.

Cost: one pass over the parser's events; memory in proportion to the file, since nothing in it can refer to itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from otel_latency.config.tree import Text, Tree
from otel_latency.errors import ConfigError

MAX_DEPTH = 20
LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(text: str, place: str) -> Tree:
    """The one document in *text*; None when it holds comments only. Raises ConfigError, which *place* begins."""
    try:
        refuse_control_characters(text)
        return _document(yaml.parse(text, Loader=LOADER))
    except Refused as error:
        refused = error
    except yaml.MarkedYAMLError as error:
        refused = in_our_words(error, text)
    raise ConfigError(f"{place}:{refused.line}:{refused.column}: {refused.text}")


class Refused(Exception):
    """Where, with line and column from 1, and what: fact and cure."""

    def __init__(self, line: int, column: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.column = column
        self.text = text


def _refused(event: yaml.Event, text: str) -> Refused:
    assert event.start_mark is not None
    return Refused(_line(event), event.start_mark.column + 1, text)


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def refuse_control_characters(text: str) -> None:
    if found := _CONTROL_CHARACTER.search(text):
        before = text[: found.start()]
        column = found.start() - before.rfind("\n")
        raise Refused(before.count("\n") + 1, column, "a control character stands here: remove it")


def _document(events: Iterator[yaml.Event]) -> Tree:
    tree: Tree = None
    documents = 0
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            tree = _node(event, events, 0)
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refused(event, "a second document starts here: keep one in the file")
    return tree


def _node(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Tree:
    """The value that begins with *event*; takes from *events* what belongs to it."""
    if depth > MAX_DEPTH:
        raise _refused(event, f"more than {MAX_DEPTH} levels are nested here: flatten them")
    match event:
        case yaml.SequenceStartEvent():
            _refuse_references(event, event.tag)
            return _list(events, depth)
        case yaml.MappingStartEvent():
            _refuse_references(event, event.tag)
            return _mapping(events, depth)
        case yaml.ScalarEvent():
            _refuse_references(event, event.tag)
            is_plain = event.implicit[0]
            is_null = is_plain and event.value in {"", "null", "~"}
            return None if is_null else Text(event.value)
        case _:
            raise _refused(event, "an alias stands here: repeat the value, or quote a text that begins with *")


def _refuse_references(event: yaml.NodeEvent, tag: str | None) -> None:
    if event.anchor is not None:
        raise _refused(event, "an anchor stands here: remove it, or quote a text that begins with &")
    if tag is not None:
        raise _refused(event, "a tag stands here: remove it, or quote a text that begins with !")


def _list(events: Iterator[yaml.Event], depth: int) -> list[Tree]:
    items: list[Tree] = []
    for event in events:
        if isinstance(event, yaml.SequenceEndEvent):
            break
        items.append(_node(event, events, depth + 1))
    return items


def _mapping(events: Iterator[yaml.Event], depth: int) -> dict[str, Tree]:
    values: dict[str, Tree] = {}
    lines: dict[str, int] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        key = _key(event)
        if key in values:
            raise _refused(event, f"this key stands on line {lines[key]} already: keep one")
        lines[key] = _line(event)
        values[key] = _node(next(events), events, depth + 1)
    return values


def _key(event: yaml.Event) -> str:
    if not isinstance(event, yaml.ScalarEvent):
        raise _refused(event, "a key is a list, a mapping or an alias: write a plain name")
    _refuse_references(event, event.tag)
    return event.value


def in_our_words(error: yaml.MarkedYAMLError, text: str) -> Refused:
    """What the parser means: its own words differ between its C and its Python form, and may quote the file."""
    mark = error.problem_mark
    assert mark is not None
    problem, context = error.problem or "", error.context or ""
    if "mapping values are not allowed" in problem:
        cure = "a colon is out of place: put the text in quotes, or line the keys up"
    elif "cannot start any token" in problem:
        cure = _stray_character(text.splitlines()[mark.line][mark.column])
    elif "quoted scalar" in context:
        mark = error.context_mark or mark
        cure = "this quoted text has no end or a wrong escape: close it, or use single quotes"
    elif "flow" in context:
        cure = "a bracket or a comma is missing before this: close what [ or { has opened"
    else:
        cure = "this is not YAML: check the indentation and the characters just before it"
    return Refused(mark.line + 1, mark.column + 1, cure)


def _stray_character(character: str) -> str:
    if character == "\t":
        return "a tab stands where spaces belong: indent with spaces"
    return "no value can begin with this character: put the value in quotes"
