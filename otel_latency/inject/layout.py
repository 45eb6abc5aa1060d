"""Insertions into YAML text, at places that its parsed nodes tell: every character that was there stays as it is.

Block style gets lines in the indentation of their neighbours, flow style (and so JSON) gets JSON. What a text says only
by reference (an alias, a merge key) has no place of its own, and is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

NULL = "tag:yaml.org,2002:null"
MERGE = "tag:yaml.org,2002:merge"
Value = str | int | bool | list["Value"] | dict[str, "Value"]


class Alias(Node):
    """Stands where the text has an alias; the parser's own tree has what it refers to there, places and all."""


class Loader(yaml.SafeLoader):  # the C form's places differ in details
    """Composes nodes that are all where the text has them."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if not isinstance(event, yaml.AliasEvent):
            return node
        start, end = event.start_mark, event.end_mark
        assert isinstance(start, yaml.Mark)
        assert isinstance(end, yaml.Mark)
        return Alias("", "", start, end)


class Unfit(ValueError):
    """Why nothing can be done at *node*: fact and cure."""

    def __init__(self, node: Node, text: str) -> None:
        super().__init__(text)
        self.node = node


class Edit(NamedTuple):
    """Characters from *start* to *end* become *text*. One that completes a value comes before what follows it there."""

    start: int
    end: int
    text: str
    completes: bool = False


def apply(text: str, edits: Iterable[Edit]) -> str:
    """*text* after all *edits*; those at one place come in the order they were given."""
    parts, done = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, not edit.completes)):
        parts += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*parts, text[done:]])


def entry(mapping: Node, name: str) -> Node | None:
    """The value of the key *name*; None when there is none, or null. Raises Unfit for what is not written here."""
    if not isinstance(mapping, MappingNode):
        raise Unfit(mapping, "a mapping belongs here: compare with the Kubernetes reference")
    if any(key.tag == MERGE for key, _ in mapping.value):
        raise Unfit(mapping, "a merge key (<<) says what is in here: write its entries out")
    found: list[tuple[Node, Node]] = [pair for pair in mapping.value if pair[0].value == name]
    if len(found) > 1:
        raise Unfit(found[1][0], f"{name} stands here for a second time: keep one")
    if not found:
        return None
    value = found[0][1]
    if isinstance(value, Alias):
        raise Unfit(value, f"{name} is an alias of what stands elsewhere: write it out")
    return None if value.tag == NULL else value


def items(sequence: Node | None) -> list[Node]:
    """What is in a list; nothing where there is none. Raises Unfit for an alias among them."""
    if sequence is None:
        return []
    if not isinstance(sequence, SequenceNode):
        raise Unfit(sequence, "a list belongs here: compare with the Kubernetes reference")
    for one in sequence.value:
        if isinstance(one, Alias):
            raise Unfit(one, "an entry of this list is an alias of what stands elsewhere: write it out")
    return list(sequence.value)


def scalar(mapping: Node, *path: str) -> str:
    """The text at the end of *path*; empty when there is none."""
    node: Node | None = mapping
    for name in path:
        node = entry(node, name) if node is not None else None
    return node.value if isinstance(node, ScalarNode) else ""


class Layout:
    """Makes edits for one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"

    def extend(self, mapping: Node, name: str, values: list[Value], *, first: bool = False) -> Edit:
        """Put *values* into the list under the key *name* of *mapping*: at its end, or first; it need not exist."""
        assert isinstance(mapping, MappingNode)
        found = [(key, value) for key, value in mapping.value if key.value == name]
        if not found:
            return self._add_entry(mapping, name, values)
        key, sequence = found[0]
        if sequence.tag == NULL:
            return self._in_place_of_null(key, sequence, _json(values))
        assert isinstance(sequence, SequenceNode)
        if sequence.flow_style:
            return self._into_flow(sequence, _json(values)[1:-1], sequence.value, first=first)
        # The node may begin with a tag or an anchor, beside the key; the first dash is below them.
        dash = re.search(r"^( *)-\s", self._text[key.end_mark.index : sequence.value[0].start_mark.index], re.MULTILINE)
        assert dash is not None
        block = self._block(values, len(dash[1]))
        return self._lines(key.end_mark.index if first else _end_of(sequence), block)

    def _add_entry(self, mapping: MappingNode, name: str, values: list[Value]) -> Edit:
        if mapping.flow_style:
            last = [value for _, value in mapping.value]
            return self._into_flow(mapping, f"{_json(name)}: {_json(values)}", last, first=False)
        first_key = mapping.value[0][0].start_mark
        if self._text[: first_key.index].endswith("? "):
            raise Unfit(mapping.value[0][0], "a key is written with a question mark: write it without")
        return self._lines(_end_of(mapping), self._block({name: values}, first_key.column))

    def _in_place_of_null(self, key: Node, null: Node, text: str) -> Edit:
        """Null is written in many ways: not at all, right behind the colon; as a word; as a block with a tag."""
        start = null.start_mark.index
        written = self._text[start : null.end_mark.index].rstrip("\r\n")
        space = " " if start == key.end_mark.index + 1 else ""
        return Edit(start, start + len(written), space + text, completes=True)

    @staticmethod
    def _into_flow(collection: Node, text: str, members: list[Node], *, first: bool) -> Edit:
        """After the last of *members*, and before a comma that may follow it; or right after the bracket."""
        if first or not members:
            place = collection.start_mark.index + 1
            return Edit(place, place, f"{text}, " if members else text)
        place = _end_of(members[-1])
        return Edit(place, place, f", {text}")

    def _lines(self, after: int, block: str) -> Edit:
        """*block* on lines of its own, below the line that *after* is on."""
        if after and self._text[after - 1] == "\n":  # a block scalar ends where the next line begins
            return Edit(after, after, block)
        newline = self._text.find("\n", after)
        if newline < 0:
            end = len(self._text)
            return Edit(end, end, self._newline + block.removesuffix(self._newline))
        return Edit(newline + 1, newline + 1, block)

    def _block(self, value: Value, column: int) -> str:
        dumped = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000)
        return "".join(f"{' ' * column}{line}{self._newline}" for line in dumped.splitlines())


class _Dumper(yaml.SafeDumper):
    """Writes equal values out each time: an anchor would surprise the reader."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _json(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _end_of(node: Node) -> int:
    """Behind the last character of *node*; a block ends with what is last in it, not with the comments below."""
    if isinstance(node, CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
