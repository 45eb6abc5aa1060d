"""Ask an expression about series that are written as in promtool's tests: `ask("sum(x)", 'x{a="1"} 1 2 3', at=20)`."""

from rules.promql.promqltest import Storage, metric

from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.labels import show
from otel_latency.rules.promql.parse import parse


def table(series, *, step=10.0, semantics=3):
    """The series of each line, one point per *step* seconds from 0 on."""
    storage = Storage(semantics)
    for labels, points in map(metric, filter(None, map(str.strip, series.splitlines()))):
        storage.load(labels, points, round(step * 1000), with_native=False)
    return storage.table


def ask(expr, series="", *, at=0.0, step=10.0, semantics=3, **options):
    """A scalar or text as it is, a vector as values by labels, in order."""
    select = table(series, step=step, semantics=semantics).select
    value = evaluate(parse(expr), select, round(at * 1000), semantics=semantics, **options)
    return {show(labels): number for labels, number in value} if isinstance(value, list) else value
