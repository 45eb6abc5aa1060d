"""Ports for the demo's agent: the configured ones where they are free, else free ones, and what to tell about it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from otel_latency.listening import in_url

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server of the agent listens. `key` is its section of the configuration.

    `refusal` is the system's reason against the `wanted` port, empty if it was granted.
    """

    key: str
    listen_host: str
    port: int
    wanted: int
    refusal: str = ""

    @property
    def host(self) -> str:
        """The host to connect to."""
        return _ANY_ADDRESS.get(self.listen_host, self.listen_host)

    @property
    def address(self) -> str:
        """host:port, as in a URL."""
        return f"{in_url(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def variable(self) -> str:
        """The environment variable that chooses the port."""
        return f"OTEL_LATENCY_{self.key.upper().replace('.', '__')}__PORT"


def settle(wanted: Mapping[str, tuple[str, int]]) -> dict[str, Place]:
    """A place for each section (`web`, `otlp.http`, ...) that *wanted* a host and a port; port 0 is any free one."""
    with ExitStack() as held:  # all at once, so that no free port is found twice
        return {key: _settle(held, key, host, port) for key, (host, port) in wanted.items()}


def _settle(held: ExitStack, key: str, host: str, port: int) -> Place:
    try:
        return Place(key, host, _listen(held, host, port), port)
    except OSError as error:
        refusal = "taken" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0).lower()
    try:
        return Place(key, host, _listen(held, host, 0), port, refusal)
    except OSError:
        return Place(key, host, port, port)  # it is the host that is wrong: the agent will say so


def _listen(held: ExitStack, host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = held.enter_context(socket.create_server((host, port), family=family))
    found: int = listener.getsockname()[1]
    return found
