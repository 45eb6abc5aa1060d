from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from notify.far_side import NOW, alert, resolved

from otel_latency.notify.dedup import Group, Policy, after, hear, is_settled, reason, refused, tellable
from otel_latency.notify.identity import fingerprint
from otel_latency.notify.model import Reason

REASONS = {
    "first notification": "first",
    "new alerts added": "new",
    "some alerts resolved": "some",
    "all alerts resolved": "all",
    "repeat interval elapsed": "repeat",
    None: "-",
}
ALWAYS = Policy(repeat_interval=10, flap_interval=0)
FLAPS = Policy(flap_interval=4)
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
    "first fire and resolve are not damped": (FLAPS, "A a - -", "first all - -"),
    "flaps, then fires": (FLAPS, "A a A a A - - - -", "first all - - - first - - -"),
    "flaps, then is over": (FLAPS, "A a A a A a A a - - - -", "first all - - - - first - - - - all"),
    "flaps back to what was told": (FLAPS, "A a A a - - - - - -", "first all - - - - - - - -"),
    "another fires while one flaps": (FLAPS, "A a A B a - - - - b", "first all - first - - - - some all"),
    "another resolves while one flaps": (FLAPS, "AB a A a A b - - -", "first some - - - new - - -"),
    "fires slowly": (FLAPS, "A - - - a - - - A - - - a", "first - - - all - - - first - - - all"),
    "flaps in the wait": (replace(FLAPS, group_wait=3), "A a A a A - - -", "- - - - first - - -"),
    "flaps silently": (replace(FLAPS, send_resolved=False), "A a A a - A - -", "first - - - - first - -"),
}


def run(policy, steps):
    """The reasons for which a group of alerts A, B, ... is told, step by step."""
    group, reasons = None, []
    for now, step in enumerate(steps.split(), start=int(NOW)):
        group = hear(group or Group({}, opened_at=now), news(step, now), policy, now)
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
    assert group == hear(group, {"A": resolved(alert("A"), NOW + 33)}, Policy(), NOW + 60)


def test_clock_that_steps_back():
    """A clock set back by more than the interval makes a repeat due, rather than holding it for a day."""
    group = Group({}, NOW, {"A": alert("A")}, told=frozenset("A"), told_at=NOW)
    assert None is reason(group, ALWAYS, NOW - 9)
    assert "repeat interval elapsed" == reason(group, ALWAYS, NOW - 86_400).value


def tellings(steps, seconds, policy):
    """The second and the alerts of each notification, when *steps* are heard and each second is looked at."""
    group = None
    for second in range(seconds):
        now = NOW + second
        step = news(steps.get(second, "-"), now)
        if group is None:
            if not any(each.is_firing for each in step.values()):
                continue
            group = Group({}, opened_at=now)
        elif not step and is_settled(group, policy, now):
            continue
        group = hear(group, step, policy, now)
        why = reason(group, policy, now)
        if why is not None:
            yield second, tellable(group, policy, why)
        group = after(group, policy, now, is_told=why is not None)
    assert group is None or group.alerts, "a group is forgotten once all is over and quiet"


def toggling(seconds):
    """A fires and resolves by turns, each second."""
    return {second: "A" if second % 2 == 0 else "a" for second in range(seconds)}


def test_no_storm():
    """What changes each second for two minutes is told four times, and the last time that it is over."""
    assert [
        (0, True, None),
        (1, False, None),
        (62, True, "61 changes since it was last told"),
        (179, False, "57 changes since it was last told"),
    ] == [
        (second, one.is_firing, one.annotations.get("flapping"))
        for second, (one,) in tellings(toggling(120), 600, Policy())
    ]


def test_waits_grow():
    """The longer it flaps the less is told of it, but something every five minutes."""
    told = [second for second, _ in tellings(toggling(1800), 2400, Policy())]
    assert [0, 1, 62, 183, 424, 725, 1026, 1327, 1628, 1859] == told


STEPS = st.dictionaries(st.integers(0, 60), st.sampled_from(["A", "a", "B", "b", "AB", "Ab", "aB", "ab"]))


@given(STEPS, st.integers(0, 5), st.booleans())
def test_flapping_ends_in_the_truth(steps, group_wait, send_resolved):
    """However alerts change: once they are quiet, what was told last of each is how it is."""
    policy = replace(FLAPS, group_wait=group_wait, send_resolved=send_resolved)
    truth, belief = {}, {}
    for second in sorted(steps):
        truth.update({name.upper(): name.isupper() for name in steps[second]})
    for _, alerts in tellings(steps, 80, policy):
        belief.update({each.labels["alertname"]: each.is_firing for each in alerts})
    firing = {name for name, is_firing in truth.items() if is_firing}
    believed = {name for name, is_firing in belief.items() if is_firing}
    assert firing == believed if send_resolved else firing <= believed


@given(STEPS, st.integers(0, 5))
def test_flapping_is_no_storm(steps, group_wait):
    """Of one alert at most three notifications are made within any interval, of which two are its first ones."""
    alone = {second: step[0].replace("B", "A").replace("b", "a") for second, step in steps.items()}
    seconds = [second for second, _ in tellings(alone, 80, replace(FLAPS, group_wait=group_wait))]
    assert all(later - first >= FLAPS.flap_interval for first, later in zip(seconds, seconds[3:], strict=False))


def test_refused_resolve():
    """A resolve that was refused is due again after five minutes, until it is told, or over for a day."""
    over = resolved(alert("A"), NOW)
    name, policy, later = fingerprint(over.labels), Policy(), NOW + 300
    group = refused(Group({}, NOW, told_at=NOW), [over], policy, NOW)
    assert (None, Reason.REPEAT) == (reason(group, policy, later - 1), reason(group, policy, later))
    assert [over] == tellable(group, policy, Reason.REPEAT)
    assert group == after(group, policy, NOW + 1, is_told=False)
    assert None is after(group, policy, later, is_told=True)
    assert None is refused(Group({}, NOW, told_at=NOW), [over], policy, NOW + 86_400)
    again = hear(group, {name: alert("A", starts_at=NOW + 5)}, policy, NOW + 5)
    assert again.alerts == refused(again, [over], policy, NOW).alerts
    assert frozenset() == after(again, policy, NOW + 5, is_told=True).owed


class Telling(RuleBasedStateMachine):
    """A receiver that believes what it is told, against the truth."""

    def __init__(self):
        super().__init__()
        self.policy = Policy(repeat_interval=20, flap_interval=0)
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
        step = news(name if fires else name.lower(), self.now)
        group = hear(self.group or Group({}, self.now), step, self.policy, self.now)
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
