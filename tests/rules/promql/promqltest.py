"""Runs Prometheus' own test scripts (promql/promqltest) against our evaluator, as far as they deal in floats.

A script loads series and evaluates expressions at a moment or over a range of them. Each evaluation comes out as
passed, failed with what differs, or refused with the reason: it reads native histograms, or lies outside the subset.
Warnings and infos are not compared: we have none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otel_latency.errors import EvaluationError, ExpressionError
from otel_latency.records import Labels
from otel_latency.rules.promql.durations import parse_duration
from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.nodes import Matcher
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.strings import unquote
from otel_latency.rules.promql.values import Semantics, Value
from otel_latency.rules.series import Series, SeriesTable

_LOAD = re.compile(r"load(_with_nhcb)?\s+(\S+)")
_EVAL = re.compile(
    r"eval(?:_(?P<mode>fail|ordered|warn|info))?\s+"
    r"(?:instant\s+(?:at\s+(?P<at>\S+))?|range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)\s+step\s+(?P<step>\S+))"
    r"\s+(?P<expr>.+)"
)
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`'
_METRIC = re.compile(rf"(?P<name>{_NAME})?\s*(?:\{{(?P<labels>(?:{_QUOTED}|[^{{}}\"'`])*)\}})?\s*(?P<rest>.*)")
_LABEL = re.compile(rf"\s*(?:(?P<name>{_NAME}|{_QUOTED})\s*=\s*)?(?P<value>{_QUOTED})\s*,?")
_RUN = re.compile(r"(?P<first>.+?)(?:(?P<sign>[+-])(?P<step>[^+-]+?(?:[eE][+-]?\d+)?))?x(?P<count>\d+)")
_NUMBER = re.compile(r"[+-]?(?:inf|nan|0x[0-9a-f]+|[0-9.]+(?:e[+-]?[0-9]+)?)", re.IGNORECASE)
_HISTOGRAM = "{{"
_EPSILON = 1e-6

STALE = "stale"
Point = float | str | None
"""A value, a stale marker, or nothing."""

NATIVE = "reads native histograms"
RANGE = "a range vector is no result here"


@dataclass
class Evaluation:
    """One `eval` of a script: where it stands, what it asks, and what it expects; `message` is a pattern."""

    place: str
    expr: str
    steps: Sequence[int]
    is_range: bool
    lines: list[str]
    fails: bool = False
    message: str = ""
    is_ordered: bool = False
    text: str | None = None
    is_matrix: bool = False


@dataclass
class Outcome:
    """What came of an evaluation: `refused` and `difference` are empty when it passed."""

    evaluation: Evaluation
    refused: str = ""
    difference: str = ""


@dataclass
class Storage:
    """The float series of a script, and the label sets of those that hold native histograms."""

    semantics: Semantics = 3
    table: SeriesTable = field(init=False)
    native: SeriesTable = field(init=False)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.table = SeriesTable(lambda _: 10**15, semantics=self.semantics)
        self.native = SeriesTable(lambda _: 10**15, semantics=self.semantics)

    def load(self, labels: Labels, rest: str, step_ms: int, *, with_native: bool) -> None:
        if with_native and (name := dict(labels).get("__name__", "")).endswith("_bucket"):
            base = {**dict(labels), "__name__": name.removesuffix("_bucket")}
            base.pop("le", None)
            self.native.append(tuple(sorted(base.items())), 0, 1.0)
        if _HISTOGRAM in rest:
            self.native.append(labels, 0, 1.0)
            return
        for place, point in enumerate(points(rest)):
            if point == STALE:
                self.table.end(labels, place * step_ms)
            elif isinstance(point, float):
                self.table.append(labels, place * step_ms, point)


def run(path: Path, semantics: Semantics = 3) -> Iterator[Outcome]:
    """The outcome of each evaluation of the script at *path*, in order."""
    storage = Storage(semantics)
    for place, block in _blocks(path.read_text()):
        head = block[0]
        if head == "clear":
            storage.clear()
        elif load := _LOAD.fullmatch(head):
            for labels, rest in dict(map(metric, block[1:])).items():  # of lines with one label set the last counts
                storage.load(labels, rest, parse_duration(load[2]), with_native=bool(load[1]))
        elif match := _EVAL.fullmatch(head):
            yield _outcome(_evaluation(f"{path.name}:{place}", match, block[1:]), storage)
        else:
            raise ValueError(f"{path.name}:{place}: not understood: {head}")


def _blocks(script: str) -> Iterator[tuple[int, list[str]]]:
    """Each command with the lines that belong to it; an empty line or a comment ends it."""
    block: list[str] = []
    start = 0
    for number, raw in enumerate([*script.splitlines(), ""], 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            if block:
                yield start, block
            block = []
        elif block and (line == "clear" or _EVAL.fullmatch(line) or _LOAD.fullmatch(line)):
            yield start, block
            start, block = number, [line]
        else:
            start = start if block else number
            block.append(line)


def _evaluation(place: str, match: re.Match[str], lines: list[str]) -> Evaluation:
    if match["start"] is None:
        steps: Sequence[int] = (parse_time(match["at"] or "0"),)
    else:
        steps = range(parse_time(match["start"]), parse_time(match["end"]) + 1, parse_time(match["step"]))
    evaluation = Evaluation(place, match["expr"], steps, match["start"] is not None, [])
    evaluation.fails = match["mode"] == "fail"
    evaluation.is_ordered = match["mode"] == "ordered"
    for line in lines:
        if line.startswith("expect") and not _expectation(evaluation, line):
            raise ValueError(f"{place}: not understood: {line}")
        if not line.startswith("expect"):
            evaluation.lines.append(line)
    return evaluation


def _expectation(evaluation: Evaluation, line: str) -> bool:
    """Take in a line that begins with `expect`; answers whether it is known."""
    if match := re.fullmatch(r"(?:expect\s+fail\s+regex:|expected_fail_regexp)\s*(.*)", line):
        evaluation.fails, evaluation.message = True, match[1]
    elif match := re.fullmatch(r"(?:expect\s+fail|expected_fail_message)(?:\s+(?:msg:\s*)?(.*))?", line):
        evaluation.fails, evaluation.message = True, re.escape(match[1] or "")
    elif re.fullmatch(r"expect\s+ordered", line):
        evaluation.is_ordered = True
    elif match := re.fullmatch(r"expect\s+string\s+(.*)", line):
        evaluation.text = unquote(match[1])
    elif re.match(r"expect\s+range\s+vector", line):
        evaluation.is_matrix = True
    else:
        return re.match(r"expect\s+(no_)?(warn|info)", line) is not None
    return True


def parse_time(text: str) -> int:
    """Milliseconds; a bare number is seconds."""
    return round(float(text) * 1000) if re.fullmatch(r"-?[\d.]+", text) else parse_duration(text)


def metric(line: str) -> tuple[Labels, str]:
    """The label set at the start of *line*, and what follows it."""
    match = _METRIC.fullmatch(line)
    assert match is not None, line
    labels = {"__name__": match["name"]} if match["name"] else {}
    for label in _LABEL.finditer(match["labels"] or ""):
        name = label["name"] or "__name__"
        labels[unquote(name) if name[0] in "\"'`" else name] = unquote(label["value"])
    return tuple(sorted((name, value) for name, value in labels.items() if value)), match["rest"]


def points(text: str) -> Iterator[Point]:
    """The points of a series in the notation `1 2 _ stale 0+10x5`."""
    for word in text.split():
        if word == STALE or word == "_":
            yield STALE if word == STALE else None
        elif _NUMBER.fullmatch(word) and "0x" not in word.lower():
            yield float(word)
        else:
            yield from _run(word)


def _run(word: str) -> Iterator[Point]:
    match = _RUN.fullmatch(word)
    assert match is not None, word
    count = int(match["count"])
    if match["first"] == "_":
        yield from [None] * count
    elif match["first"] == STALE:
        yield from [STALE] * (count + 1)
    else:
        first = float(match["first"])
        step = float(match["step"] or 0) * (-1 if match["sign"] == "-" else 1)
        value = first
        for _ in range(count + 1):
            yield value
            value += step


def _outcome(evaluation: Evaluation, storage: Storage) -> Outcome:
    if any(_HISTOGRAM in line for line in evaluation.lines):
        return Outcome(evaluation, refused=NATIVE)
    if evaluation.is_matrix:
        return Outcome(evaluation, refused=RANGE)
    try:
        node = parse(evaluation.expr)
    except ExpressionError as error:
        is_wrong_anyway = evaluation.fails and "not supported" not in error.fact
        return Outcome(evaluation, refused="" if is_wrong_anyway else error.fact)
    reads: list[str] = []

    def select(matchers: Sequence[Matcher]) -> Sequence[Series]:
        if storage.native.select(matchers):
            reads.append(NATIVE)
        return storage.table.select(matchers)

    try:
        results = [  # the engine of Prometheus' own tests has this flag on
            evaluate(node, select, at_ms, semantics=storage.semantics, delays_name_removal=storage.semantics == 3)
            for at_ms in evaluation.steps
        ]
    except EvaluationError as error:
        difference = _difference_of_failure(evaluation, str(error))
    else:
        difference = "does not fail" if evaluation.fails else _difference(evaluation, results)
    return Outcome(evaluation, refused=NATIVE) if reads else Outcome(evaluation, difference=difference)


def _difference_of_failure(evaluation: Evaluation, message: str) -> str:
    if not evaluation.fails:
        return f"fails: {message}"
    if not evaluation.message or re.fullmatch(evaluation.message, message):
        return ""
    return f"fails with {message!r} instead of {evaluation.message!r}"


def _difference(evaluation: Evaluation, results: list[Value]) -> str:
    if evaluation.text is not None:
        return "" if results == [evaluation.text] else f"is {results}"
    if not evaluation.is_range and isinstance(results[0], float):
        expected_scalar = float(evaluation.lines[0])
        return "" if almost_equal(expected_scalar, results[0]) else f"is {results[0]}"
    expected = {labels: list(points(rest)) for labels, rest in map(metric, evaluation.lines)}
    actual: dict[Labels, list[Point]] = {}
    for place, result in enumerate(results):
        assert not isinstance(result, str)
        elements = [((), result)] if isinstance(result, float) else result
        for labels, value in elements:
            actual.setdefault(labels, [None] * len(results))[place] = value
    if expected.keys() != actual.keys():
        return f"has {sorted(actual)} instead of {sorted(expected)}"
    if evaluation.is_ordered and list(expected) != list(actual):
        return f"comes in the order {list(actual)}"
    for labels, values in expected.items():
        padded = values + [None] * (len(results) - len(values))
        if len(padded) != len(results) or not all(map(almost_equal, padded, actual[labels])):
            return f"{labels}: {actual[labels]} instead of {padded}"
    return ""


def almost_equal(expected: Point, actual: Point, epsilon: float = _EPSILON) -> bool:
    """Whether two points are both nothing, both NaN, or differ by no more than *epsilon* of their size."""
    if not (isinstance(expected, float) and isinstance(actual, float)):
        return expected is actual
    if math.isnan(expected) or math.isnan(actual) or expected == actual:
        return expected == actual or (math.isnan(expected) and math.isnan(actual))
    size = abs(expected) + abs(actual)
    if not expected or not actual or size < 2.3e-308:
        return abs(expected - actual) < epsilon * 2.3e-308
    return abs(expected - actual) / min(size, 1.79e308) < epsilon
