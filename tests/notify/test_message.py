import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notify.far_side import NOW, alert, notification, resolved

from otel_latency.notify import pagerduty, slack
from otel_latency.notify.email import compose
from otel_latency.notify.message import MAX_TEXT, MAX_TITLE, fit, plain, span, stories, title
from otel_latency.notify.webhook import body, to_json

SLOW = replace(
    alert("StageSlow", service="support-bot", stage="llm", severity="critical", model="gpt-4o"),
    annotations={
        "summary": "llm is slow",
        "description": "p99 over 5 minutes",
        "value": "2.31 s",
        "threshold": "1.5 s",
        "critical_path": "llm (71 %)",
        "slowest_trace": "4bf9 (4.2 s)",
        "trace_url": "https://traces.example.com/t/4bf9",
        "runbook_url": "https://runbooks.example.com/slow",
    },
    active_at=NOW - 60,
)
ENDED = replace(resolved(SLOW, NOW + 303), annotations={**SLOW.annotations, "resolved_value": "0.41 s"})


def test_what_a_person_on_call_reads():
    """Service and stage, value and threshold, since the breach, where the time goes, a trace, a runbook, a link."""
    assert """\
FIRING: llm is slow
  p99 over 5 minutes
  Service: support-bot
  Stage: llm
  Value: 2.31 s (threshold 1.5 s)
  Since: 2023-11-14 22:12:20 UTC (for 2m)
  Critical path: llm (71 %)
  Slowest trace: 4bf9 (4.2 s) https://traces.example.com/t/4bf9
  Runbook: https://runbooks.example.com/slow
  Labels: model=gpt-4o, severity=critical
  Rule: http://agent/rule""" == plain(notification(SLOW), 1000).rstrip()


def test_what_is_read_at_the_end():
    """A resolve says how long it lasted and what the value is now."""
    text = plain(notification(ENDED), 1000)
    assert "RESOLVED: llm is slow" in text
    assert "Value at resolve: 0.41 s" in text
    assert "Since: 2023-11-14 22:12:20 UTC until 2023-11-14 22:18:23 UTC (lasted 6m 3s)" in text


VALUES = {
    "of the alert": ({}, 2.0, "2"),
    "rounded": ({"threshold": "1.5000000000000002"}, 2.1 + 1e-9, "2.1 (threshold 1.5)"),
    "annotated": ({"value": "0.30000000000000004", "threshold": "0.05"}, 2.0, "0.3 (threshold 0.05)"),
    "in words": ({"value": "2.31 s", "threshold": "what users bear"}, 2.0, "2.31 s (threshold what users bear)"),
    "large": ({"value": "268435457.2", "threshold": "268435456"}, 2.0, "268,435,457 (threshold 268,435,456)"),
    "small": ({"value": "0.000012345"}, 2.0, "1.234e-05"),
    "endless": ({"value": "+Inf", "threshold": "-10000"}, 2.0, "inf (threshold -10,000)"),
    "none": ({"threshold": "1"}, math.nan, None),
}


@pytest.mark.parametrize(("annotations", "value", "expected"), VALUES.values(), ids=VALUES)
def test_values(annotations, value, expected):
    """The value stands beside its threshold, with digits that people read; one that is none is left out."""
    one = replace(alert(), value=value, annotations=annotations)
    (story,) = stories(notification(one))
    assert expected == next((fact.text for fact in story.facts if fact.name == "Value"), None)


def test_value_at_resolve():
    """The value at resolve is as legible; a trace is no number."""
    annotations = {"resolved_value": "0.30000000000000004", "slowest_trace": "12345678901234567890123456789012"}
    text = plain(notification(replace(alert(), annotations=annotations)), 1000)
    assert "Value at resolve: 0.3\n" in text
    assert "Slowest trace: 12345678901234567890123456789012\n" in text


def test_since():
    """Where it is not known when the breach began, it is told since when the alert fires."""
    assert "Since: 2023-11-14 22:13:20 UTC (for 1m)\n" in plain(notification(alert()), 1000)


def test_flapping():
    """What flaps says so, with the number of its changes."""
    one = replace(alert(), annotations={"flapping": "61 changes since it was last told"})
    assert "Flaps: 61 changes since it was last told\n" in plain(notification(one), 1000)


def test_slack_text():
    """Slack's text has the same facts, with links; the slowest trace is one line."""
    (attachment,) = slack.body(notification(SLOW), "", "")["attachments"]
    assert ":red_circle: *llm is slow*\np99 over 5 minutes\n• Service: support-bot\n" in attachment["text"]
    assert "• Slowest trace: 4bf9 (4.2 s) <https://traces.example.com/t/4bf9>\n" in attachment["text"]
    assert "• Rule: <http://agent/rule>" in attachment["text"]
    assert 1 == attachment["text"].count("Slowest trace")


TITLES = {
    "one": ([alert("A")], ("alertname",), "[FIRING:1] A"),
    "common labels": ([alert("A", stage="llm")], ("alertname",), "[FIRING:1] A (llm)"),
    "two": ([alert("A", pod="a"), alert("A", pod="b")], ("alertname",), "[FIRING:2] A"),
    "the name comes first": ([alert("Z", a="1")], ("a", "alertname"), "[FIRING:1] Z 1"),
    "one is over": ([alert("A", pod="a"), resolved(alert("A", pod="b"))], ("alertname",), "[FIRING:1] A"),
    "all is over": ([resolved(alert("A"))], ("alertname",), "[RESOLVED] A"),
    "no group": ([alert("A")], (), "[FIRING:1] (A)"),
    "line breaks": ([alert("A\r\nBcc: x")], ("alertname",), "[FIRING:1] A  Bcc: x"),
}


@pytest.mark.parametrize(("alerts", "group_by", "expected"), TITLES.values(), ids=TITLES)
def test_title(alerts, group_by, expected):
    """The title says how many fire, and of what."""
    assert expected == title(notification(*alerts, group_by=group_by))


SPANS = {0: "0s", 0.4: "0s", 59.6: "1m", 303: "5m 3s", 3600: "1h", 93784: "1d 2h", -5: "0s"}


@pytest.mark.parametrize(("seconds", "expected"), SPANS.items())
def test_span(seconds, expected):
    """How long is said with two units at most."""
    assert expected == span(seconds)


def test_fit():
    """Lines are kept whole, and that some are missing is said."""
    assert "a\nb" == fit(["a", "b"], 100)
    assert "aaaa\n… and more" == fit(["aaaa", "bbbb"], 18)


def test_firing_first():
    """What fires is told before what is over."""
    both = notification(resolved(alert("A")), alert("B", pod="1"))
    assert [True, False] == [story.is_firing for story in stories(both)]


LINKS = {
    "https://ok.example.com/?a=1&b=2": ("", "https://ok.example.com/?a=1&b=2"),
    "javascript:alert(1)": ("javascript:alert(1)", ""),
    "https://a.example.com/|text>": ("https://a.example.com/|text>", ""),
    "https://a.example.com/ b": ("https://a.example.com/ b", ""),
    "https://" + "a" * 400: ("https://" + "a" * 291 + "…", ""),
    "": ("", ""),
}


@pytest.mark.parametrize(("address", "expected"), LINKS.items())
def test_links(address, expected):
    """Only whole addresses of web pages become links; others are text."""
    one = replace(alert(), annotations={"trace_url": address}, generator_url="")
    (story,) = stories(notification(one))
    assert [expected] == [(fact.text, fact.link) for fact in story.facts if fact.name == "Slowest trace"]


HOSTILE = st.text(max_size=400) | st.sampled_from(
    [
        "<!channel> <!here> <@U1>",
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</table></body>",
        "a\r\nBcc: evil@example.com",
        "*bold* _it_ `code` ~s~",
        "{{ .Labels }} ${env:HOME} {0.__class__}",
        "\u202eevil\u2066",
        "&" * 1000,
        "https://x.example.com/<!channel>|y",
        "\ud7ff\U0010ffff",
    ]
)
TEXTS = st.dictionaries(
    st.sampled_from(
        ["summary", "description", "value", "threshold", "slowest_trace", "trace_url", "runbook_url", "resolved_value"]
    ),
    HOSTILE,
)
ALERTS = st.builds(
    lambda labels, annotations, url: replace(
        alert(), labels={"alertname": "A", **labels}, annotations=annotations, generator_url=url
    ),
    st.dictionaries(st.sampled_from(["service", "stage", "alertname", "severity", "pod"]), HOSTILE.filter(bool)),
    TEXTS,
    HOSTILE,
)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.addresses += [value for name, value in attrs if name == "href"]
        assert {name for name, _ in attrs} <= {"href", "style"}


@given(ALERTS)
def test_hostile_slack(one):
    """No text of an alert becomes a mention, a link with a text of its own, or a message beyond bounds."""
    content = slack.body(notification(one), "#x", "http://agent.example.com")
    (attachment,) = content["attachments"]
    for key in ("title", "text", "fallback"):
        text = re.sub(r"&(amp|lt|gt);", "", attachment[key])
        rest = re.sub(r"<https?://[^<>|\s]+>", "", text) if key == "text" else text
        assert not set("<>&") & set(rest)
    assert len(attachment["text"]) <= slack.MAX_TEXT
    assert content == json.loads(to_json(content))


@given(ALERTS)
def test_hostile_mail(one):
    """No text of an alert becomes a header or a tag, and the mail can be sent."""
    mail = compose(notification(one), "agent@example.com", ["oncall@example.com"], "http://agent.example.com")
    assert b"\r\n" in bytes(mail)
    assert {"agent@example.com", "oncall@example.com"} == {mail["From"], mail["To"]}
    assert None is mail["Bcc"]
    tags = Tags()
    tags.feed(mail.get_body(["html"]).get_content())
    assert set(tags.found) <= {"html", "body", "h2", "h3", "p", "table", "tr", "td", "b", "a"}
    assert all(address.startswith(("http://", "https://")) for address in tags.addresses)


@given(ALERTS)
def test_hostile_events(one):
    """Whatever an alert says, PagerDuty's summary fits, and all JSON is strict."""
    event = pagerduty.body(notification(one), "")
    assert len(event["payload"]["summary"]) <= MAX_TITLE
    assert event == json.loads(to_json(event))
    assert body(notification(one), "") == json.loads(to_json(body(notification(one), "")))


def test_long_texts_are_cut():
    """A text of any length takes its share and no more; a flood of alerts is counted."""
    long = replace(alert(), annotations={"summary": "x" * 10_000})
    (story,) = stories(notification(long))
    assert (MAX_TEXT, "…") == (len(story.headline), story.headline[-1])
    many = notification(*(replace(alert("A", pod=str(pod))) for pod in range(1000)))
    (attachment,) = slack.body(many, "", "")["attachments"]
    assert ("[FIRING:1000] A", True) == (attachment["title"], attachment["text"].endswith("… and more"))
    html = compose(many, "a@example.com", ["b@example.com"], "").get_body(["html"]).get_content()
    assert ("<p>… and 900 more</p>" in html, len(html) < 200_000) == (True, True)
