"""Reads the fields of a YAML file strictly: what is wrong becomes a fault with its place, and reading goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TypeVar

from otel_latency.errors import ConfigError, ExpressionError
from otel_latency.rules.marked import Entries, Items, Mark, Marked, Scalar
from otel_latency.rules.promql.durations import parse_duration

T = TypeVar("T")


class Strict:
    """Collects the `faults` of one file; `where` says which part of it is being read."""

    def __init__(self, place: str) -> None:
        self.faults: list[ConfigError] = []
        self.where = ""
        self._place = place

    def refuse(self, mark: Mark, fact: str) -> None:
        where = f"{self.where}: " if self.where else ""
        self.faults.append(ConfigError(f"{self._place}:{mark.line}:{mark.column}: {where}{fact}"))

    def entries(self, node: Marked, what: str, fields: Sequence[str]) -> Entries | None:
        """*node* as a mapping that has no other than these fields."""
        if not isinstance(node, Entries):
            self.refuse(node.mark, f"{what} holds no fields: write {fields[0]}: and so on")
            return None
        for key, mark in node.keys.items():
            if key not in fields:
                self.refuse(mark, f"unknown field {key!r}: {_suggestion(key, fields)}")
        return node

    def items(self, owner: Entries, field: str) -> Sequence[Marked]:
        node = owner.values.get(field)
        if node is None or is_null(node):
            return ()
        if not isinstance(node, Items):
            self.refuse(node.mark, f"{field} holds no list: begin each entry with -")
            return ()
        return node.values

    def mapping(self, owner: Entries, field: str) -> Entries | None:
        """The names and values under *field*."""
        node = owner.values.get(field)
        if node is None or is_null(node):
            return None
        if not isinstance(node, Entries):
            self.refuse(node.mark, f"{field} holds no names: write name: value under it")
            return None
        return node

    def texts(self, owner: Entries, field: str) -> dict[str, str]:
        """The names and texts under *field*."""
        node = self.mapping(owner, field)
        found = node.values.items() if node else ()
        return {name: self.text(value, name) for name, value in found}

    def text(self, node: Marked, name: str) -> str:
        if isinstance(node, Scalar):
            return node.value
        self.refuse(node.mark, f"{name} holds more than one value: write a text")
        return ""

    def scalar(self, owner: Entries, field: str) -> Scalar | None:
        """The one value of *field*; None also when it is null."""
        node = owner.values.get(field)
        if node is None or is_null(node):
            return None
        if isinstance(node, Scalar):
            return node
        self.refuse(node.mark, f"{field} holds more than one value: write a text")
        return None

    def duration_ms(self, owner: Entries, field: str, default_ms: int = 0) -> int:
        node = self.scalar(owner, field)
        found = None if node is None else self.parsed(node, parse_duration, f"{field}: ", is_whole=True)
        return default_ms if found is None else found

    def parsed(self, node: Scalar, read: Callable[[str], T], prefix: str = "", *, is_whole: bool = False) -> T | None:
        """What *read* makes of the text; its refusal is told where the culprit stands, or the whole text does."""
        try:
            return read(node.value)
        except ExpressionError as error:
            self.refuse(node.mark if is_whole else node.place(error.at), prefix + error.fact)
            return None


def text_of(node: Marked, field: str) -> str:
    """The text of *field*; empty when there is none."""
    found = node.values.get(field) if isinstance(node, Entries) else None
    return found.value if isinstance(found, Scalar) else ""


def mark_of(owner: Entries, field: str) -> Mark:
    """Where the value of *field* stands, or the mapping when there is none."""
    return owner.values[field].mark if field in owner.values else owner.mark


def is_null(node: Marked) -> bool:
    return isinstance(node, Scalar) and node.is_null


def _suggestion(key: str, fields: Sequence[str]) -> str:
    close = get_close_matches(key, fields, 1)
    return f"did you mean {close[0]}?" if close else f"the fields are {', '.join(fields)}"
