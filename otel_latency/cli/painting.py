"""Lines and tables on the terminal: styled by rich where somebody looks, plain text where a file or pipe does.

Lines are laid out by us and only painted by rich, since laying out a million of them would take it minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import chain, islice, repeat
from typing import Final

from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table

from otel_latency.ingest.text import clean

PLAIN_WIDTH: Final = 160
"""Columns that a table may take where there is no terminal."""
BAR: Final = 32
LINES_AT_ONCE: Final = 200
_FULL, _EMPTY = "█", "·"

Line = tuple[str, str]
"""Text, and the style that all of it is in: rich's words, or nothing."""


def paint(lines: Iterable[Line]) -> None:
    """Print the lines."""
    if not sys.stdout.isatty():
        sys.stdout.writelines(f"{text}\n" for text, _ in lines)
        return
    console = Console(highlight=False, soft_wrap=True)
    waiting = iter(lines)
    while some := list(islice(waiting, LINES_AT_ONCE)):
        segments = [Segment(f"{text}\n", Style.parse(style)) for text, style in some]
        console.print(Segments(segments), end="")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], styles: Iterable[str] = ()) -> None:
    """Print a table; the first column is to the left, the others to the right. *styles* are the rows'."""
    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        laid.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row, style in zip(rows, chain(styles, repeat("")), strict=False):
        laid.add_row(*row, style=style)
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(laid)


def bar(start: float, end: float, whole: float) -> str:
    """Where the interval lies within the whole; the shortest one is still seen."""
    if whole <= 0:
        return _FULL + _EMPTY * (BAR - 1)
    first = min(int(start / whole * BAR), BAR - 1)
    last = max(min(round(end / whole * BAR), BAR), first + 1)
    first = max(first, 0)
    return _EMPTY * first + _FULL * (last - first) + _EMPTY * (BAR - last)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"


def seconds(value: float | None) -> str:
    """Three digits of it; a dash where it is not known."""
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1000:.3g} ms"
    return f"{value:.2f} s" if value < 99.995 else f"{value:.0f} s"


def percent(ratio: float) -> str:
    """Of a change, with its sign."""
    return f"{ratio:+.0%}".replace("%", " %").replace("-0 %", "+0 %")


def listed(names: Collection[str], most: int = 8) -> str:
    """Names of others in a sentence, the first of them if there are many."""
    told = ", ".join(shown(name) for name in islice(names, most)) or "none"
    return told if len(names) <= most else f"{told} and {len(names) - most:,} more"


@lru_cache(maxsize=4096)
def shown(text: str, limit: int = 60) -> str:
    """Text of others, harmless on a terminal."""
    return clean(text, limit)
