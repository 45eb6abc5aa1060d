"""Email: one message per notification, as text and as HTML.

Messages of one group form a thread, and one that is sent again has the same Message-ID, by which mailboxes know it.
Labels and annotations are text to both forms, and header fields take no line break from them.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from itertools import islice
from typing import Final

from otel_latency.notify.identity import dedup_key
from otel_latency.notify.message import Fact, Story, plain, stories, title
from otel_latency.notify.model import Notification, encode
from otel_latency.notify.smtp import Sender

_MAX_TEXT: Final = 50_000
_MAX_STORIES: Final = 100
_MAX_SUBJECT: Final = 250
_DOMAIN: Final = "otel-latency.invalid"
_RED, _GREEN = "#b3261e", "#1e7d32"


class Email:
    def __init__(
        self, name: str, smtp: Sender, sender: str, recipients: Sequence[str], *, external_url: str = ""
    ) -> None:
        self.name = name
        self._smtp = smtp
        self._sender = sender
        self._recipients = tuple(recipients)
        self._external_url = external_url

    async def notify(self, notification: Notification) -> None:
        await self._smtp.send(compose(notification, self._sender, self._recipients, self._external_url))


def compose(notification: Notification, sender: str, recipients: Sequence[str], external_url: str) -> EmailMessage:
    """The whole mail; the same for the same notification."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = title(notification)[:_MAX_SUBJECT]
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = format_datetime(datetime.fromtimestamp(notification.time, UTC))
    message["Message-ID"] = f"<{hashlib.sha256(encode(notification)).hexdigest()[:32]}@{_DOMAIN}>"
    message["References"] = f"<{dedup_key(notification.group_key)[:32]}@{_DOMAIN}>"
    message["Auto-Submitted"] = "auto-generated"
    text = plain(notification, _MAX_TEXT)
    message.set_content(f"{text}\n\n{external_url}\n" if external_url else f"{text}\n")
    message.add_alternative(_page(notification, external_url), subtype="html")
    return message


def _page(notification: Notification, external_url: str) -> str:
    shown = list(islice(stories(notification), _MAX_STORIES))
    left_out = len(notification.alerts) - len(shown)
    parts = [f"<h2>{html.escape(title(notification))}</h2>", *(_section(story) for story in shown)]
    if left_out:
        parts.append(f"<p>… and {left_out} more</p>")
    if external_url:
        parts.append(f"<p>{_link(external_url)}</p>")
    return f'<html><body style="font-family: sans-serif">{"".join(parts)}</body></html>\n'


def _section(story: Story) -> str:
    color, state = (_RED, "FIRING") if story.is_firing else (_GREEN, "RESOLVED")
    heading = f'<h3 style="color: {color}">{state}: {html.escape(story.headline)}</h3>'
    description = f"<p>{html.escape(story.description)}</p>" if story.description else ""
    return f"{heading}{description}<table>{''.join(_rows(story.facts))}</table>\n"


def _rows(facts: Sequence[Fact]) -> Iterator[str]:
    for fact in facts:
        text = " ".join(filter(None, (html.escape(fact.text), fact.link and _link(fact.link))))
        yield f"<tr><td><b>{html.escape(fact.name)}</b></td><td>{text}</td></tr>\n"


def _link(address: str) -> str:
    escaped = html.escape(address)
    return f'<a href="{escaped}">{escaped}</a>'
