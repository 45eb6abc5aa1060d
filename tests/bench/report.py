"""What every benchmark here shares: figures with bars, candidates run in turns, and how both are shown.

A candidate is compared with a reference of the same run: each round runs both, every other round in the opposite
order, and the figure is the median of the rounds' ratios. Times are CPU times, so that neighbours disturb less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure; where it has a bar it must not be above that."""

    what: str
    value: float
    unit: str = ""
    bar: float | None = None
    detail: str = ""

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        return "PASS" if self.value <= self.bar else "FAIL"


@dataclass(frozen=True, slots=True)
class Compared:
    """Costs of candidate and reference, and the median of the ratios of each round."""

    candidate: float
    reference: float
    ratio: float


def in_turns(costs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each of *costs* answers in every round but the first, which warms up."""
    found: dict[str, list[float]] = {name: [] for name in costs}
    for number in range(rounds + 1):
        names = list(costs) if number % 2 else list(costs)[::-1]
        answers = {name: costs[name]() for name in names}
        if number:
            for name, cost in answers.items():
                found[name].append(cost)
    return found


def compared(costs: Mapping[str, list[float]], candidate: str, reference: str) -> Compared:
    """Two of the results of `in_turns`."""
    ratios = [mine / theirs for mine, theirs in zip(costs[candidate], costs[reference], strict=True)]
    return Compared(median(costs[candidate]), median(costs[reference]), median(ratios))


def main(
    measure: Callable[[argparse.Namespace], Iterable[Figure]],
    about: str | None,
    options: Mapping[str, tuple[float, str]] | None = None,
) -> int:
    """Measure, print a line per figure, and answer 1 when one is over its bar.

    *options* are numbers to set on the command line: name -> (default, help).
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object per figure")
    for name, (default, text) in (options or {}).items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} (%(default)s)")
    arguments = parser.parse_args()
    if not arguments.json:
        print(f"\n{(about or '').splitlines()[0]}")
    failed = False
    for figure in measure(arguments):
        failed |= figure.verdict == "FAIL"
        print(json.dumps(asdict(figure) | {"verdict": figure.verdict}) if arguments.json else _line(figure), flush=True)
    return int(failed)


def run(
    measure: Callable[[argparse.Namespace], Iterable[Figure]],
    about: str | None,
    options: Mapping[str, tuple[float, str]] | None = None,
) -> None:
    """`main` for a script."""
    sys.exit(main(measure, about, options))


def _line(figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.unit else ""
    bar = f"<= {figure.bar:g}{unit}" if figure.bar is not None else ""
    return f"  {figure.verdict:4}  {figure.what:58} {figure.value:10.4g}{unit:5} {bar:12} {figure.detail}"
