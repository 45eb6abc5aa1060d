"""Slack: one attachment through an incoming webhook, red while something fires and green once all is over.

Slack answers 200 to things it does not take, so only the body `ok`, or `{"ok": true}`, is success.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from otel_latency.config.values import Secret
from otel_latency.errors import NotifyError
from otel_latency.notify.client import Client
from otel_latency.notify.message import Fact, Story, fit, stories, title
from otel_latency.notify.model import Notification
from otel_latency.notify.webhook import to_json

MAX_TEXT: Final = 7500
"""Slack folds a text after 700 characters and cuts it far beyond this."""
_PASSING: Final = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "timeout"}


class Slack:
    """*channel* overrides the webhook's own where Slack still allows it."""

    def __init__(
        self, name: str, client: Client, webhook_url: Secret, *, channel: str = "", external_url: str = ""
    ) -> None:
        self.name = name
        self._client = client
        self._webhook_url = webhook_url
        self._channel = channel
        self._external_url = external_url

    async def notify(self, notification: Notification) -> None:
        content = body(notification, self._channel, self._external_url)
        reply = await self._client.post(self._webhook_url, to_json(content))
        if error := _refusal(reply.body):
            is_passing = error in _PASSING
            # What Slack says is its own short word or, from anybody else, not ours to repeat.
            shown = error if is_passing else "something else than ok"
            raise NotifyError(f"it answered {shown}", is_transient=is_passing, retry_after=reply.retry_after)


def body(notification: Notification, channel: str, external_url: str) -> dict[str, object]:
    """The keys, and their order, are Alertmanager's; so is all of it but the text and the name."""
    heading = escape(title(notification))
    attachment = {
        "title": heading,
        "title_link": external_url,
        "text": fit((line for story in stories(notification) for line in _lines(story)), MAX_TEXT),
        "fallback": f"{heading} | {external_url}" if external_url else heading,
        "callback_id": "",
        "footer": "",
        "color": "danger" if notification.firing else "good",
        "mrkdwn_in": ["fallback", "pretext", "text"],
    }
    place = {"channel": channel} if channel else {}
    return {**place, "username": "otel-latency", "attachments": [attachment]}


def escape(text: str) -> str:
    """The three characters by which Slack tells its own markup, such as `<!channel>`, from text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lines(story: Story) -> Iterator[str]:
    mark = ":red_circle:" if story.is_firing else ":large_green_circle:"
    yield f"{mark} *{escape(story.headline)}*"
    if story.description:
        yield escape(story.description)
    for fact in story.facts:
        yield f"• {fact.name}: {_text(fact)}"


def _text(fact: Fact) -> str:
    """The link stands beside its text: one behind a text of its own could lead anywhere."""
    return " ".join(filter(None, (escape(fact.text), fact.link and f"<{escape(fact.link)}>")))


def _refusal(reply: bytes) -> str:
    """Slack's word for what is wrong; empty when nothing is."""
    text = reply.decode(errors="replace").strip()
    if text == "ok":
        return ""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text or "nothing"
    if not isinstance(answer, dict):
        return "something else"
    return "" if answer.get("ok") is True else str(answer.get("error", "something else"))
