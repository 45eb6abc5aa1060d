from dataclasses import replace

import pytest

from otel_latency.rules.state import RESOLVED_RETENTION_MS, AlertState, Breach, State, Timing, advance

LABELS = (("alertname", "Slow"), ("stage", "llm"))
TICK_MS = 250


def breach(value=2.0):
    return {LABELS: Breach(LABELS, (("summary", f"{value:g}"),), value)}


def walk(signal, timing, start_ms=0, known=None):
    """The alert after each tick: `x` is over the threshold, `-` under it, a digit is a value over it."""
    alerts = known or {}
    states = []
    for tick, character in enumerate(signal):
        found = {} if character == "-" else breach(float(character) if character.isdigit() else 2.0)
        alerts = advance(alerts, found, start_ms + tick * TICK_MS, timing)
        states.append(alerts.get(LABELS))
    return states


def letters(states):
    return "".join("-" if state is None or not state.is_active else state.state.value[0] for state in states)


# `p` is pending, `f` firing, `-` neither; a tick is 250 ms.
TIMELINES = {
    "no for: fires at once": (0, 0, "-xx-", "-ff-"),
    "a for below the interval fires at the next tick": (1, 0, "xx-", "pf-"),
    "a for of two ticks": (500, 0, "xxxx-", "ppff-"),
    "a for between two ticks waits for the later one": (300, 0, "xxxx", "ppff"),
    "a dip starts the wait anew": (500, 0, "xx-xxx", "pp-ppf"),
    "keeps firing through a dip": (0, 500, "x--x", "ffff"),
    "keeps firing for less than the time says": (0, 500, "x---", "fff-"),
    "a return grants the whole time again": (0, 500, "x--x---", "ffffff-"),
    "a pending alert is not kept": (500, 500, "xx-xx", "pp-pp"),
    "a resolved alert that returns is pending first": (250, 0, "xx-xx", "pf-pf"),
}


@pytest.mark.parametrize(("hold", "keep", "signal", "expected"), TIMELINES.values(), ids=TIMELINES)
def test_timeline(hold, keep, signal, expected):
    """An alert walks through the states that its signal, `for` and `keep_firing_for` call for."""
    assert expected == letters(walk(signal, Timing(hold, keep)))


def test_times():
    """Active, fired, kept and resolved have the times of their evaluations."""
    states = walk("xxx---", Timing(500, 500), start_ms=1000)
    assert [(1000, None), (1000, None), (1000, 1500), (1000, 1500), (1000, 1500), (1000, 1500)] == [
        (state.active_at_ms, state.fired_at_ms) for state in states
    ]
    assert [None, None, None, 1750, 1750, 1750] == [state.keep_firing_since_ms for state in states]
    assert [None] * 5 + [2250] == [state.resolved_at_ms for state in states]


def test_value_of_the_end():
    """A resolved alert has the value and the annotations that it had when it last fired."""
    *_, resolved = walk("57-", Timing())
    assert (State.INACTIVE, 7.0, (("summary", "7"),)) == (resolved.state, resolved.value, resolved.annotations)


def test_labels_are_identity():
    """Another label set is another alert, which waits by itself."""
    other = (("alertname", "Slow"), ("stage", "tts"))
    timing = Timing(hold_ms=250)
    alerts = advance({}, breach(), 0, timing)
    alerts = advance(alerts, {**breach(), other: Breach(other, (), 9.0)}, 250, timing)
    assert {LABELS: State.FIRING, other: State.PENDING} == {labels: alert.state for labels, alert in alerts.items()}


def test_resolved_is_remembered():
    """A resolved alert stays for a quarter of an hour, so that its end can be told again, and not a moment longer."""
    resolved = {LABELS: walk("x-", Timing())[-1]}
    at_ms = resolved[LABELS].resolved_at_ms
    assert resolved == advance(resolved, {}, at_ms + RESOLVED_RETENTION_MS, Timing())
    assert {} == advance(resolved, {}, at_ms + RESOLVED_RETENTION_MS + 1, Timing())


@pytest.mark.parametrize(("semantics", "expected"), [(2, State.FIRING), (3, State.PENDING)])
def test_for_is_raised(semantics, expected):
    """Since Prometheus 3 an alert that fires too early for a `for` that was raised is pending again."""
    firing = {LABELS: replace(walk("x", Timing())[-1], last_sent_ms=0)}
    after = advance(firing, breach(), 250, Timing(hold_ms=500, semantics=semantics))[LABELS]
    assert (expected, 0) == (after.state, after.active_at_ms)
    if semantics == 3:
        assert (None, None) == (after.fired_at_ms, after.last_sent_ms)


@pytest.mark.parametrize("state", ["p", "f"])
def test_hold(state):
    """While too little is known, nothing ends for want of an element; pending does not become firing either."""
    known = {LABELS: walk("x" if state == "p" else "xx", Timing(hold_ms=250))[-1]}
    held = advance(known, {}, 1000, Timing(hold_ms=250), is_held=lambda _: True)
    assert known == held
    ended = advance(held, {}, 2000, Timing(hold_ms=250))
    assert "-" == letters([ended.get(LABELS)])


def test_hold_spares_what_is_over():
    """A resolved alert is forgotten in time, held or not."""
    resolved = {LABELS: walk("x-", Timing())[-1]}
    assert resolved == advance(resolved, {}, 300, Timing(), is_held=lambda _: True)


# An alert, a time, and whether it has to be told then; what fires is told again after more than 2 s.
SENDING = {
    "pending": (AlertState(LABELS, (), 1.0, 0), 9000, False),
    "newly firing": (AlertState(LABELS, (), 1.0, 0, State.FIRING, 0), 0, True),
    "told a moment ago": (AlertState(LABELS, (), 1.0, 0, State.FIRING, 0, last_sent_ms=1000), 2999, False),
    "the delay is over to the millisecond": (
        AlertState(LABELS, (), 1.0, 0, State.FIRING, 0, last_sent_ms=1000),
        3000,
        False,
    ),
    "the delay is over": (AlertState(LABELS, (), 1.0, 0, State.FIRING, 0, last_sent_ms=1000), 3001, True),
    "resolved since": (AlertState(LABELS, (), 1.0, 0, State.INACTIVE, 0, 1250, last_sent_ms=1000), 1250, True),
    "resolved and told": (AlertState(LABELS, (), 1.0, 0, State.INACTIVE, 0, 1000, last_sent_ms=1000), 1250, False),
    "resolved and told long ago": (
        AlertState(LABELS, (), 1.0, 0, State.INACTIVE, 0, 1000, last_sent_ms=1000),
        3250,
        True,
    ),
}


@pytest.mark.parametrize(("alert", "at_ms", "expected"), SENDING.values(), ids=SENDING)
def test_needs_sending(alert, at_ms, expected):
    """What fires or has resolved is told at once, and again when the delay has passed; what is pending, never."""
    assert expected == alert.needs_sending(at_ms, 2000)
