import asyncio

import pytest
from notify.far_side import NOW, alert

from otel_latency.config.sections import (
    AlertmanagerNotifier,
    EmailNotifier,
    PagerDutyNotifier,
    SlackNotifier,
    WebhookNotifier,
)
from otel_latency.config.values import Duration, Secret
from otel_latency.errors import ConfigError
from otel_latency.notify.build import build

CANARY = "c4n4ry"


def sections(url):
    return [
        WebhookNotifier(name="a", url=url, headers={"X-Key": Secret(CANARY)}, match={"severity": "critical"}),
        SlackNotifier(name="b", webhook_url=url, channel="#x"),
        PagerDutyNotifier(name="c", routing_key=Secret(CANARY), url=url),
        EmailNotifier(name="d", smarthost="[::1]:25", sender="a@example.com", to=["b@example.com"], require_tls=False),
        AlertmanagerNotifier(name="e", url=url),
    ]


async def test_every_notifier(server, clock, tmp_path):
    """Each section becomes its notifier; alerts reach those they match, and the status shows no secret."""
    pipeline = build(sections(server.url(f"/{CANARY}")), tmp_path, clock, external_url="http://agent.example.com")
    await pipeline.start()
    running = asyncio.create_task(pipeline.run())
    await pipeline.accept([alert("A", starts_at=NOW)])
    while sum(pipeline.queued().values()) > 1:  # there is no mail server
        await asyncio.sleep(0.01)
    assert ["webhook", "slack", "pagerduty", "email", "alertmanager"] == [each["type"] for each in pipeline.status()]
    delivered = {name: count for (name, outcome), count in pipeline.totals().items() if outcome == "delivered"}
    assert {"a": 0, "b": 1, "c": 1, "d": 0, "e": 1} == delivered
    assert CANARY not in f"{pipeline.status()} {pipeline.totals()} {pipeline.fault}"
    running.cancel()
    await asyncio.wait([running])
    await pipeline.close()


async def test_flap_interval(clock, tmp_path):
    """Each notifier damps what flaps as its section says; Alertmanager does it itself."""
    made = sections(Secret("http://127.0.0.1:1"))
    made[1] = SlackNotifier(name="b", webhook_url=Secret("http://127.0.0.1:1"), flap_interval=Duration(0.0))
    pipeline = build(made, tmp_path, clock)
    intervals = {name: lane.route.policy.flap_interval for name, lane in pipeline._lanes.items()}
    assert {"a": 60.0, "b": 0.0, "c": 60.0, "d": 60.0, "e": 0.0} == intervals
    await pipeline.close()


async def test_files(server, clock, tmp_path):
    """A secret may stand in a file, with a line break at its end."""
    (tmp_path / "url").write_text(server.url().reveal() + "\n")
    (tmp_path / "token").write_text("Bearer t\n")
    section = WebhookNotifier(
        name="a", url_file=str(tmp_path / "url"), header_files={"Authorization": str(tmp_path / "token")}
    )
    pipeline = build([section], tmp_path, clock)
    await pipeline.start()
    running = asyncio.create_task(pipeline.run())
    await pipeline.accept([alert("A")])
    while any(pipeline.queued().values()):
        await asyncio.sleep(0.01)
    assert "Bearer t" == server.requests[0][1]["Authorization"]
    running.cancel()
    await asyncio.wait([running])
    await pipeline.close()


FAULTS = {
    None: "the file cannot be read (No such file or directory): check the name and its rights",
    b"": "the file holds not one line of text: write the secret alone into it",
    f"http://{CANARY}\nx".encode(): "the file holds not one line of text: write the secret alone into it",
    b"\xff": "the file is not UTF-8: is it the right one?",
    CANARY.encode(): "the file holds no URL: write https://hooks.example.com/alerts or another",
}


@pytest.mark.parametrize(("content", "expected"), FAULTS.items())
def test_faults_of_files(content, expected, clock, tmp_path):
    """A file that holds no secret is a fault of the configuration, told with place, fact and cure."""
    path = tmp_path / "url"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        build([SlackNotifier(name="a", webhook_url_file=str(path))], tmp_path, clock)
    assert f"notify[0].webhook_url_file: {expected}" == str(raised.value)
