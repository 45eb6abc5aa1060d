"""What every notifier keeps to, whatever is on the far side; the servers are real ones."""

import gc
from contextlib import asynccontextmanager

import pytest
from notify.far_side import NOW, Server, alert, notification, reset, serving, silence, status
from notify.mail_side import PASSWORD, USER, Authority, Mailbox, mail_server

from otel_latency.config.values import Secret
from otel_latency.errors import NotifyError
from otel_latency.notify.alertmanager import Alertmanager
from otel_latency.notify.client import Client
from otel_latency.notify.email import Email
from otel_latency.notify.pagerduty import PagerDuty
from otel_latency.notify.slack import Slack
from otel_latency.notify.smtp import Sender
from otel_latency.notify.smtp import Server as MailServer
from otel_latency.notify.webhook import Webhook
from otel_latency.testing import FakeClock

CANARY = "c4n4ry"
URL_PATH = f"/{CANARY}-path"
HTTP = {
    "webhook": lambda client, url: Webhook("w", client, url, headers={"Authorization": Secret(f"Bearer {CANARY}")}),
    "slack": lambda client, url: Slack("s", client, url),
    "pagerduty": lambda client, url: PagerDuty("p", client, Secret(f"{CANARY}-key"), url),
    "alertmanager": lambda client, url: Alertmanager("a", client, url, FakeClock(NOW)),
}
HTTP_ANSWERS = {"busy": status(503), "refuses": status(400, CANARY), "silence": silence, "cut": reset}
MAIL_ANSWERS = {"busy": "451 later", "refuses": f"554 {CANARY}", "silence": "silence", "cut": "cut"}


class HttpSide:
    """A notifier that speaks HTTPS, and its server."""

    def __init__(self, make):
        self.make = make
        self.server = Server()
        self.authority = Authority()

    @asynccontextmanager
    async def up(self, *, is_trusted=True):
        async with (
            serving(self.server.handle, self.authority.server) as port,
            self.notifier(port, is_trusted=is_trusted) as notifier,
        ):
            yield notifier

    @asynccontextmanager
    async def notifier(self, port, *, is_trusted=True):
        client = Client(FakeClock(NOW), tls=self.authority.client if is_trusted else None, timeout=0.3)
        yield self.make(client, Secret(f"https://127.0.0.1:{port}{URL_PATH}"))
        await client.close()

    def answer(self, name):
        self.server.answers.append(HTTP_ANSWERS[name])

    def received(self):
        return len(self.server.requests)


class MailSide:
    """The notifier by mail, and its server."""

    def __init__(self):
        self.mailbox = Mailbox()
        self.authority = Authority()

    @asynccontextmanager
    async def up(self, *, is_trusted=True):
        async with (
            mail_server(self.mailbox, self.authority.server, wants_login=True),
            self.notifier(self.mailbox.port, is_trusted=is_trusted) as notifier,
        ):
            yield notifier

    @asynccontextmanager
    async def notifier(self, port, *, is_trusted=True):
        tls = self.authority.client if is_trusted else None
        server = MailServer("127.0.0.1", port, True, USER, Secret(PASSWORD), tls, 0.3)
        yield Email("e", Sender(server), "agent@example.com", ["oncall@example.com"])

    def answer(self, name):
        self.mailbox.answer = MAIL_ANSWERS[name]

    def received(self):
        return len(self.mailbox.mails)


@pytest.fixture(params=[*HTTP, "email"])
def far_side(request):
    return MailSide() if request.param == "email" else HttpSide(HTTP[request.param])


async def failure(notifier):
    with pytest.raises(NotifyError) as raised:
        await notifier.notify(notification(alert("A", stage="llm")))
    return raised.value


async def test_accepted(far_side):
    """A notification that is accepted was received, once."""
    async with far_side.up() as notifier:
        await notifier.notify(notification(alert("A", stage="llm")))
    assert 1 == far_side.received()


FAILURES = {"busy": True, "silence": True, "cut": True, "refuses": False}


@pytest.mark.parametrize(("fault", "is_transient"), FAILURES.items())
async def test_failures(far_side, fault, is_transient):
    """A failure says whether another try may help."""
    async with far_side.up() as notifier:
        far_side.answer(fault)
        assert is_transient is (await failure(notifier)).is_transient


async def test_nobody_is_there(far_side):
    """A port on which nobody listens is worth another try."""
    async with far_side.notifier(1) as notifier:
        error = await failure(notifier)
    assert ("connection refused", True) == (str(error), error.is_transient)


async def test_unknown_certificate(far_side):
    """A certificate that nobody vouches for is refused, and nothing is sent."""
    async with far_side.up(is_trusted=False) as notifier:
        error = await failure(notifier)
    assert "its certificate was refused: it is not trusted" == str(error)
    assert (True, 0) == (error.is_transient, far_side.received())


@pytest.mark.parametrize("fault", FAILURES)
async def test_no_secret(far_side, fault, caplog):
    """Neither the error, nor what caused it, nor the notifier, nor the log shows a secret or the server's words."""
    async with far_side.up() as notifier:
        far_side.answer(fault)
        error = await failure(notifier)
        shown = [repr(notifier)]
        while error is not None:
            shown += [str(error), repr(error)]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    gc.collect()  # what was not awaited or closed would complain now
    assert CANARY not in "\n".join([*shown, caplog.text])


async def test_after_a_failure(far_side):
    """A notifier that failed delivers the next."""
    async with far_side.up() as notifier:
        far_side.answer("refuses")
        await failure(notifier)
        if isinstance(far_side, MailSide):
            far_side.mailbox.answer = "250 OK"
        await notifier.notify(notification(alert("A")))
