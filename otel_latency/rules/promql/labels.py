"""Label sets and what is made of them: without the metric's name, by or without some labels, with one set anew.

A label set is a tuple of pairs sorted by name; empty values do not occur. The same series come up at each evaluation,
so what was made of them is remembered.

Cost of a remembered one: a dictionary look-up. Memory: at most `_LIMIT` sets per kind of grouping.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache

from otel_latency.errors import EvaluationError
from otel_latency.records import Labels
from otel_latency.rules.promql.nodes import METRIC_NAME
from otel_latency.rules.promql.strings import quote
from otel_latency.rules.promql.values import Element, Vector

_LIMIT = 20_000


class Memo(dict[Labels, Labels]):
    """Label sets and what *derive* makes of them; equal results are one object. When full it starts anew."""

    __slots__ = ("_derive", "_shared")

    def __init__(self, derive: Callable[[Labels], Labels]) -> None:
        super().__init__()
        self._derive = derive
        self._shared: dict[Labels, Labels] = {}

    def __missing__(self, labels: Labels) -> Labels:
        if len(self) >= _LIMIT:
            self.clear()
            self._shared.clear()
        derived = self._derive(labels)
        derived = self[labels] = self._shared.setdefault(derived, derived)
        return derived


@lru_cache(maxsize=256)
def grouping(names: tuple[str, ...], *, is_without: bool) -> Memo:
    """Reduces label sets to the labels of *names*, or to those that are neither in *names* nor the metric's name."""
    chosen = frozenset((*names, METRIC_NAME)) if is_without else frozenset(names)
    return Memo(lambda labels: tuple([pair for pair in labels if (pair[0] in chosen) is not is_without]))


WITHOUT_NAME = grouping((), is_without=True)


def get(labels: Labels, name: str) -> str:
    """The value of the label *name*, empty when there is none."""
    for label, value in labels:
        if label == name:
            return value
    return ""


def canonical(values: Mapping[str, str]) -> Labels:
    """*values* as a label set: in order, and an empty label is none."""
    return tuple(sorted(pair for pair in values.items() if pair[1]))


def replaced(labels: Labels, changes: Iterable[tuple[str, str]]) -> Labels:
    """*labels* with those of *changes* set; an empty value removes."""
    values = dict(labels)
    values.update(changes)
    return canonical(values)


def kept(labels: Labels, names: Collection[str]) -> Labels:
    return tuple([pair for pair in labels if pair[0] in names])


def dropped(labels: Labels, names: Collection[str]) -> Labels:
    return tuple([pair for pair in labels if pair[0] not in names])


def show(labels: Labels) -> str:
    """As Prometheus' messages show a label set."""
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in labels) + "}"


def unique(vector: Vector) -> Vector:
    """*vector*, or EvaluationError when two of its elements have the same labels."""
    if len({element[0] for element in vector}) < len(vector):
        raise EvaluationError("vector cannot contain metrics with the same labelset")
    return vector


class DroppedName(str):
    """A metric's name that goes only when the evaluation is over; until then it tells elements apart."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DroppedName) and str.__eq__(self, other)

    def __hash__(self) -> int:
        return hash((DroppedName, str(self)))


WITH_DROPPED_NAME = Memo(
    lambda labels: tuple([(name, DroppedName(value) if name == METRIC_NAME else value) for name, value in labels])
)


def settled(vector: Vector) -> Vector:
    """*vector* without the names that were to go; EvaluationError when that makes two elements the same."""
    if not any(isinstance(get(labels, METRIC_NAME), DroppedName) for labels, _ in vector):
        return vector
    return unique(
        [
            Element(WITHOUT_NAME[labels], value) if isinstance(get(labels, METRIC_NAME), DroppedName) else element
            for element in vector
            for labels, value in (element,)
        ]
    )
