"""From the `notify` section to the pipeline: a new notifier is one file beside this and one line in `_BUILDERS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp.abc import AbstractResolver

from otel_latency.clock import Clock, SystemClock
from otel_latency.config.secret_file import read_secret
from otel_latency.config.sections import (
    AlertmanagerNotifier,
    AnyNotifier,
    EmailNotifier,
    PagerDutyNotifier,
    SlackNotifier,
    WebhookNotifier,
)
from otel_latency.config.values import Secret
from otel_latency.errors import ConfigError
from otel_latency.notify import alertmanager
from otel_latency.notify.alertmanager import Alertmanager
from otel_latency.notify.client import Client
from otel_latency.notify.dedup import Policy
from otel_latency.notify.email import Email
from otel_latency.notify.match import matchers
from otel_latency.notify.model import Notifier
from otel_latency.notify.outbox import Outbox
from otel_latency.notify.pagerduty import PagerDuty
from otel_latency.notify.pipeline import Pipeline, Route
from otel_latency.notify.slack import Slack
from otel_latency.notify.smtp import Sender, Server
from otel_latency.notify.webhook import Webhook

FILE: Final = "notify.db"


@dataclass(frozen=True, slots=True)
class Parts:
    """What notifiers share; *external_url* is where people find this agent."""

    client: Client
    clock: Clock
    external_url: str


def build(
    sections: Sequence[AnyNotifier],
    folder: Path,
    clock: Clock,
    *,
    external_url: str = "",
    resolver: AbstractResolver | None = None,
) -> Pipeline:
    """The pipeline for *sections*, with its outbox in *folder*. Raises ConfigError when a secret cannot be read."""
    client = Client(clock, resolver=resolver)
    parts = Parts(client, clock, external_url)
    routes = [_route(section, index, parts) for index, section in enumerate(sections)]
    return Pipeline(routes, Outbox(folder / FILE), clock, closing=client.close)


def faults_of_secrets(sections: Sequence[AnyNotifier]) -> list[ConfigError]:
    """Every secret that `build` could not read; nothing is opened."""
    found: list[ConfigError] = []

    def read(path: str, key: str, value: Secret | None, file: str | None) -> Secret:
        try:
            return _secret(path, key, value, file)
        except ConfigError as fault:
            found.append(fault)
            return Secret("")

    clock = SystemClock()
    parts = Parts(Client(clock), clock, "")
    for index, section in enumerate(sections):
        _, make = _BUILDERS[type(section)]
        make(section, parts, partial(read, f"notify[{index}]"))
    return found


def _route(section: AnyNotifier, index: int, parts: Parts) -> Route:
    kind, make = _BUILDERS[type(section)]
    notifier = make(section, parts, partial(_secret, f"notify[{index}]"))
    return Route(notifier, kind, matchers(section.match), section.group_by, _policy(section))


def _policy(section: AnyNotifier) -> Policy:
    if isinstance(section, AlertmanagerNotifier):
        return alertmanager.policy(section.group_wait)
    return Policy(
        section.group_wait, section.repeat_interval, section.send_resolved, flap_interval=section.flap_interval
    )


Read = Callable[[str, Secret | None, str | None], Secret]
"""The secret of a key, from the value or else the file beside it."""


def _secret(path: str, key: str, value: Secret | None, file: str | None) -> Secret:
    if value is not None:
        return value
    assert file is not None, "sections see to it that one of the two is set"
    place = f"{path}.{key}_file"
    found = read_secret(place, file)
    if key.endswith("url") and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", found.reveal()):
        raise ConfigError(f"{place}: the file holds no URL: write https://hooks.example.com/alerts or another")
    return found


def _webhook(section: WebhookNotifier, parts: Parts, read: Read) -> Notifier:
    return Webhook(
        section.name,
        parts.client,
        read("url", section.url, section.url_file),
        headers=_headers(section, read),
        max_alerts=section.max_alerts,
        external_url=parts.external_url,
    )


def _headers(section: WebhookNotifier, read: Read) -> dict[str, Secret]:
    from_files = {name: read(f"headers.{name}", None, file) for name, file in section.header_files.items()}
    return {**section.headers, **from_files}


def _slack(section: SlackNotifier, parts: Parts, read: Read) -> Notifier:
    url = read("webhook_url", section.webhook_url, section.webhook_url_file)
    return Slack(section.name, parts.client, url, channel=section.channel, external_url=parts.external_url)


def _pagerduty(section: PagerDutyNotifier, parts: Parts, read: Read) -> Notifier:
    key = read("routing_key", section.routing_key, section.routing_key_file)
    return PagerDuty(section.name, parts.client, key, section.url, external_url=parts.external_url)


def _email(section: EmailNotifier, parts: Parts, read: Read) -> Notifier:
    host, _, port = section.smarthost.rpartition(":")
    password = read("password", section.password, section.password_file) if section.username else None
    server = Server(host.strip("[]"), int(port), section.require_tls, section.username, password)
    return Email(section.name, Sender(server), section.sender, section.to, external_url=parts.external_url)


def _alertmanager(section: AlertmanagerNotifier, parts: Parts, read: Read) -> Notifier:
    return Alertmanager(section.name, parts.client, read("url", section.url, section.url_file), parts.clock)


_BUILDERS: Final[Mapping[type[AnyNotifier], tuple[str, Callable[[Any, Parts, Read], Notifier]]]] = {
    WebhookNotifier: ("webhook", _webhook),
    SlackNotifier: ("slack", _slack),
    PagerDutyNotifier: ("pagerduty", _pagerduty),
    EmailNotifier: ("email", _email),
    AlertmanagerNotifier: ("alertmanager", _alertmanager),
}
