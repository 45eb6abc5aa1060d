"""What pricing costs: a row, a lookup, and what is kept.

Rows are those of a busy mix: of ten spans one is a call of a model, and one call in three has cached tokens. CPU times
are the least of several runs. A lookup is a child process that answers for two models; its memory is its largest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

from bench.report import Figure, run

from otel_latency.prices import Prices
from otel_latency.prices.lookup import command
from otel_latency.prices.tariff import Tariff
from otel_latency.records import LLMProfile, Profile, SpanRow

PAIRS = (("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"))
ROWS = 20_000
START_NS = 1_780_000_000 * 10**9
CACHED = {"input_tokens": 900.0, "output_tokens": 120.0, "cache_read_tokens": 512.0}
PLAIN = {"input_tokens": 900.0, "output_tokens": 120.0}
MEASURE_CHILD = (
    "import resource, runpy, sys\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "used = resource.getrusage(resource.RUSAGE_SELF)\n"
    "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)\n"
)


def row(profile: Profile, measures: dict[str, float] | None) -> SpanRow:
    return (profile, b"t" * 16, b"s" * 8, b"", START_NS, START_NS + 10**9, measures and dict(measures))


def ready(provider: str, model: str) -> Prices:
    """Prices that know the model."""
    prices = Prices()
    prices.start()
    prices.count([row(Profile("bench", llm=LLMProfile(provider, model)), PLAIN)], time.time())
    while not prices.owed():
        time.sleep(0.01)
    return prices


def cost(work: Callable[[list[SpanRow]], None], make: Callable[[], list[SpanRow]]) -> float:
    """Microseconds a row, the least of seven runs."""
    best = float("inf")
    for _ in range(7):
        rows = make()
        began = time.process_time()
        work(rows)
        best = min(best, (time.process_time() - began) / len(rows))
    return best * 1e6


def child(pairs: tuple[tuple[str, str], ...]) -> tuple[float, float, bytes]:
    """CPU seconds and MiB of one lookup, and its answer."""
    *start, script = command()
    question = json.dumps({"path": sys.path, "pairs": pairs}).encode()
    done = subprocess.run([*start, "-c", MEASURE_CHILD, script], input=question, capture_output=True, check=True)
    seconds, mebibytes = map(float, done.stderr.split()[-2:])
    return seconds, mebibytes, done.stdout


def measure(_options: argparse.Namespace) -> Iterator[Figure]:
    prices = ready(*PAIRS[1])
    call = Profile("bench", "llm", llm=LLMProfile(*PAIRS[1]))
    unknown = Profile("bench", "llm", llm=LLMProfile("nobody", "nothing"))
    stage = Profile("bench", "stt")
    now = time.time()

    def priced(rows: list[SpanRow]) -> None:
        prices.count(rows, now)

    yield Figure("a row that is no call", cost(priced, lambda: [row(stage, None)] * ROWS), "us", 0.05)
    for what, measures in (("a call", PLAIN), ("a call with cached tokens", CACHED)):
        figure = cost(priced, lambda measures=measures: [row(call, measures) for _ in range(ROWS)])
        yield Figure(what, figure, "us", 1.5)
    yield Figure("a call that waits, or is dropped", cost(priced, lambda: [row(unknown, PLAIN)] * ROWS), "us", 1.5)
    prices.close()
    seconds, mebibytes, _ = child(PAIRS)
    yield Figure("a lookup's CPU time", seconds, "s", 0.5)
    yield Figure("a lookup's memory for that long", mebibytes, "MiB", 64.0)
    _, _, told = child((PAIRS[1],) * 1_000)
    tracemalloc.start()
    kept = [Tariff(each) for each in json.loads(told)["tariffs"]]
    yield Figure(f"{len(kept):,} models kept", tracemalloc.get_traced_memory()[0] / 2**20, "MiB", 4.0)


if __name__ == "__main__":
    run(measure, __doc__)
