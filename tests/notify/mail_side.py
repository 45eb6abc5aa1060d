"""A real mail server on loopback, for one test; and certificates that it can show."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from contextlib import asynccontextmanager

import trustme
from aiosmtpd.smtp import SMTP, AuthResult

USER, PASSWORD = "agent", "c4n4ry-password"


class Authority:
    """A certificate authority: `server` shows its certificate for 127.0.0.1, `client` trusts it."""

    def __init__(self):
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


class Mailbox:
    """What the server does with mail: `answer` is its reply; `silence` and `cut` are what they say."""

    def __init__(self):
        self.mails = []
        self.was_secure = []
        self.answer = "250 OK"
        self.login = "235 OK"
        self.port = 0

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        if address.startswith("nobody"):
            return "550 no such user c4n4ry"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        if self.answer == "silence":
            await asyncio.Event().wait()
        if self.answer == "cut":
            server.transport.abort()
            return "421 gone"
        if self.answer.startswith("250"):
            self.was_secure.append(session.ssl is not None)
            self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return self.answer

    def authenticate(self, server, session, envelope, mechanism, data):
        is_right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=is_right, handled=is_right)


@asynccontextmanager
async def mail_server(mailbox, tls=None, *, is_implicit=False, wants_login=False):
    """A server at `mailbox.port`; with *tls* it offers STARTTLS, or speaks TLS from the start."""
    starttls = None if is_implicit else tls

    def protocol():
        return SMTP(
            mailbox,
            tls_context=starttls,
            authenticator=mailbox.authenticate,
            auth_require_tls=True,
            auth_required=wants_login,
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls if is_implicit else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
