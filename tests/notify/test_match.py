import pytest

from otel_latency.errors import ExpressionError
from otel_latency.notify.match import matchers, matches

CASES = {
    "equal": ({"severity": "critical"}, {"severity": "critical"}, True),
    "not equal": ({"severity": "critical"}, {"severity": "critical2"}, False),
    "a text is no pattern": ({"severity": "c.*"}, {"severity": "critical"}, False),
    "a pattern": ({"severity": "=~crit.*|page"}, {"severity": "critical"}, True),
    "a pattern matches the whole": ({"severity": "=~crit"}, {"severity": "critical"}, False),
    "a pattern crosses lines": ({"a": "=~x.y"}, {"a": "x\ny"}, True),
    "other than": ({"severity": "!=info"}, {"severity": "info"}, False),
    "other than, missing": ({"severity": "!=info"}, {}, True),
    "other than a pattern": ({"team": "!~test.*"}, {"team": "testing"}, False),
    "missing is empty": ({"team": ""}, {}, True),
    "all must hold": ({"a": "1", "b": "2"}, {"a": "1"}, False),
    "nothing is asked for": ({}, {"a": "1"}, True),
}


@pytest.mark.parametrize(("conditions", "labels", "expected"), CASES.values(), ids=CASES)
def test_matches(conditions, labels, expected):
    """An alert is for a notifier when every condition on its labels holds."""
    assert expected is matches(matchers(conditions), labels)


def test_wrong_pattern():
    """A pattern that is none is told at once."""
    with pytest.raises(ExpressionError):
        matchers({"a": "=~("})
