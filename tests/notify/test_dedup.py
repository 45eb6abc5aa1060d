from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from notify.far_side import NOW, alert, resolved

from otel_latency.notify.dedup import Group, Policy, after, hear, reason, tellable
from otel_latency.notify.model import Reason

REASONS = {
    "first notification": "first",
    "new alerts added": "new",
    "some alerts resolved": "some",
    "all alerts resolved": "all",
    "repeat interval elapsed": "repeat",
    None: "-",
}
ALWAYS = Policy(repeat_interval=10)
CASES = {
    # Each step is a second: a capital letter fires, a small one resolves, - is nothing new.
    "fires and resolves": (ALWAYS, "A - a -", "first - all -"),
    "is heard of again": (ALWAYS, "A A A a a", "first - - all -"),
    "another joins": (ALWAYS, "A B a b", "first new some all"),
    "fires again": (ALWAYS, "A a A a", "first all first all"),
    "flaps beside another": (ALWAYS, "AB a A a", "first some new some"),
    "repeats": (replace(ALWAYS, repeat_interval=3), "A - - - - - - a -", "first - - repeat - - repeat all -"),
    "a change begins the interval anew": (replace(ALWAYS, repeat_interval=3), "A - B - - -", "first - new - - repeat"),
    "waits": (replace(ALWAYS, group_wait=2), "A B - C", "- - first new"),
    "a blip in the wait": (replace(ALWAYS, group_wait=2), "A a - -", "- - - -"),
    "a blip beside another": (replace(ALWAYS, group_wait=2), "AB a - b", "- - first all"),
    "resolves silently": (replace(ALWAYS, send_resolved=False), "AB a A b a", "first - new - -"),
    "resolved is kept": (replace(ALWAYS, repeat_interval=2, keep_resolved=4), "A a - - -", "first all - repeat -"),
    "fires again while kept": (replace(ALWAYS, repeat_interval=9, keep_resolved=4), "A a A a", "first all new all"),
    "unknown resolves": (ALWAYS, "a -", "- -"),
}


def run(policy, steps):
    """The reasons for which a group of alerts A, B, ... is told, step by step."""
    group, reasons = None, []
    for now, step in enumerate(steps.split(), start=int(NOW)):
        group = hear(group or Group({}, opened_at=now), news(step, now))
        why = reason(group, policy, now)
        group = after(group, policy, now, is_told=why is not None)
        reasons.append(REASONS[why and why.value])
    return reasons


def news(step, now):
    names = step.replace("-", "")
    firing = {name.upper(): alert(name.upper(), starts_at=now) for name in names}
    return {
        name.upper(): firing[name.upper()] if name.isupper() else resolved(firing[name.upper()], now) for name in names
    }


@pytest.mark.parametrize(("policy", "steps", "expected"), CASES.values(), ids=CASES)
def test_reasons(policy, steps, expected):
    """A group is told when something in it changes, and from time to time when nothing does."""
    assert expected.split() == run(policy, steps)


def test_tellable():
    """Resolved alerts are shown once to those who want them, and in repeats while they are kept."""
    alerts = {"A": alert("A"), "B": resolved(alert("B")), "C": resolved(alert("C"))}
    group = Group({}, NOW, alerts, told=frozenset("AB"), told_at=NOW)

    def names(policy, why):
        return [each.labels["alertname"] for each in tellable(group, policy, why)]

    assert ["A", "B"] == names(Policy(), Reason.SOME_RESOLVED)
    assert ["A", "B", "C"] == names(Policy(), Reason.REPEAT)
    assert ["A"] == names(Policy(send_resolved=False), Reason.NEW_ALERTS)


def test_late_resolve():
    """The end of an earlier firing, heard late, does not end this one."""
    group = Group({}, NOW, {"A": alert("A", starts_at=NOW + 50)}, told=frozenset("A"), told_at=NOW)
    assert group == hear(group, {"A": resolved(alert("A"), NOW + 33)})


def test_clock_that_steps_back():
    """A clock set back by more than the interval makes a repeat due, rather than holding it for a day."""
    group = Group({}, NOW, {"A": alert("A")}, told=frozenset("A"), told_at=NOW)
    assert None is reason(group, ALWAYS, NOW - 9)
    assert "repeat interval elapsed" == reason(group, ALWAYS, NOW - 86_400).value


class Telling(RuleBasedStateMachine):
    """A receiver that believes what it is told, against the truth."""

    def __init__(self):
        super().__init__()
        self.policy = Policy(repeat_interval=20)
        self.now = NOW
        self.group = None
        self.firing = set()  # the truth
        self.believed = set()
        self.quiet_since = NOW

    @rule(name=st.sampled_from("ABC"), fires=st.booleans(), seconds=st.integers(0, 15))
    def hear(self, name, fires, seconds):
        self.now += seconds
        changed = fires is not (name in self.firing)
        (self.firing.add if fires else self.firing.discard)(name)
        group = hear(self.group or Group({}, self.now), news(name if fires else name.lower(), self.now))
        why = reason(group, self.policy, self.now)
        assert (why is not None and why.value != "repeat interval elapsed") is changed
        if why is not None:
            for each in tellable(group, self.policy, why):
                told = self.believed.add if each.is_firing else self.believed.discard
                told(each.labels["alertname"])
        self.group = after(group, self.policy, self.now, is_told=why is not None)

    @invariant()
    def belief_is_the_truth(self):
        assert self.firing == self.believed

    @invariant()
    def nothing_is_kept_of_the_past(self):
        assert (self.group is None) is (not self.firing)


TestTelling = Telling.TestCase
