import pytest
from notify.far_side import alert, notification, status

from otel_latency.errors import NotifyError
from otel_latency.notify.client import Client
from otel_latency.notify.slack import Slack

REPLIES = {
    "ok": None,
    " ok\n": None,
    '{"ok": true}': None,
    '{"ok": true, "x": 1}': None,
    "": False,
    "okay": False,
    '{"ok": "true"}': False,
    '{"ok": false, "error": "channel_not_found"}': False,
    "invalid_payload": False,
    "[" * 70_000: False,
    '["ok"]': False,
    '{"ok": false, "error": "ratelimited"}': True,
    "service_unavailable": True,
    "\x00\ufffd": False,
}


@pytest.fixture
async def slack(clock, server):
    client = Client(clock)
    yield Slack("slack", client, server.url(), channel="#oncall")
    await client.close()


@pytest.mark.parametrize(("reply", "is_transient"), REPLIES.items(), ids=range(len(REPLIES)))
async def test_reply(slack, server, reply, is_transient):
    """Only `ok` is success; what Slack says will pass is worth another try; its words are not repeated."""
    server.answers.append(status(200, reply))
    if is_transient is None:
        await slack.notify(notification(alert()))
        return
    with pytest.raises(NotifyError) as raised:
        await slack.notify(notification(alert()))
    assert is_transient is raised.value.is_transient
    assert is_transient or "it answered something else than ok" == str(raised.value)


async def test_retry_after(slack, server):
    """Slack says in its reply how long to wait."""
    server.answers.append(status(200, '{"ok": false, "error": "ratelimited", "retry_after": 20}'))
    with pytest.raises(NotifyError) as raised:
        await slack.notify(notification(alert()))
    assert 20.0 == raised.value.retry_after


async def test_channel(slack, server):
    """The channel is named where one is set."""
    await slack.notify(notification(alert()))
    assert "#oncall" == server.requests[0][2]["channel"]
