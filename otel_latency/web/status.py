"""`GET /status`: everything an operator asks first, as one JSON object, with nothing in it that is secret.

Each step of the agent gives a section; one that fails says so in its place and costs the others nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from aiohttp import web

from otel_latency.web.app import Route
from otel_latency.web.health import Health
from otel_latency.web.replies import reply

log = logging.getLogger(__name__)

Section = Callable[[], object]


class Status:
    """Shows *metrics* and the further *sections* beside the health and the uptime.

    *sections* (`receivers`, `checks`, `series`, ...) must not be called like the keys that are always there.
    """

    def __init__(
        self,
        *,
        version: str,
        health: Health,
        request_count: Callable[[], int],
        metrics: Section,
        sections: Mapping[str, Section],
    ) -> None:
        self._version = version
        self._health = health
        self._sections = {"request_count": request_count, "metrics": metrics, **sections}

    def route(self) -> Route:
        """Guarded by the Host header: a page in a browser has no business here."""
        return Route("/status", self._get)

    async def _get(self, _request: web.Request) -> web.Response:
        return reply(self.report())

    def report(self) -> dict[str, object]:
        """The whole status as it stands."""
        return {
            "health": self._health.summary(),
            "timestamp": self._health.timestamp(),
            "version": self._version,
            "uptime_seconds": round(self._health.uptime, 3),
            **{name: _read(name, section) for name, section in self._sections.items()},
        }


def _read(name: str, section: Section) -> object:
    try:
        return section()
    except Exception:
        log.exception("/status: the section %s failed", name)
        return {"error": "not available; see the agent's log"}
