import pytest
from notify.far_side import NOW, alert, notification, resolved
from notify.mail_side import PASSWORD, USER, Authority, Mailbox, mail_server

from otel_latency.config.values import Secret
from otel_latency.errors import NotifyError
from otel_latency.notify.email import Email, compose
from otel_latency.notify.smtp import Sender
from otel_latency.notify.smtp import Server as MailServer

FROM, TO = "Latency <agent@example.com>", ["oncall@example.com", "lead@example.com"]


def composed(*alerts, time=NOW + 60):
    return compose(notification(*alerts, time=time), FROM, TO, "http://agent.example.com")


def test_mail():
    """A mail has a subject as Alertmanager's, one sender, and a text beside its HTML."""
    mail = composed(alert("P99High", stage="llm"))
    assert ("[FIRING:1] P99High (llm)", FROM, ", ".join(TO)) == (mail["Subject"], mail["From"], mail["To"])
    assert "multipart/alternative" == mail.get_content_type()
    assert ["text/plain", "text/html"] == [part.get_content_type() for part in mail.iter_parts()]
    text, page = (part.get_content() for part in mail.iter_parts())
    assert "FIRING: p99 2s" in text
    assert "http://agent.example.com" in text
    assert '<a href="http://agent.example.com">' in page


def test_identity():
    """The same notification has the same Message-ID, another one another; a group is one thread."""
    one, same, other = composed(alert()), composed(alert()), composed(resolved(alert()))
    assert one["Message-ID"] == same["Message-ID"] != other["Message-ID"]
    assert one["References"] == other["References"]


def sender(mailbox, authority, **options):
    return Sender(MailServer("127.0.0.1", mailbox.port, tls=authority.client, timeout=2.0, **options))


async def send(smtp, recipients=TO):
    await Email("mail", smtp, FROM, recipients).notify(notification(alert()))


async def failure(smtp, recipients=TO):
    with pytest.raises(NotifyError) as raised:
        await send(smtp, recipients)
    return raised.value


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def mailbox():
    return Mailbox()


async def test_starttls(mailbox, authority):
    """By default mail goes over STARTTLS."""
    async with mail_server(mailbox, authority.server):
        await send(sender(mailbox, authority))
    assert ([True], FROM) == (mailbox.was_secure, mailbox.mails[0]["From"])


async def test_no_starttls(mailbox, authority):
    """A server without STARTTLS gets nothing, unless that is allowed; it never gets a password."""
    async with mail_server(mailbox):
        assert "it offers no STARTTLS, which is required" == str(await failure(sender(mailbox, authority)))
        options = {"require_tls": False, "username": USER, "password": Secret(PASSWORD)}
        assert "it offers no STARTTLS, which is required" == str(await failure(sender(mailbox, authority, **options)))
        assert [] == mailbox.mails
        await send(sender(mailbox, authority, require_tls=False))
    assert [False] == mailbox.was_secure


async def test_implicit_tls(mailbox, authority, monkeypatch):
    """Where the port is that of SMTP over TLS, TLS comes first."""
    async with mail_server(mailbox, authority.server, is_implicit=True):
        monkeypatch.setattr("otel_latency.notify.smtp.IMPLICIT_TLS_PORT", mailbox.port)
        await send(sender(mailbox, authority))
    assert 1 == len(mailbox.mails)


async def test_login(mailbox, authority):
    """The right password is taken, a wrong one is refused for good and not shown."""
    async with mail_server(mailbox, authority.server, wants_login=True):
        await send(sender(mailbox, authority, username=USER, password=Secret(PASSWORD)))
        error = await failure(sender(mailbox, authority, username=USER, password=Secret("wr0ng")))
    assert ("it refused user and password with 535", False) == (str(error), error.is_transient)
    assert 1 == len(mailbox.mails)


async def test_recipients(mailbox, authority, caplog):
    """A mail that some of the recipients can have is delivered; one that nobody can have is refused for good."""
    async with mail_server(mailbox, authority.server):
        await send(sender(mailbox, authority), ["nobody@example.com", "oncall@example.com"])
        error = await failure(sender(mailbox, authority), ["nobody@example.com"])
    assert 1 == len(mailbox.mails)
    assert ("it refused the recipients with 550", False) == (str(error), error.is_transient)
    assert "1 of the recipients of a mail were refused" in caplog.text


async def test_one_thread(mailbox, authority):
    """While a conversation lingers no second one is begun."""
    async with mail_server(mailbox, authority.server):
        smtp = sender(mailbox, authority)
        await send(smtp)
        smtp._last.is_over = False
        assert "the delivery before this one still hangs" == str(await failure(smtp))
