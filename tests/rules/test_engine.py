import json
import logging
import sys
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest

from otel_latency.rules.engine import LONGEST_HOLD_MS, Engine, Options
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.rulefile import load
from otel_latency.rules.sequence import Gap, parse_sequence
from otel_latency.rules.series import SeriesTable
from otel_latency.rules.state import State

GOLDEN = Path(__file__).parent / "testdata" / "alert_timeline_golden.json"
X = (("__name__", "x"),)
SLOW = "{alert: Slow, expr: x > 1}"
SECOND = 1000


class World:
    """An engine over a table of its own, driven one second at a time; `x` takes the values of a sequence."""

    def __init__(self, rules, *, file="f", group="", **options):
        self.table = SeriesTable(lambda _: sys.maxsize)
        self.options = Options(**{"interval_ms": SECOND, **options})
        self.engine = Engine(self.table, self.options, timer=count().__next__)
        self.now_ms = 0
        self.groups = self.read(rules, group)
        self.engine.reload(self.groups, 0)

    def read(self, rules, group=""):
        return load("f", f"groups: [{{name: g, rules: [{rules}]{group}}}]", semantics=self.options.semantics)

    def tick(self, value=None):
        """One second passes: *value* becomes the newest sample of x, and the rules are evaluated."""
        self.now_ms += SECOND
        if value is Gap.STALE:
            self.table.end(X, self.now_ms)
        elif isinstance(value, float):
            self.table.append(X, self.now_ms, value)
        return [alert for group in self.groups for alert in self.engine.evaluate(group, self.now_ms)]

    def run(self, values):
        return [self.tick(value) for value in parse_sequence(values)]

    def rule(self, name="Slow"):
        [found] = [rule for group in self.engine.groups for rule in group.rules if rule.rule.name == name]
        return found

    def query(self, expr):
        return {
            ",".join(f"{name}={value}" for name, value in labels if name != "__name__"): value
            for labels, value in self.engine.query(parse(expr), self.now_ms)
        }


def firing(batches):
    """`f` where a firing alert was told, `r` where a resolved one was, `.` where nothing was."""
    return "".join("".join("f" if alert.is_firing else "r" for alert in alerts) or "." for alerts in batches)


def test_golden_timeline():
    """ALERTS at every tick of 250 ms is what promtool 2.42 says; the file was made with it."""
    golden = json.loads(GOLDEN.read_text())
    groups = load("f", json.dumps(golden["rules"]))
    table = SeriesTable(lambda _: sys.maxsize, semantics=2)
    engine = Engine(table, Options(interval_ms=250, semantics=2))
    engine.reload(groups, 0)
    states = {name: [] for name in golden["states"]}
    for tick, item in enumerate(parse_sequence(golden["series"]["x"])):
        if item is Gap.STALE:
            table.end(X, tick * 250)
        elif item is not Gap.BLANK:
            table.append(X, tick * 250, item)
        engine.evaluate(groups[0], tick * 250)
        found = {dict(one.labels)["alertname"]: one.labels for one in engine.query(parse("ALERTS"), tick * 250)}
        for name, seen in states.items():
            seen.append(dict(found.get(name, ())).get("alertstate", "inactive"))
    assert golden["states"] == states


def test_fires_and_resolves():
    """A breach is told when it fires and when it is over, with the times and the value that people need."""
    world = World("{alert: Slow, expr: x > 1, for: 1s}", resend_delay_ms=10_000, external_url="http://agent:8080")
    told = world.run("2 3 4 0 0")
    assert ".f.r." == firing(told)
    [fired], [resolved] = told[1], told[3]
    assert (2.0, 2.0 + 40.0, 3.0) == (fired.starts_at, fired.ends_at, fired.value)
    assert (2.0, 4.0, 4.0) == (resolved.starts_at, resolved.ends_at, resolved.value)
    assert {"alertname": "Slow"} == fired.labels == resolved.labels
    assert "http://agent:8080/graph?g0.expr=x+%3E+1&g0.tab=1" == fired.generator_url


def test_resend():
    """What fires is told again when more than the delay has passed, and what has resolved is, for a while."""
    world = World(SLOW, resend_delay_ms=2 * SECOND)
    assert "f..f..r..r..r" == firing(world.run("2x5 0x6"))


def test_valid_for_four_intervals():
    """A firing alert counts as over after four of the intervals, or of the delays, that nothing was heard of it."""
    world = World(SLOW, group=", interval: 90s", resend_delay_ms=60_000)
    [[alert]] = world.run("2")
    assert 1.0 + 4 * 90.0 == alert.ends_at


def test_pending_is_not_told():
    """A breach shorter than `for` is nobody's business."""
    assert "......" == firing(World("{alert: Slow, expr: x > 1, for: 5s}").run("2 2 2 0 2 0"))


def test_texts():
    """Labels and annotations are filled in from the result; what is outside is added where a sent alert lacks it."""
    world = World(
        '{alert: Slow, expr: "x > 1", labels: {severity: page, level: "{{ $value }}", none: "{{ $labels.none }}"},'
        " annotations: {who: '{{ $labels.__name__ }}', all: '{{ query \"x + 1\" | first | value }}'}}",
        external_labels={"cluster": "eu", "severity": "none"},
    )
    [[alert]] = world.run("2")
    assert {"alertname": "Slow", "cluster": "eu", "level": "2", "severity": "page"} == alert.labels
    assert {"who": "x", "all": "3"} == alert.annotations
    [active] = world.rule().active
    assert "cluster" not in dict(active.labels)


def test_series_of_alerts():
    """ALERTS and ALERTS_FOR_STATE tell of each alert that is pending or firing, and end with it at once."""
    world = World("{alert: Slow, expr: x > 1, for: 1s}")
    world.run("_ 2")
    assert {"alertname=Slow,alertstate=pending": 1.0} == world.query("ALERTS")
    assert {"alertname=Slow": 2.0} == world.query("ALERTS_FOR_STATE")
    world.run("2")
    assert {"alertname=Slow,alertstate=firing": 1.0} == world.query("ALERTS")
    world.run("0")
    assert {} == world.query("ALERTS or ALERTS_FOR_STATE")


def test_order_within_a_group():
    """A rule sees what the rules before it made of the same moment, and not what those after it will."""
    world = World("{record: late, expr: early}, {record: early, expr: x * 2}, {record: prompt, expr: early}")
    world.run("1 2")
    assert {"": 4.0} == world.query("prompt")
    assert {"": 2.0} == world.query("late")


def test_recorded_series_end():
    """A series that a recording rule no longer makes is gone at once."""
    world = World("{record: y, expr: x > 1, labels: {a: b}}")
    world.run("2")
    assert {"a=b": 2.0} == world.query("y")
    world.run("0")
    assert {} == world.query("y")


def test_scalars():
    """A scalar is one element without labels."""
    world = World("{alert: Always, expr: 1}, {record: y, expr: time()}")
    assert "f" == firing([world.tick()])
    assert {"": 1.0} == world.query("y")


def test_broken_rule(caplog):
    """A rule that cannot be evaluated says why, keeps its alerts, tells nothing, and leaves its neighbours alone."""
    two = "label_replace(x, 'a', '1', '', '') or label_replace(x, 'a', '2', '', '')"
    world = World(f'{{alert: Slow, expr: "x / on () (x or (({two}) and on () x > 2)) > 0"}}, {{alert: Next, expr: x}}')
    assert ["Slow", "Next"] == [alert.labels["alertname"] for alert in world.tick(2.0)]
    with caplog.at_level(logging.WARNING):
        assert [] == world.tick(3.0)
        world.tick(3.0)
    rule = world.rule()
    assert "err" == rule.health
    assert "many-to-many matching not allowed" in rule.last_error
    assert [State.FIRING] == [alert.state for alert in rule.active]
    assert 1 == len(caplog.records), "told once, not at every evaluation"
    assert "ok" == world.rule("Next").health
    world.tick(2.0)
    assert ("ok", "") == (rule.health, rule.last_error)


def test_fault_of_ours(caplog):
    """Whatever a rule runs into, its neighbours go on; the log has the trace, once."""

    def refuse(rule):
        if rule.name == "Slow":
            raise ZeroDivisionError("ours")
        return ""

    table = SeriesTable(lambda _: sys.maxsize)
    engine = Engine(table, Options(), refusal=refuse)
    [group] = load("f", f"groups: [{{name: g, rules: [{SLOW}, {{alert: Next, expr: vector(1)}}]}}]")
    engine.reload([group], 0)
    assert [["Next"], []] == [
        [alert.labels["alertname"] for alert in engine.evaluate(group, at)] for at in (1000, 2000)
    ]
    assert "ZeroDivisionError: ours" == engine.groups[0].rules[0].last_error
    assert [ZeroDivisionError] == [record.exc_info[0] for record in caplog.records]


def test_refusal():
    """A rule that is refused says why, and is not evaluated."""
    table = SeriesTable(lambda _: sys.maxsize)
    engine = Engine(table, Options(), refusal=lambda rule: "no room")
    [group] = load("f", "groups: [{name: g, rules: [{alert: A, expr: vector(1)}]}]")
    engine.reload([group], 0)
    assert [] == engine.evaluate(group, 1000)
    assert ("err", "no room") == (engine.groups[0].rules[0].health, engine.groups[0].rules[0].last_error)


def test_one_label_set():
    """Two elements that would be one alert, or one series, are an error."""
    world = World(
        "{alert: Slow, expr: x or y, labels: {k: a}}, {record: z, expr: x or y, labels: {k: a}}",
    )
    world.table.append((("__name__", "y"), ("k", "b")), SECOND, 1.0)
    world.tick(2.0)
    assert "vector contains metrics with the same labelset after applying alert labels" == world.rule().last_error
    assert "vector contains metrics with the same labelset after applying rule labels" == world.rule("z").last_error


def test_limit():
    """More alerts or series than the limit are an error, and the rule's alerts start anew."""
    world = World(f"{SLOW}, {{record: z, expr: x}}", group=", limit: 1")
    world.tick(2.0)
    world.table.append((*X, ("k", "b")), 2 * SECOND, 3.0)
    assert [] == world.tick(2.0)
    assert ("exceeded limit of 1 with 2 alerts", {}) == (world.rule().last_error, world.rule().alerts)
    assert "exceeded limit of 1 with 2 series" == world.rule("z").last_error


def test_nan_alerts():
    """An element without a comparison alerts, even if it is no number; a comparison with NaN is false."""
    world = World("{alert: Bare, expr: x}, {alert: Compared, expr: x > 0}")
    assert ["Bare"] == [alert.labels["alertname"] for alert in world.tick(float("nan"))]


def test_query_offset():
    """The expression sees what was, its alerts' series lie there too, and `for` counts from now."""
    world = World("{alert: Slow, expr: x > 1, for: 1s}", group=", query_offset: 1s")
    world.run("2 2")
    [alert] = world.rule().active
    assert (State.PENDING, 2 * SECOND) == (alert.state, alert.active_at_ms)
    [series] = world.table.select(parse("ALERTS").matchers)
    assert [1 * SECOND] == list(series.times)


def test_due():
    """Groups come up one interval apart, oldest first; what was missed is counted."""
    groups = load("f", "groups: [{name: a, interval: 2s}, {name: b, interval: 5s}]")
    engine = Engine(SeriesTable(lambda _: sys.maxsize), Options())
    assert engine.next_due_ms() is None
    engine.reload(groups, 0)
    due = [(group.name, at_ms) for now_ms in range(0, 20_001, 1000) for group, at_ms in engine.due(now_ms)]
    assert {"a": 10, "b": 4} == {name: len(_of(due, name)) for name in "ab"}
    assert {2000} == {later - sooner for sooner, later in pairwise(_of(due, "a"))}
    late = [at_ms for _, at_ms in engine.due(100_000)]
    assert sorted(late) == late
    assert [39, 15] == [group.missed for group in engine.groups]
    assert 100_000 < engine.next_due_ms() <= 102_000


def _of(due, name):
    return [at_ms for one, at_ms in due if one == name]


def test_reload_of_the_same():
    """Groups that did not change go on as if nothing had happened."""
    world = World("{alert: Slow, expr: x > 1, for: 1s}")
    world.tick(2.0)
    before = world.engine.groups[0]
    assert [] == world.engine.reload(world.read("{alert: Slow, expr: x > 1, for: 1s}"), world.now_ms)
    assert before is world.engine.groups[0]


def test_reload_of_a_changed_group():
    """A rule of the same name and labels keeps its alerts; they are not told again, and their series go on."""
    world = World(f"{SLOW}, {{alert: Gone, expr: x > 1}}")
    world.tick(2.0)
    world.groups = world.read("{alert: Slow, expr: x > 1.5, annotations: {summary: new}}, {alert: New, expr: x > 9}")
    ended = world.engine.reload(world.groups, world.now_ms)
    assert [("Gone", False, 1.0)] == [(one.labels["alertname"], one.is_firing, one.ends_at) for one in ended]
    world.now_ms += 1
    assert {"alertname=Slow,alertstate=firing": 1.0} == world.query("ALERTS")
    world.now_ms -= 1
    assert [] == world.tick(2.0)
    [alert] = world.rule().active
    assert (SECOND, (("summary", "new"),)) == (alert.fired_at_ms, alert.annotations)
    assert {"alertname=Slow,alertstate=firing": 1.0} == world.query("ALERTS")


def test_reload_ends_what_the_new_rule_does_not_make():
    """The series of a rule that changed are its own: what it no longer makes ends at the next evaluation."""
    world = World(f"{SLOW}, {{record: y, expr: x}}")
    world.tick(2.0)
    world.groups = world.read("{alert: Slow, expr: x > 5}, {record: y, expr: x > 5}")
    world.engine.reload(world.groups, world.now_ms)
    assert "r" == firing([world.tick(2.0)])
    assert {} == world.query("ALERTS or ALERTS_FOR_STATE or y")


def test_reload_while_waiting_for_samples():
    """A reload soon after a restart does not cut the waiting short."""
    rules = "{alert: Slow, expr: 'avg_over_time(x[30s]) > 1'}"
    world = World(rules)
    world.tick(2.0)
    after = restarted(world, rules)
    held_until_ms = after.rule().held_until_ms
    after.engine.reload(after.read(rules, ", limit: 5"), after.now_ms)
    assert held_until_ms == after.rule().held_until_ms


def test_reload_without_what_was_pending():
    """An alert that never fired is not over either."""
    world = World("{alert: Slow, expr: x > 1, for: 5s}")
    world.tick(2.0)
    assert [] == world.engine.reload([], world.now_ms)


def test_reload_without_a_group():
    """What a removed group recorded ends, and what fired of it is told to be over."""
    world = World(f"{SLOW}, {{record: y, expr: x}}")
    world.run("2 2")
    assert "r" == firing([world.engine.reload([], world.now_ms)])
    world.now_ms += 1
    assert {} == world.query("ALERTS or y")
    assert [] == world.engine.memory()


def test_same_name_and_labels_twice():
    """Rules that look the same keep their order when they hand over."""
    pair = "{alert: Slow, expr: x > 1}, {alert: Slow, expr: x > 5}"
    world = World(pair)
    world.tick(2.0)
    world.groups = world.read(pair, ", limit: 9")
    assert [] == world.engine.reload(world.groups, world.now_ms)
    assert [1, 0] == [len(rule.active) for rule in world.engine.groups[0].rules]


def restarted(world, rules, **options):
    """Another process goes on from what the first one knew."""
    after = World(rules, **options)
    after.now_ms = world.now_ms + 10 * SECOND
    after.engine.restore(world.engine.memory(), after.now_ms)
    return after


def test_restart_keeps_times():
    """Pending and firing alerts go on from their own times; what fires is told again."""
    rules = "{alert: Slow, expr: x > 1, for: 1s}, {alert: Slower, expr: x > 1, for: 20s}"
    world = World(rules)
    world.run("2 2")
    after = restarted(world, rules)
    assert ["Slow"] == [alert.labels["alertname"] for alert in after.tick(2.0)]
    assert (1000, 2000) == (after.rule().active[0].active_at_ms, after.rule().active[0].fired_at_ms)
    [slower] = after.rule("Slower").active
    assert (State.PENDING, 1000) == (slower.state, slower.active_at_ms)


@pytest.mark.parametrize(("expr", "held_seconds"), [("x > 1", 2), ("avg_over_time(x[30s]) > 1", 32)])
def test_restart_waits_for_samples(expr, held_seconds):
    """Nothing ends for want of samples until a rule's window can have filled again; then it does."""
    rules = f'{{alert: Slow, expr: "{expr}"}}'
    world = World(rules, resend_delay_ms=3_600_000)
    world.tick(2.0)
    after = restarted(world, rules, resend_delay_ms=3_600_000)
    started_ms = after.now_ms
    told = [after.tick(0.0) for _ in range(held_seconds + 2)]
    assert "f" + "." * (held_seconds - 2) + "r" + ".." == firing(told)
    assert started_ms / SECOND + held_seconds == told[held_seconds - 1][0].ends_at


def test_restart_waits_for_the_application():
    """What nothing was heard of since the start goes on for the lookback; other series do not speak for it."""
    rules = "{alert: Slow, expr: x > 1}"
    world = World(rules, resend_delay_ms=3_600_000)
    world.table.append((("__name__", "x"), ("queue", "a")), SECOND, 2.0)
    world.tick()
    after = restarted(world, rules, resend_delay_ms=3_600_000)
    told = []
    for _ in range(303):
        after.table.append((("__name__", "x"), ("queue", "b")), after.now_ms + SECOND, 0.0)
        told.append(after.tick())
    assert "f" + "." * 300 + "r." == firing(told)


def test_restart_hears_the_application():
    """As soon as its series is there again, it is over when it is over."""
    rules = "{alert: Slow, expr: x > 1}"
    world = World(rules)
    world.tick(2.0)
    after = restarted(world, rules)
    told = [after.tick(value) for value in (None, None, None, None, 0.0, None)]
    assert "f...r." == firing(told)


def test_clock_set():
    """When every time moves, nothing else does: a `for` goes on, windows stay full, and what fires is not told anew."""
    rules = "{alert: Slow, expr: x > 1, for: 3s}, {alert: Mean, expr: 'avg_over_time(x[3s]) > 1'}"
    world = World(rules)
    told = [world.tick(2.0), world.tick(2.0)]
    world.engine.shift(3_600_000)
    world.now_ms += 3_600_000
    told += [world.tick(2.0), world.tick(2.0), world.tick(2.0)]
    assert "f..f." == firing(told)
    assert (3_601_000, 3_604_000) == (world.rule().active[0].active_at_ms, world.rule().active[0].fired_at_ms)
    world.engine.shift(-3_600_000)
    world.now_ms -= 3_600_000
    assert "rr" == firing([world.tick(0.0) + world.tick(0.0) + world.tick(0.0)])


def test_restart_does_not_wait_longer_than_the_cap():
    """A window of hours is not waited for."""
    rules = "{alert: Slow, expr: 'max_over_time(x[6h]) > 1'}"
    world = World(rules)
    world.tick(2.0)
    after = restarted(world, rules)
    assert after.now_ms + LONGEST_HOLD_MS + 2 * SECOND == after.rule().held_until_ms


def test_restart_tells_an_end_that_was_not_told():
    """An alert that resolved just before the crash is told by the next process, once per delay."""
    world = World(SLOW)
    world.tick(2.0)
    told = world.tick(0.0)
    assert "r" == firing([told])
    untold = [
        replace(one, alerts=tuple(replace(alert, last_sent_ms=None) for alert in one.alerts))
        for one in world.engine.memory()
    ]
    after = World(SLOW)
    after.now_ms = world.now_ms
    after.engine.restore(untold, after.now_ms)
    assert "r." == firing([after.tick(0.0), after.tick(0.0)])


def test_restart_without_a_rule():
    """What fired of a rule that is no longer there is told to be over, and is not mixed up with others."""
    world = World(f"{SLOW}, {{alert: Pending, expr: x > 1, for: 9s}}", external_labels={"cluster": "eu"})
    world.tick(2.0)
    after = World("{alert: Slow, expr: x > 1, labels: {severity: page}}", external_labels={"cluster": "eu"})
    [ended] = after.engine.restore(world.engine.memory(), 5000)
    assert ({"alertname": "Slow", "cluster": "eu"}, 1.0, 5.0, False) == (
        ended.labels,
        ended.starts_at,
        ended.ends_at,
        ended.is_firing,
    )
    assert {} == after.rule().alerts
