"""Random expressions over random series: our evaluator against Debian's promtool (Prometheus 2.42, semantics 2).

    python -m tests.fuzz.promql 10000 [SEED]

promtool is asked by a file of tests with a wrong expectation each, and what it got stands in its complaint. Its series
come in no fixed order, and ours could come in any: a difference that goes away in another order is counted, not shown.
So is which of several equal values `topk` takes, and which of two faults in one expression is met first.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from otel_latency.errors import EvaluationError
from otel_latency.records import Labels
from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.strings import unquote
from otel_latency.rules.series import SeriesTable

BATCH = 300
ORDERS = 1000
_COMPLAINT = re.compile(r'    expr: ("(?:[^"\\]|\\.)*"), time: \S+?,(?: err: (.*))?')
_ELEMENT = re.compile(r'\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\} (\S+?)(?:, |$)')
_LABEL = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')

MATCHERS = ('{a="1"}', '{a!="2"}', '{b=~"x|y"}', '{b=""}', '{a=~"[12]",b!~"y.*"}', '{a="9"}')
GROUPINGS = ("by (a)", "by (b)", "by (a, b)", "without (a)", "without (b, le)", "without ()", "by (__name__)")
AGGREGATIONS = (
    *("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum", "avg"),
    *("topk", "bottomk", "quantile", "count_values"),
)
OF_RANGE = (
    *("rate", "increase", "delta", "rate", "increase", "delta", "irate", "idelta", "resets", "changes", "deriv"),
    *("avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "last_over_time"),
    *("present_over_time", "stddev_over_time", "stdvar_over_time", "quantile_over_time", "predict_linear"),
)
OF_VECTOR = (
    *("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "round", "deg", "rad", "sin", "cos", "tan"),
    *("asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sort", "sort_desc", "timestamp"),
    *("clamp", "clamp_min", "clamp_max", "round to", "date", "date", "minus", "vector"),
)
INEXACT = (  # the last digit is up to the library; it must neither grow nor decide
    *("exp", "ln", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("asinh", "acosh", "atanh"),
)
DATES = ("year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute")
_WRONG = [{"labels": 'wrong{answer="always"}', "value": 4711}]

Answer = dict[Labels, float] | str
"""What an expression came to, or the message of why not."""


@dataclass(frozen=True)
class Question:
    expr: str
    at_ms: int


@dataclass(frozen=True)
class World:
    """Some series, one sample each `step_ms`, in promtool's notation, and what is asked about them."""

    step_ms: int
    series: dict[Labels, list[str]]
    questions: list[Question]


class Generator:
    """Draws expressions that the parser takes, each over the metrics of `world`."""

    def __init__(self, source: random.Random) -> None:
        self.source = source

    def pick(self, *choices: str) -> str:
        return self.source.choice(choices)

    def world(self, count: int) -> World:
        step_ms = self.source.choice((250, 1000))
        length = self.source.randrange(1, 61)
        labels = [(("__name__", name), ("a", a), *b) for name in ("g", "i") for a in "123" for b in ((), (("b", "x"),))]
        labels += [(("__name__", "c_total"), ("a", a), ("b", b)) for a in "12" for b in "xy"]
        buckets = [(("__name__", "h_bucket"), ("a", a), ("le", le)) for a in "12" for le in ("0.1", "0.5", "1", "+Inf")]
        series = {each: self.values(each[0][1], length) for each in labels + buckets}
        if self.source.random() < 0.3:
            del series[self.source.choice(list(series))]
        return World(step_ms, series, [self.question(step_ms, length) for _ in range(count)])

    def question(self, step_ms: int, length: int) -> Question:
        return Question(self.vector(self.source.randrange(1, 4)), self.moment(step_ms, length))

    def moment(self, step_ms: int, length: int) -> int:
        last = step_ms * (length - 1)
        kind = self.source.random()
        if kind < 0.6:
            return self.source.randrange(length + 3) * step_ms
        if kind < 0.9:
            return self.source.randrange(last + 2000)
        return last + 300_000 + self.source.choice((-step_ms, -1, 0, 1))

    def values(self, name: str, length: int) -> list[str]:
        words, value = [], 0.0
        gaps, odd = self.source.choice((0, 0.1, 0.4)), self.source.choice((0, 0, 0.05))
        for _ in range(length):
            if name in ("g", "i"):
                value = self.source.randrange(-40, 400) / (8 if name == "g" else 40)
                value = float(round(value)) if name == "i" else value
            else:
                value = self.source.choice((0.0, value / 4)) if self.source.random() < 0.07 else value
                value += self.source.randrange(9)
            word = self.pick("NaN", "Inf", "-Inf") if self.source.random() < odd else f"{value:g}"
            if self.source.random() < gaps:
                word = self.pick("_", "_", "stale")
            words.append(word)
        return words

    def duration(self) -> str:
        return self.pick("250ms", "500ms", "1s", "1500ms", "2s", "5s", "10s", "30s", "1m")

    def selector(self, *names: str) -> str:
        name = self.pick(*(names or ("g", "i", "c_total", "h_bucket")))
        matchers = self.pick("", "", "", "", *MATCHERS)
        if self.source.random() < 0.04:
            return self.pick('{__name__=~"g|i"}', '{__name__=~"g|i",a="1"}', '{a="1",b="x"}')
        return name + matchers

    def offset(self) -> str:
        return f" offset {self.pick('', '-')}{self.duration()}" if self.source.random() < 0.15 else ""

    def range(self, depth: int) -> str:
        if depth > 0 and self.source.random() < 0.25:
            step = self.pick("", "250ms", "1s", "700ms")
            return f"({self.vector(depth - 1)})[{self.pick('1s', '3s', '10s', '3100ms')}:{step}]{self.offset()}"
        return f"{self.selector()}[{self.duration()}]{self.offset()}"

    def number(self) -> str:
        return self.pick("0", "1", "2", "-1", "0.5", "1.5", "3", "10", "100", "-0.25", "NaN", "Inf", "-Inf", "1e3")

    def scalar(self, depth: int) -> str:
        kind = self.source.random()
        if depth == 0 or kind < 0.7:
            return self.number()
        if kind < 0.8:
            return self.pick("time()", "pi()")
        if kind < 0.9:
            return f"scalar({self.vector(depth - 1)})"
        operator = self.pick("> bool", "== bool", "+", "-", "*", "/", "%", "atan2")
        return f"({self.scalar(depth - 1)} {operator} {self.scalar(depth - 1)})"

    def vector(self, depth: int) -> str:
        if depth == 0:
            return self.selector() + self.offset()
        makers = (
            (self.selector, 1),
            (self.of_range, 5),
            (self.aggregation, 4),
            (self.quantile, 1),
            (self.function, 4),
            (self.with_scalar, 3),
            (self.of_vectors, 4),
            (self.of_sets, 2),
            (self.labelling, 1),
            (self.absent, 1),
        )
        maker = self.source.choices([maker for maker, _ in makers], [weight for _, weight in makers])[0]
        return maker() if maker == self.selector else maker(depth)

    def of_range(self, depth: int) -> str:
        function = self.pick(*OF_RANGE)
        range_ = self.range(depth)
        if function == "quantile_over_time":
            return f"{function}({self.scalar(0)}, {range_})"
        if function == "predict_linear":
            return f"{function}({range_}, {self.scalar(0)})"
        return f"{function}({range_})"

    def grouping(self) -> str:
        return self.pick("", *GROUPINGS)

    def aggregation(self, depth: int) -> str:
        op = self.pick(*AGGREGATIONS)
        param = {
            "topk": self.pick("1", "2", "3", "0", "-1", "scalar(g)"),
            "bottomk": self.pick("1", "2", "5"),
            "quantile": self.scalar(0),
            "count_values": self.pick('"v"', '"a"', '"b"'),
        }.get(op)
        inner = self.vector(depth - 1)
        if op == "count_values":  # where the last digit counts, and that of a sine is up to the library
            inner = f"round({inner}, 0.001)"
        return f"{op} {self.grouping()} ({param + ', ' if param else ''}{inner})"

    def quantile(self, depth: int) -> str:
        q = self.pick("0.5", "0.9", "0.99", "0", "1", "0.01", "-1", "2", "NaN")
        inner = f"rate(h_bucket[{self.duration()}])" if self.source.random() < 0.6 else self.selector("h_bucket")
        grouped = self.pick("{}", "sum by (le) ({})", "sum by (le, a) ({})", "sum by (a) ({})", "avg without (a) ({})")
        return f"histogram_quantile({q}, {grouped.format(inner)})"

    def function(self, depth: int) -> str:
        inner = self.vector(depth - 1)
        function = self.pick(*OF_VECTOR)
        match function:
            case "clamp":
                return f"clamp({inner}, {self.scalar(0)}, {self.scalar(0)})"
            case "clamp_min" | "clamp_max":
                return f"{function}({inner}, {self.scalar(0)})"
            case "round to":
                return f"round({inner}, {self.pick('0.1', '5', '0.25', '10')})"
            case "date":
                seconds = self.source.randrange(-(10**10), 10**11)
                return f"{self.pick(*DATES)}({self.pick('', f'vector({seconds})')})"
            case "minus":
                return f"-({inner})"
            case "vector":
                return f"vector(scalar({inner}))"
        if function in ("exp", "sinh", "cosh", "tan"):
            inner = f"clamp({inner}, -3, 3)"
        if function in INEXACT:
            return f"round({function}({inner}), 1e-9)"
        return f"{function}({inner})"

    def operator(self) -> str:
        arithmetic = self.pick("+", "-", "*", "/", "%", "atan2")
        comparison = self.pick("==", "!=", ">", "<", ">=", "<=")
        return self.pick(arithmetic, comparison, f"{comparison} bool")

    def with_scalar(self, depth: int) -> str:
        if self.source.random() < 0.1:
            return f"({self.vector(depth - 1)}) ^ {self.pick('2', '0.5', '-1', '3', '0', 'Inf', '-Inf', 'NaN')}"
        sides = [f"({self.vector(depth - 1)})", self.scalar(1)]
        self.source.shuffle(sides)
        return f"{sides[0]} {self.operator()} {sides[1]}"

    def matching(self) -> str:
        return self.pick("on (a)", "on (a, b)", "on ()", "ignoring (b)", "ignoring (a)", "ignoring (le)", "on (a, le)")

    def of_vectors(self, depth: int) -> str:
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        kind = self.source.random()
        if kind < 0.3:
            left = right = self.selector() if depth == 1 else left
        matching = "" if kind < 0.45 else self.matching()
        if matching and self.source.random() < 0.6:
            side = self.pick("left", "right")
            grouping = matching.replace("on", "by", 1).replace("ignoring", "without")
            one = f"{self.pick('sum', 'max', 'count')} {grouping} ("
            if matching.startswith("on"):
                left, right = (left, one + right + ")") if side == "left" else (one + left + ")", right)
            include = self.pick("()", "(b)", "(le)") if matching in ("on (a)", "on ()", "ignoring (a)") else "()"
            matching += f" group_{side} {include}"
        return f"({left}) {self.operator()} {matching} ({right})"

    def of_sets(self, depth: int) -> str:
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        return f"({left}) {self.pick('and', 'or', 'unless')} {self.pick('', self.matching())} ({right})"

    def labelling(self, depth: int) -> str:
        inner = self.vector(depth - 1)
        if self.source.random() < 0.3:
            target = self.pick("n", "a")
            return f'label_join({inner}, "{target}", "-", "a", "b")'
        target, source = self.pick("n", "a", "b", "__name__"), self.pick("a", "b", "__name__", "none")
        template, pattern = self.pick("$1", "x$1", "", "${1}y", "$$", "$2"), self.pick("(.*)", "(1|2)", ".+", "(.)(.*)")
        return f'label_replace({inner}, "{target}", "{template}", "{source}", "{pattern}")'

    def absent(self, depth: int) -> str:
        if self.source.random() < 0.5:
            return f"absent_over_time({self.range(depth)})"
        return f"absent({self.vector(depth - 1)})"


def ask_promtool(world: World, promtool: str) -> list[Answer]:
    """promtool's answers to the questions of *world*."""
    test = {
        "interval": f"{world.step_ms}ms",
        "input_series": [
            {"series": shown(labels), "values": " ".join(words)} for labels, words in world.series.items()
        ],
        "promql_expr_test": [
            {"expr": question.expr, "eval_time": f"{question.at_ms}ms", "exp_samples": _WRONG}
            for question in world.questions
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "test.yml")
        file.write_text(json.dumps({"evaluation_interval": f"{world.step_ms}ms", "tests": [test]}))
        command = [promtool, "test", "rules", file]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    answers = list(_answers(run.stdout + run.stderr))
    assert len(answers) == len(world.questions), run.stderr[-3000:]
    return answers


def _answers(output: str) -> Iterator[Answer]:
    lines = iter(output.splitlines())
    for line in lines:
        match = _COMPLAINT.fullmatch(line)
        if match is None:
            continue
        if match[2] is not None:
            yield match[2]
            continue
        next(lines)
        got = next(lines).strip().removeprefix("got:").strip()
        yield {
            tuple((name, unquote(value)) for name, value in _LABEL.findall(labels)): float(value)
            for labels, value in _ELEMENT.findall(got)
        }


def shown(labels: Labels) -> str:
    name = dict(labels)["__name__"]
    return name + "{" + ", ".join(f'{label}="{value}"' for label, value in labels if label != "__name__") + "}"


def table_of(world: World, source: random.Random | None = None) -> SeriesTable:
    """The series of *world*, in an order that *source* draws."""
    table = SeriesTable(lambda _: 10**12, semantics=2)
    series = list(world.series.items())
    if source:
        source.shuffle(series)
    for labels, words in series:
        for place, word in enumerate(words):
            if word == "stale":
                table.end(labels, place * world.step_ms)
            elif word != "_":
                table.append(labels, place * world.step_ms, float(word))
    return table


def our_answer(world: World, table: SeriesTable, question: Question) -> Answer:
    try:
        value = evaluate(parse(question.expr), table.select, question.at_ms, semantics=2, interval_ms=world.step_ms)
    except EvaluationError as error:
        return str(error)
    assert not isinstance(value, str)
    return {(): value} if isinstance(value, float) else {element.labels: element.value for element in value}


def agree(theirs: Answer, ours: Answer) -> bool:
    """Whether both are the same elements with values that differ by rounding alone, or the same refusal."""
    if isinstance(theirs, str) or isinstance(ours, str):
        return isinstance(theirs, str) and isinstance(ours, str) and _gist(theirs) == _gist(ours)
    return theirs.keys() == ours.keys() and all(_is_close(value, ours[labels]) for labels, value in theirs.items())


def _is_close(x: float, y: float) -> bool:
    return math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(x) and math.isnan(y))


def _are_ties(theirs: Answer, ours: Answer) -> bool:
    """Whether the same values are those of other elements; the steps of a subquery have orders of their own."""
    if isinstance(theirs, str) or isinstance(ours, str) or len(theirs) != len(ours):
        return False
    return all(map(_is_close, sorted(theirs.values()), sorted(ours.values())))


def _gist(message: str) -> str:
    """A refusal without the series that it names, for which of them are met first is up to their order."""
    return re.sub(r"\{.*\}", "{}", message)


@dataclass
class Report:
    """How the answers compare: all that were asked, those that gave elements, and the differences."""

    asked: int = 0
    with_elements: int = 0
    refusals: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


def compare(count: int, seed: int, promtool: str = "promtool") -> Report:
    """Ask *count* random questions of both, those of one seed always being the same."""
    source, report = random.Random(seed), Report()
    generator = Generator(source)
    while report.asked < count:
        world = generator.world(min(BATCH, count - report.asked))
        theirs = ask_promtool(world, promtool)
        table = table_of(world)
        for question, answer in zip(world.questions, theirs, strict=True):
            report.asked += 1
            report.with_elements += isinstance(answer, dict) and bool(answer)
            report.refusals += isinstance(answer, str)
            ours = our_answer(world, table, question)
            if agree(answer, ours):
                continue
            orders = (table_of(world, random.Random(order)) for order in range(ORDERS))
            if any(agree(answer, our_answer(world, order, question)) for order in orders):
                report.explained["order of series"] += 1
            elif isinstance(answer, str) and isinstance(ours, str):
                report.explained["two faults, another first"] += 1
            elif re.search("topk|bottomk", question.expr) and _are_ties(answer, ours):
                report.explained["ties of topk"] += 1
            else:
                both = f"\n  promtool: {answer}\n  ours:     {ours}"
                report.differences.append(f"{question.expr} at {question.at_ms} ms{both}")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=time.time_ns() & 0xFFFF_FFFF)
    arguments = parser.parse_args()
    started = time.monotonic()
    report = compare(arguments.count, arguments.seed)
    for difference in report.differences:
        print(difference)
    print(
        f"seed {arguments.seed}: {report.asked} expressions, {report.with_elements} with elements,",
        f"{report.refusals} refused, {dict(report.explained)} explained, {len(report.differences)} differences,",
        f"{time.monotonic() - started:.1f} s",
    )


if __name__ == "__main__":
    main()
