from dataclasses import replace

from store.past import NOW

from otel_latency.records import Alert
from otel_latency.store.alerts import alerts, insert

FIRING = Alert({"alertname": "Slow", "stage": "llm"}, {"summary": "slow"}, NOW, NOW + 240, True, 2.5)


def test_an_episode_is_one_row(connection):
    """However often it is told, from firing to resolved, and the last value holds."""
    insert(connection, [FIRING])
    insert(connection, [replace(FIRING, value=3.0, ends_at=NOW + 300)])
    (shown,) = alerts(connection, 0, NOW + 1)["alerts"]
    expected = {"labels": FIRING.labels, "annotations": {"summary": "slow"}, "start": NOW, "resolved": None}
    assert {**expected, "value": 3.0} == shown
    insert(connection, [replace(FIRING, is_firing=False, ends_at=NOW + 60)])
    assert [{**expected, "value": 2.5, "resolved": NOW + 60}] == alerts(connection, 0, NOW + 1)["alerts"]


def test_latest_first(connection):
    """The latest episodes of the time asked for come first."""
    insert(connection, [replace(FIRING, starts_at=NOW + number) for number in range(5)])
    found = alerts(connection, NOW + 1, NOW + 4, limit=2)["alerts"]
    assert [NOW + 3, NOW + 2] == [one["start"] for one in found]
