"""SMTP from asyncio: one message in one conversation, on a thread, with a deadline for all of it.

Port 465 speaks TLS from the start; on any other STARTTLS is required, unless the caller can do without, and a password
is never sent without TLS. Certificates are verified. Refusals that begin with 4 are worth another try, those that begin
with 5 are final.

When the deadline passes the connection is cut, so its thread ends. While one lingers all the same, in a look-up of the
server's name, say, no second one is begun.
"""

from __future__ import annotations

import asyncio
import logging
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final

from otel_latency import outbound
from otel_latency.config.values import Secret
from otel_latency.errors import NotifyError

TIMEOUT: Final = 20.0
_STEP_TIMEOUT: Final = 10.0
IMPLICIT_TLS_PORT: Final = 465
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed in. *tls* stands in for the system's certificates."""

    host: str
    port: int
    require_tls: bool = True
    username: str = ""
    password: Secret | None = None
    tls: ssl.SSLContext | None = None
    timeout: float = TIMEOUT


class Sender:
    """Hands messages to *server*, one at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._last: _Conversation | None = None

    async def send(self, message: EmailMessage) -> None:
        """Return once the server has accepted it. Raises NotifyError, which names neither user nor password."""
        if self._last is not None and not self._last.is_over:
            raise NotifyError("the delivery before this one still hangs", is_transient=True)
        conversation = self._last = _Conversation(self._server)
        try:
            async with asyncio.timeout(self._server.timeout):
                await _on_a_thread(lambda: conversation.deliver(message))
        except TimeoutError:
            raise NotifyError(f"no answer within {self._server.timeout:g} s", is_transient=True) from None
        except NotifyError:
            raise
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise _failure(error) from None
        finally:
            conversation.cut()


class _Conversation:
    """`deliver` blocks; `cut` may be called from another thread, and ends it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._smtp: smtplib.SMTP | None = None
        self.is_over = False

    def deliver(self, message: EmailMessage) -> None:
        try:
            self._smtp = self._connect()
            with closing(self._smtp):
                self._send(self._smtp, message)
        finally:
            self.is_over = True

    def cut(self) -> None:
        sock = self._smtp.sock if self._smtp is not None else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        tls = server.tls or ssl.create_default_context()
        timeout = min(server.timeout, _STEP_TIMEOUT)
        if server.port == IMPLICIT_TLS_PORT:
            return smtplib.SMTP_SSL(server.host, server.port, timeout=timeout, context=tls)
        smtp = smtplib.SMTP(server.host, server.port, timeout=timeout)
        try:
            if server.require_tls or server.username:
                _start_tls(smtp, tls)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _send(self, smtp: smtplib.SMTP, message: EmailMessage) -> None:
        if self._server.username and self._server.password is not None:
            smtp.login(self._server.username, self._server.password.reveal())
        refused = smtp.send_message(message)
        if refused:
            log.warning("%d of the recipients of a mail were refused", len(refused))
        # It was accepted: however the farewell goes, it must not be sent again.
        with suppress(smtplib.SMTPException, OSError):
            smtp.quit()


def _start_tls(smtp: smtplib.SMTP, tls: ssl.SSLContext) -> None:
    smtp.ehlo()
    if not smtp.has_extn("starttls"):
        raise NotifyError("it offers no STARTTLS, which is required", is_transient=True)
    smtp.starttls(context=tls)


async def _on_a_thread(work: Callable[[], None]) -> None:
    """Do *work* on a thread that does not keep the process alive, and wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        failed: Exception | None = None
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            failed = error
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(finish, failed)

    threading.Thread(target=run, name="otel-latency-smtp", daemon=True).start()
    await done


def _failure(error: Exception) -> NotifyError:
    """In our words: what a server says may quote what it was sent."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return _refused("the recipients", min(codes, default=500))
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return _refused("user and password", error.smtp_code)
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused("the mail", error.smtp_code)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return NotifyError("it closed the connection without an answer", is_transient=True)
    return NotifyError(outbound.explain(error), is_transient=isinstance(error, OSError))


def _refused(what: str, code: int) -> NotifyError:
    return NotifyError(f"it refused {what} with {code}", is_transient=code < 500)
